//! Access to environment variables. It is behind a trait so that tests pass a map, and nothing ever changes
//! the process's own.

use std::collections::BTreeMap;

/// Prefix of our variables' names.
const PREFIX: &str = "WEIR_";

/// Separator of section and key in a variable's name.
const SEPARATOR: &str = "__";

/// A set of environment variables.
pub trait Environment {
    /// Every variable whose name starts with `WEIR_`; the value is `None` if it is not Unicode.
    fn weir_variables(&self) -> Vec<(String, Option<String>)>;
}

/// The variables of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn weir_variables(&self) -> Vec<(String, Option<String>)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect()
    }
}

/// Variables from a map.
#[derive(Clone, Debug, Default)]
pub struct MapEnvironment(BTreeMap<String, String>);

impl<const N: usize> From<[(&str, &str); N]> for MapEnvironment {
    fn from(variables: [(&str, &str); N]) -> MapEnvironment {
        MapEnvironment(
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        )
    }
}

impl Environment for MapEnvironment {
    fn weir_variables(&self) -> Vec<(String, Option<String>)> {
        let ours = self.0.iter().filter(|(name, _)| name.starts_with(PREFIX));
        ours.map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
    }
}

/// The dotted key of a variable; `None` if it is not configuration.
pub(super) fn key_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    name.contains(SEPARATOR).then(|| name.to_ascii_lowercase().replace(SEPARATOR, "."))
}

/// The key that was meant by a variable with one underscore after its section instead of two.
pub(super) fn intended_key(variable: &str) -> Option<&'static str> {
    let one = |key: &&str| variable_of(key).replace(SEPARATOR, "_") == variable;
    super::KEYS.iter().copied().find(one)
}

/// The variable of a dotted key, for messages that say what to set.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_keys_name_each_other() {
        assert_eq!(key_of("WEIR_DATA__STORE_TIMEOUT").as_deref(), Some("data.store_timeout"));
        assert_eq!(variable_of("data.store_timeout"), "WEIR_DATA__STORE_TIMEOUT");
        assert_eq!(key_of("WEIR_A__B__C").as_deref(), Some("a.b.c"));
        assert_eq!(key_of("WEIR_TEST_CQL"), None);
        assert_eq!(key_of("OTHER_DATA__X"), None);
    }

    #[test]
    fn one_underscore_too_few_is_noticed() {
        assert_eq!(intended_key("WEIR_LISTEN_API"), Some("listen.api"));
        assert_eq!(intended_key("WEIR_DATA_STORE_TIMEOUT"), Some("data.store_timeout"));
        for other in ["WEIR_TEST_CQL", "WEIR_BUILD_ID", "WEIR_"] {
            assert_eq!(intended_key(other), None, "{other}");
        }
    }
}
