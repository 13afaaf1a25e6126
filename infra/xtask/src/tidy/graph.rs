//! The dependency graph as `cargo metadata` prints it.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How a package depends on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The dependency is linked into the package.
    Normal,
    /// The dependency is needed to build the package.
    Build,
    /// The dependency is needed for tests and benchmarks.
    Dev,
}

/// One package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// True if it is a member of this workspace.
    pub(crate) ours: bool,
    /// True if it runs in the compiler. Neither it nor its dependencies are linked into anything.
    macros: bool,
    dependencies: Vec<(usize, Kind)>,
}

/// All packages that cargo would use, with their dependencies.
#[derive(Debug)]
pub(crate) struct Graph {
    packages: Vec<Package>,
}

impl Graph {
    /// Reads the output of `cargo metadata --format-version 1`.
    ///
    /// # Errors
    /// If a key is missing because cargo prints another format.
    pub(crate) fn parse(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata).context("parse cargo metadata")?;
        let members: BTreeSet<&str> =
            array(&metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut index = HashMap::new();
        let mut packages = Vec::new();
        for package in array(&metadata, "packages")? {
            let id = text(package, "id")?;
            index.insert(id, packages.len());
            packages.push(Package {
                name: text(package, "name")?.to_owned(),
                ours: members.contains(id),
                macros: is_macro(package),
                dependencies: Vec::new(),
            });
        }
        let resolve = metadata.get("resolve").context("cargo metadata has no resolve")?;
        for node in array(resolve, "nodes")? {
            let from = *index.get(text(node, "id")?).context("a node that is no package")?;
            for dependency in array(node, "deps")? {
                let to = *index.get(text(dependency, "pkg")?).context("a dependency that is no package")?;
                let kinds = array(dependency, "dep_kinds")?.iter().map(|kind| {
                    match kind.get("kind").and_then(Value::as_str) {
                        Some("dev") => Kind::Dev,
                        Some("build") => Kind::Build,
                        Some(_) | None => Kind::Normal,
                    }
                });
                packages[from].dependencies.extend(kinds.map(|kind| (to, kind)).collect::<BTreeSet<_>>());
            }
        }
        Ok(Self { packages })
    }

    /// The members of the workspace.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.ours)
    }

    /// The packages that `package` names itself and links.
    pub(crate) fn direct<'a>(&'a self, package: &'a Package) -> impl Iterator<Item = &'a Package> {
        package.dependencies.iter().filter(|&&edge| self.links(edge)).map(|&(to, _)| &self.packages[to])
    }

    /// Everything that the package called `root` links, directly or not, without itself. It is empty if there
    /// is no such package.
    pub(crate) fn linked(&self, root: &str) -> Vec<&Package> {
        let Some(root) = self.packages.iter().position(|package| package.name == root) else {
            return Vec::new();
        };
        let mut seen = BTreeSet::from([root]);
        let mut open = vec![root];
        while let Some(at) = open.pop() {
            for &edge in &self.packages[at].dependencies {
                if self.links(edge) && seen.insert(edge.0) {
                    open.push(edge.0);
                }
            }
        }
        seen.remove(&root);
        seen.into_iter().map(|at| &self.packages[at]).collect()
    }

    fn links(&self, (to, kind): (usize, Kind)) -> bool {
        kind == Kind::Normal && !self.packages[to].macros
    }
}

fn is_macro(package: &Value) -> bool {
    let kinds = package.get("targets").and_then(Value::as_array).into_iter().flatten();
    kinds.filter_map(|target| target.get("kind")?.as_array()).flatten().any(|kind| kind == "proc-macro")
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("cargo metadata has no list {key}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata has no text {key}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A graph from `(name, ours, dependencies)`. A dependency is a name, with `dev:` or `build:` before it
    /// if it is not linked.
    pub(crate) fn graph(packages: &[(&str, bool, &[&str])]) -> Graph {
        let described: Vec<Value> = packages
            .iter()
            .map(|(name, ..)| {
                let kind = if name.ends_with("-derive") { "proc-macro" } else { "lib" };
                json!({"id": name, "name": name, "targets": [{"kind": [kind]}]})
            })
            .collect();
        let nodes: Vec<Value> = packages
            .iter()
            .map(|(name, _, dependencies)| {
                let deps: Vec<Value> = dependencies
                    .iter()
                    .map(|dependency| match dependency.split_once(':') {
                        Some((kind, package)) => json!({"pkg": package, "dep_kinds": [{"kind": kind}]}),
                        None => json!({"pkg": dependency, "dep_kinds": [{"kind": null}]}),
                    })
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        let members: Vec<&str> =
            packages.iter().filter(|(_, ours, _)| *ours).map(|(name, _, _)| *name).collect();
        let metadata =
            json!({"packages": described, "workspace_members": members, "resolve": {"nodes": nodes}});
        Graph::parse(&metadata.to_string()).unwrap()
    }

    #[test]
    fn linked_follows_normal_dependencies_only() {
        let graph = graph(&[
            ("a", true, &["b", "dev:d", "build:e", "f-derive"]),
            ("b", false, &["c"]),
            ("c", false, &["dev:d"]),
            ("d", false, &[]),
            ("e", false, &[]),
            ("f-derive", false, &["g"]),
            ("g", false, &[]),
        ]);
        let names: Vec<&str> = graph.linked("a").iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(graph.linked("no such package").is_empty());
    }
}
