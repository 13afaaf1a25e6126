//! Reads typed values from the merged layers and collects every problem.
//!
//! A reader never stops: for a value with a problem it returns the default, so that the keys after it are
//! checked too. The values count only if [`Reader::finish`] succeeds.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::effective::{Effective, Shown};
use super::environment::variable_of;
use super::keys::KEYS;
use super::problem::{Problem, Problems, masked};
use super::setting::{Setting, Source, Written};
use super::suggest::nearest;
use super::units::{
    DURATION_FIX, SIZE_FIX, WEB_SOCKET_FIX, WEB_SOCKET_RULE, format_duration, format_size, is_web_socket_url,
    parse_duration, parse_size,
};

/// A value that is never shown: not in the effective configuration, not in problems, not by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Reads keys of the form `section.name`, each of them once. The [module](super) shows how it is used.
#[derive(Debug)]
pub struct Reader {
    /// Settings of keys that have not been read yet.
    unread: BTreeMap<String, Setting>,
    /// Settings of keys that have been read, for problems that are found later.
    read: BTreeMap<String, Setting>,
    secrets: Vec<String>,
    effective: Effective,
    problems: Vec<Problem>,
}

/// Why a value does not fit its key.
struct BadValue {
    rule: String,
    fix: String,
}

impl BadValue {
    fn new(rule: impl Into<String>, fix: impl Into<String>) -> BadValue {
        BadValue { rule: rule.into(), fix: fix.into() }
    }
}

impl Reader {
    pub(super) fn new(settings: BTreeMap<String, Setting>, problems: Vec<Problem>) -> Reader {
        Reader {
            unread: settings,
            read: BTreeMap::new(),
            secrets: Vec::new(),
            effective: Effective::default(),
            problems,
        }
    }

    /// Text.
    pub fn string(&mut self, key: &str, default: &str) -> String {
        self.or_default(key, default.to_owned(), text, |value| quoted(value))
    }

    /// Text that may be absent.
    pub fn optional_string(&mut self, key: &str) -> Option<String> {
        self.optional(key, text, |value| quoted(value))
    }

