//! A value as it was written, and its origin.

use std::fmt;

/// The origin of a value, lowest precedence first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The program's own default.
    Default,
    /// A configuration file.
    File {
        /// Its name as it was given.
        name: String,
        /// Line of the key, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// Its name, such as `--api`.
        flag: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { name, line } => write!(f, "{name} line {line}"),
            Source::Environment { variable } => write!(f, "environment {variable}"),
            Source::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// A value as it was written. Environment and flags give only text; in the file, values must have the type of
/// their key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    /// Text from the environment or a flag, which is parsed as whatever type the key has.
    Text(String),
    /// A string of the file.
    String(String),
    /// An integer of the file.
    Integer(i64),
    /// An array of strings of the file.
    Strings(Vec<String>),
    /// Any other type of the file, which no key has: its TOML text.
    Other(String),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Text(text) | Written::String(text) => write!(f, "{text:?}"),
            Written::Integer(number) => write!(f, "{number}"),
            Written::Strings(list) => write!(f, "{list:?}"),
            Written::Other(text) => f.write_str(text),
        }
    }
}

/// One key's value and its origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) written: Written,
    pub(super) source: Source,
}
