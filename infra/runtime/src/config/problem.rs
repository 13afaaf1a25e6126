//! The problems of a configuration, worded so that a user can correct them without the manual.

use std::fmt;

use super::setting::Source;

/// One problem: which key, its value and origin, the rule it breaks and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, or the name of the file.
    pub key: String,
    /// The value as it was written; `None` for a secret, or if there is none.
    pub value: Option<String>,
    /// Where the value came from; `None` if it is missing, or if the file itself is the problem.
    pub source: Option<Source>,
    /// The rule that it breaks.
    pub rule: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Problem {
    pub(super) fn file(name: &str, rule: String) -> Problem {
        Problem { key: name.to_owned(), value: None, source: None, rule, fix: None }
    }

    pub(super) fn not_unicode(key: String, source: Source) -> Problem {
        let rule = "the value is not Unicode".to_owned();
        Problem { key, value: None, source: Some(source), rule, fix: None }
    }
}

/// A value in the form that may be repeated: the part of an address before its `@` is hidden, because it has
/// the password.
pub(super) fn masked(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("://") {
        let authority = after.find(['/', '"', '?', '#']).unwrap_or(after.len());
        let host = after[..authority].rfind('@');
        shown.push_str(before);
        shown.push_str(if host.is_some() { "://***" } else { "://" });
        rest = &after[host.unwrap_or(0)..];
    }
    shown.push_str(rest);
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.rule)?;
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// All problems of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Problems {
        debug_assert!(!problems.is_empty(), "an error must say what is wrong");
        Problems(problems)
    }

    /// The problems, in the order of reading, unknown keys last.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_an_address_is_reached_as_is_not_repeated() {
        for (value, shown) in [
            ("\"cql://u:hunter2@h/k\"", "\"cql://***@h/k\""),
            ("\"redis://:p@ss@h:1\"", "\"redis://***@h:1\""),
            ("[\"a://u:p@x/\", \"b://y\"]", "[\"a://***@x/\", \"b://y\"]"),
            ("\"http://x/a@b\"", "\"http://x/a@b\""),
            ("12", "12"),
            ("://", "://"),
        ] {
            assert_eq!(masked(value), shown);
        }
    }
}