    /// A secret that may be absent.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.secrets.push(key.to_owned());
        let secret = self.optional(key, text, |_| String::new());
        if secret.is_some() {
            let source = self.read.get(key).map_or(Source::Default, |setting| setting.source.clone());
            self.effective.insert(key, Shown::Secret, source);
        }
        secret.map(Secret)
    }

    /// A whole number in `range`.
    pub fn u64(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.or_default(
            key,
            default,
            |written| within(number(written)?, &range, u64::to_string),
            u64::to_string,
        )
    }

    /// A duration in `range`, written with a unit: `"250ms"`, `"5s"`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.or_default(
            key,
            default,
            |written| within(duration(written)?, &range, show_duration),
            show_duration,
        )
    }

    /// A size in bytes in `range`, written with a unit: `"64MiB"`.
    pub fn size(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.or_default(key, default, |written| within(size(written)?, &range, show_size), show_size)
    }

    /// A size in bytes in `range` that may be absent.
    pub(crate) fn optional_size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.optional(key, |written| within(size(written)?, &range, show_size), show_size)
    }

    /// An address to listen on or connect to, `127.0.0.1:8080` or `[::1]:8080`; port 0 chooses a free one.
    pub fn addr(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.or_default(key, default, address, |value| quoted(&value.to_string()))
    }

    /// The URL of a WebSocket server, `wss://gateway.example.org`, without a path; returned without a slash
    /// at its end.
    pub fn web_socket_url(&mut self, key: &str, default: &str) -> String {
        without_slash(&self.or_default(key, default.to_owned(), web_socket_url, |value| quoted(value)))
    }

    /// The URL of a WebSocket server that may be absent, like [`Reader::web_socket_url`].
    pub fn optional_web_socket_url(&mut self, key: &str) -> Option<String> {
        self.optional(key, web_socket_url, |value| quoted(value)).as_deref().map(without_slash)
    }

    /// One of the named `choices`.
    ///
    /// # Panics
    /// If `default` is not among them: a mistake in the program.
    pub fn choice<T: Copy + PartialEq>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let name = |value: &T| choices.iter().find(|(_, choice)| choice == value).map(|(name, _)| *name);
        assert!(name(&default).is_some(), "the default of {key} is not among its choices");
        let parse = |written: &Written| {
            let found = text(written)?;
            choices.iter().find(|(name, _)| *name == found).map(|(_, choice)| *choice).ok_or_else(|| {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                let fix = match nearest(&found, names.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "choose one of them".to_owned(),
                };
                BadValue::new(format!("it must be one of {}", names.join(", ")), fix)
            })
        };
        self.or_default(key, default, parse, |value| quoted(name(value).unwrap_or_default()))
    }

    /// A list of texts: an array in the file, separated by commas in environment and flags. Without a setting
    /// it is empty.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        let show = |list: &Vec<String>| {
            let items: Vec<String> = list.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        };
        self.or_default(key, Vec::new(), list, show)
    }

    /// A value of any type that `parse` reads from text; its error says which rule was broken, and `fix` what
    /// to write.
    ///
    /// `show` is the text that `parse` would read back.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> String,
        fix: &str,
    ) -> T {
        let parse = |written: &Written| parse(&text(written)?).map_err(|rule| BadValue::new(rule, fix));
        self.or_default(key, default, parse, |value| quoted(&show(value)))
    }

    /// Checks a rule of a value beyond its type, which may involve other keys. Unless `holds`, there is a
    /// problem of `key`.
    pub fn require(&mut self, key: &str, holds: bool, rule: &str, fix: &str) {
        let known = self.problems.iter().any(|problem| problem.key == key);
        // A value that could not be read is replaced by its default here, and one problem for one value is
        // enough.
        if holds || known {
            return;
        }
        let problem = match self.read.get(key).cloned() {
            Some(setting) => self.problem(key, &setting, BadValue::new(rule, fix)),
            None => Problem {
                key: key.to_owned(),
                value: None,
                source: self.effective.source(key).cloned(),
                rule: rule.to_owned(),
                fix: Some(fix.to_owned()),
            },
        };
        self.problems.push(problem);
    }

    /// Ends the reading. A key that was not read belongs to another binary or is unknown.
    ///
    /// # Errors
    /// All problems of all layers and keys.
    pub fn finish(mut self) -> Result<Effective, Problems> {
        let unknown = std::mem::take(&mut self.unread).into_iter().filter(|(key, _)| !KEYS.contains(&&**key));
        for (key, setting) in unknown {
            let others = KEYS.iter().copied().filter(|key| !self.effective.contains(key));
            let fix = nearest(&key, self.effective.keys().chain(others)).map(|near| match &setting.source {
                Source::Environment { .. } => format!("did you mean {}?", variable_of(near)),
                Source::Default | Source::File { .. } | Source::Flag { .. } => {
                    format!("did you mean {near}?")
                }
            });
            let value = Some(masked(&setting.written.to_string()));
            let rule = "there is no such key".to_owned();
            self.problems.push(Problem { key, value, source: Some(setting.source), rule, fix });
        }
        if self.problems.is_empty() { Ok(self.effective) } else { Err(Problems::new(self.problems)) }
    }

    fn or_default<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&Written) -> Result<T, BadValue>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.take(key, parse, &show).unwrap_or_else(|| {
            self.effective.insert(key, Shown::Value(masked(&show(&default))), Source::Default);
            default
        })
    }

    fn optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Written) -> Result<T, BadValue>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let value = self.take(key, parse, &show);
        if value.is_none() {
            self.effective.insert(key, Shown::Unset, Source::Default);
        }
        value
    }

    /// The value of `key`. `None` if it is not set, or if it cannot be read; then a problem is noted.
    fn take<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Written) -> Result<T, BadValue>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        // No environment variable could name a key without a section.
        debug_assert!(key.contains('.'), "{key} is not section.name");
        debug_assert!(!self.effective.contains(key), "{key} is read twice");
        let setting = self.unread.remove(key)?;
        let parsed = parse(&setting.written);
        let value = match parsed {
            Ok(value) => {
                self.effective.insert(key, Shown::Value(masked(&show(&value))), setting.source.clone());
                Some(value)
            }
            Err(bad) => {
                let problem = self.problem(key, &setting, bad);
                self.problems.push(problem);
                None
            }
        };
        self.read.insert(key.to_owned(), setting);
        value
    }

    fn problem(&self, key: &str, setting: &Setting, bad: BadValue) -> Problem {
        let secret = self.secrets.iter().any(|secret| secret == key);
        Problem {
            key: key.to_owned(),
            value: (!secret).then(|| masked(&setting.written.to_string())),
            source: Some(setting.source.clone()),
            rule: bad.rule,
            fix: Some(bad.fix),
        }
    }
}

