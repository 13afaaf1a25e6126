//! Rules for other people's packages: licences, bans, sources and duplicates, read from the `deny.toml` that
//! cargo-deny reads too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::{
    graph::{Graph, Package},
    licence,
};

/// The package whose linked dependencies we ship. Only there a duplicate affects every user.
const SHIPPED: &str = "weir-standalone";

/// The part of `deny.toml` that is checked here.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    licences: BTreeSet<String>,
    /// Maps a package name to the licences that only it may have.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    banned: BTreeSet<String>,
    /// `name@version` of packages that may be duplicates; see [`names`].
    skipped: BTreeSet<String>,
}

impl Policy {
    /// Reads `deny.toml`.
    ///
    /// # Errors
    /// If it cannot be read or lacks the list of licences.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("parse {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse().context("not TOML")?;
        let licences = table.get("licenses").context("no [licenses]")?;
        let bans = table.get("bans").context("no [bans]")?;
        let exceptions =
            entries(licences, "exceptions").map(|entry| Some((crate_of(entry)?, texts(entry, "allow"))));
        Ok(Self {
            licences: texts(licences, "allow"),
            exceptions: exceptions.collect::<Option<_>>().context("an exception without a crate")?,
            banned: entries(bans, "deny")
                .map(crate_of)
                .collect::<Option<_>>()
                .context("a ban without a crate")?,
            skipped: entries(bans, "skip")
                .map(crate_of)
                .collect::<Option<_>>()
                .context("a skip without a crate")?,
        })
    }
}

fn entries<'a>(table: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    table.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn texts(table: &Value, key: &str) -> BTreeSet<String> {
    entries(table, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn crate_of(entry: &Value) -> Option<String> {
    entry.get("crate").and_then(Value::as_str).map(str::to_owned)
}

/// All violations, one line each.
pub(crate) fn check(graph: &Graph, policy: &Policy) -> Vec<String> {
    let mut violations = Vec::new();
    for package in graph.foreign() {
        violations.extend(check_licence(package, policy));
        if policy.banned.contains(&package.name) {
            violations.push(format!("{} is banned by deny.toml", package.name));
        }
        // A git repository is never accepted: a branch can change at any time, whereas a registry keeps what
        // it has published.
        if !package.source.as_deref().is_some_and(|source| source.starts_with("registry+")) {
            violations
                .push(format!("{} comes from {:?}, not from the registry", package.name, package.source));
        }
    }
    violations.extend(duplicates(graph, policy));
    violations
}

fn check_licence(package: &Package, policy: &Policy) -> Option<String> {
    let Some(expression) = &package.licence else {
        return Some(format!("{} {} names no licence", package.name, package.version));
    };
    let own = policy.exceptions.get(&package.name);
    let allowed =
        |licence: &str| policy.licences.contains(licence) || own.is_some_and(|own| own.contains(licence));
    (!licence::satisfied(expression, allowed))
        .then(|| format!("{} {}: deny.toml does not allow {expression}", package.name, package.version))
}

fn duplicates(graph: &Graph, policy: &Policy) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in graph.linked(SHIPPED) {
        if !policy.skipped.iter().any(|skip| names(skip, package)) {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let lines = versions.into_iter().map(|(name, versions)| {
        let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
        format!("{SHIPPED} links {name} more than once: {versions}; skip one in deny.toml, with a reason")
    });
    lines.collect()
}

/// True if `NAME@VERSION` means this package. The version may be shortened: `1.2` means every 1.2.x.
fn names(skip: &str, package: &Package) -> bool {
    let Some((name, version)) = skip.split_once('@') else { return skip == package.name };
    let rest = package.version.strip_prefix(version);
    name == package.name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT"]
        exceptions = [{ crate = "odd", allow = ["Zlib"] }]
        [bans]
        deny = [{ crate = "openssl-sys", reason = "rustls" }]
        skip = [{ crate = "old@1.0", reason = "until twice updates" }]
    "#;

    fn foreign(name: &str, version: &str, licence: Option<&str>, source: &str) -> serde_json::Value {
        json!({"id": format!("{name}@{version}"), "name": name, "version": version, "license": licence, "source": source})
    }

    fn check_packages(mut packages: Vec<serde_json::Value>) -> Vec<String> {
        let deps: Vec<_> = packages
            .iter()
            .map(|package| json!({"pkg": package["id"], "dep_kinds": [{"kind": null}]}))
            .collect();
        let mut nodes: Vec<_> =
            packages.iter().map(|package| json!({"id": package["id"], "deps": []})).collect();
        nodes.push(json!({"id": SHIPPED, "deps": deps}));
        packages.push(json!({"id": SHIPPED, "name": SHIPPED, "version": "0.1.0"}));
        let metadata =
            json!({"packages": packages, "workspace_members": [SHIPPED], "resolve": {"nodes": nodes}});
        check(&Graph::parse(&metadata.to_string()).unwrap(), &Policy::parse(POLICY).unwrap())
    }

    #[test]
    fn allowed_packages_pass() {
        let packages = vec![
            foreign("good", "1.0.0", Some("MIT OR GPL-3.0"), "registry+index"),
            foreign("odd", "1.0.0", Some("Zlib"), "registry+index"),
            foreign("old", "1.0.0", Some("MIT"), "registry+index"),
            foreign("old", "2.0.0", Some("MIT"), "registry+index"),
        ];
        assert_eq!(check_packages(packages), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_enforced() {
        let one = |name, licence, source| check_packages(vec![foreign(name, "1.0.0", licence, source)]).len();
        assert_eq!(one("any", Some("GPL-3.0"), "registry+index"), 1);
        assert_eq!(one("any", None, "registry+index"), 1);
        assert_eq!(one("any", Some("Zlib"), "registry+index"), 1, "an exception is for its crate alone");
        assert_eq!(one("openssl-sys", Some("MIT"), "registry+index"), 1);
        assert_eq!(one("any", Some("MIT"), "git+somewhere"), 1);
    }

    #[test]
    fn a_duplicate_needs_a_reason() {
        let packages = vec![
            foreign("twice", "1.0.0", Some("MIT"), "registry+index"),
            foreign("twice", "2.0.0", Some("MIT"), "registry+index"),
        ];
        let violations = check_packages(packages);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].contains("twice more than once: 1.0.0, 2.0.0"));
    }
}
