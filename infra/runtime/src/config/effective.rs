//! The configuration in force, as a TOML file with the origin of each value. `--check-config` prints it.

use std::collections::BTreeMap;
use std::fmt;

use super::setting::Source;

/// The effective value of one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    /// A TOML value; an address is shown without its user and password.
    Value(String),
    /// A secret that is set.
    Secret,
    /// An optional key that is not set.
    Unset,
}

/// Every known key with its effective value and origin. Printed, it is a valid `weir.toml` that gives the
/// same configuration, except that secrets are left out: values that are secret, and the part of an address
/// before its `@`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    // Entries are ordered by key, so that the keys of a section are neighbours.
    entries: BTreeMap<String, (Shown, Source)>,
}

impl Effective {
    pub(super) fn insert(&mut self, key: &str, shown: Shown, source: Source) {
        self.entries.insert(key.to_owned(), (shown, source));
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The known keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.keys().map(String::as_str)
    }

    /// The same as one JSON object: for each key its value (`null` for a secret, and for what is not set) and
    /// its origin.
    pub fn to_json(&self) -> serde_json::Value {
        let entries = self.entries.iter().map(|(key, (shown, source))| {
            let value = match shown {
                // A shown value is both TOML and JSON: a quoted string, a number or a list of strings.
                Shown::Value(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
                Shown::Secret | Shown::Unset => serde_json::Value::Null,
            };
            (key.clone(), serde_json::json!({ "value": value, "origin": source.to_string() }))
        });
        serde_json::json!({ "configuration": entries.collect::<serde_json::Map<_, _>>() })
    }

    /// Where the value of `key` came from; `None` if no such key is known.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.entries.get(key).map(|(_, source)| source)
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sections: BTreeMap<&str, Vec<(&str, &Shown, &Source)>> = BTreeMap::new();
        for (key, (shown, source)) in &self.entries {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            sections.entry(section).or_default().push((name, shown, source));
        }
        for (index, (section, entries)) in sections.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "[{section}]")?;
            for (name, shown, source) in entries {
                match shown {
                    Shown::Value(value) => writeln!(f, "{name} = {value}  # {source}")?,
                    Shown::Secret => writeln!(f, "# {name} = (secret)  # {source}")?,
                    Shown::Unset => writeln!(f, "# {name} is not set")?,
                }
            }
        }
        Ok(())
    }
}