fn text(written: &Written) -> Result<String, BadValue> {
    match written {
        Written::Text(text) | Written::String(text) => Ok(text.clone()),
        Written::Integer(_) | Written::Strings(_) | Written::Other(_) => {
            Err(BadValue::new("it must be text", "put it in quotes"))
        }
    }
}

fn number(written: &Written) -> Result<u64, BadValue> {
    let number = match written {
        Written::Integer(number) => u64::try_from(*number).ok(),
        Written::Text(text) => text.parse().ok(),
        Written::String(_) | Written::Strings(_) | Written::Other(_) => None,
    };
    number.ok_or_else(|| {
        BadValue::new("it must be a whole number, zero or more", "write digits only, without quotes")
    })
}

fn duration(written: &Written) -> Result<Duration, BadValue> {
    let duration = match written {
        Written::Text(text) | Written::String(text) => parse_duration(text),
        Written::Integer(_) | Written::Strings(_) | Written::Other(_) => None,
    };
    duration.ok_or_else(|| BadValue::new("it must be a duration with a unit", DURATION_FIX))
}

fn size(written: &Written) -> Result<u64, BadValue> {
    let size = match written {
        Written::Text(text) | Written::String(text) => parse_size(text),
        Written::Integer(_) | Written::Strings(_) | Written::Other(_) => None,
    };
    size.ok_or_else(|| BadValue::new("it must be a size with a unit", SIZE_FIX))
}

fn address(written: &Written) -> Result<SocketAddr, BadValue> {
    text(written)?.parse().map_err(|_| {
        BadValue::new(
            "it must be an IP address and a port",
            "write for example \"127.0.0.1:8080\" or \"[::1]:8080\"",
        )
    })
}

fn web_socket_url(written: &Written) -> Result<String, BadValue> {
    let url = text(written)?;
    if is_web_socket_url(&url) { Ok(url) } else { Err(BadValue::new(WEB_SOCKET_RULE, WEB_SOCKET_FIX)) }
}

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn list(written: &Written) -> Result<Vec<String>, BadValue> {
    match written {
        Written::Strings(list) => Ok(list.clone()),
        Written::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        Written::String(_) | Written::Integer(_) | Written::Other(_) => {
            Err(BadValue::new("it must be a list of texts", "write for example [\"a\", \"b\"]"))
        }
    }
}

fn within<T: PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, BadValue> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (show(range.start()), show(range.end()));
    Err(BadValue::new("it is out of range", format!("write {least} to {most}")))
}

fn show_duration(duration: &Duration) -> String {
    quoted(&format_duration(*duration))
}

fn show_size(bytes: &u64) -> String {
    quoted(&format_size(*bytes))
}

/// A TOML basic string. Rust's escapes differ from TOML's for control characters, which are written as TOML's
/// `\u`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
