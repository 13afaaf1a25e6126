//! The table of dependencies that the design allows between our crates.
//!
//! Only linked dependencies count; tests may use any crate.

use std::collections::BTreeSet;

use super::graph::{Graph, Package};

/// The crates of ours that each of our crates may link. Adding a line here is a design change.
const LAYERS: &[(&str, &[&str])] = &[
    ("weir-proto", &[]),
    ("weir-connect", &["weir-proto"]),
    ("weir-discord", &["weir-proto"]),
    ("weir-protect", &[]),
    ("weir-data-client", &["weir-proto", "weir-connect"]),
    ("weir-bus", &["weir-proto"]),
    ("weir-runtime", &["weir-connect"]),
    ("weir-store", &["weir-proto", "weir-bus"]),
    (
        "weir-data-service",
        &[
            "weir-proto",
            "weir-connect",
            "weir-protect",
            "weir-data-client",
            "weir-bus",
            "weir-runtime",
            "weir-store",
        ],
    ),
    // Neither of the two knows the other, or anything that opens a database.
    (
        "weir-gateway",
        &["weir-proto", "weir-connect", "weir-discord", "weir-data-client", "weir-bus", "weir-runtime"],
    ),
    ("weir-api", &["weir-proto", "weir-connect", "weir-discord", "weir-data-client", "weir-runtime"]),
    ("weir-standalone", EVERY_TIER),
    ("weir-loadtest", &["weir-proto", "weir-connect", "weir-data-client", "weir-report", "weir-testkit"]),
    // Linked by the load tests, and a dev-dependency of crates with a benchmark.
    ("weir-report", &[]),
    // A dev-dependency of crates that decode something.
    ("weir-fuzz", &[]),
    // Linked by the load tests and xtask, and a dev-dependency of crates with a binary.
    ("weir-testkit", &[]),
    ("xtask", &["weir-testkit"]),
    ("acceptance-twilight", &[]),
];

/// For crates that stand above the tiers and connect them.
const EVERY_TIER: &[&str] = &[
    "weir-proto",
    "weir-connect",
    "weir-discord",
    "weir-protect",
    "weir-data-client",
    "weir-bus",
    "weir-runtime",
    "weir-store",
    "weir-data-service",
    "weir-gateway",
    "weir-api",
];

/// Packages that open a database.
const DATABASES: [&str; 2] = ["fjall", "scylla"];

/// The crates of `data-service/` that may name one of [`DATABASES`].
const OPENS_DATABASES: [&str; 2] = ["weir-data-service", "weir-store"];

/// Tiers that may not link a database, not even indirectly.
const NO_DATABASE: [&str; 2] = ["weir-gateway", "weir-api"];

/// The protection layer links only these and their dependencies. Its loom, mutation and fuzz builds must take
/// seconds, and a team that puts it in front of its own table must not inherit our dependencies.
const PROTECT_LINKS: [&str; 2] = ["tokio", "thiserror"];

/// All violations, one line each.
pub(crate) fn check(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for package in graph.ours() {
        check_edges(graph, package, &mut violations);
        if !OPENS_DATABASES.contains(&package.name.as_str()) {
            for database in graph.direct(package).filter(|to| DATABASES.contains(&to.name.as_str())) {
                violations.push(format!(
                    "{} names {}: only the data service opens a database",
                    package.name, database.name
                ));
            }
        }
    }
    for tier in NO_DATABASE {
        for database in graph.linked(tier).iter().filter(|to| DATABASES.contains(&to.name.as_str())) {
            violations.push(format!("{tier} links {}, through another crate", database.name));
        }
    }
    violations.extend(check_protect(graph));
    violations
}

fn check_edges(graph: &Graph, package: &Package, violations: &mut Vec<String>) {
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
        violations.push(format!(
            "{} has no place in the layers: add it to infra/xtask/src/tidy/layers.rs",
            package.name
        ));
        return;
    };
    for to in graph.direct(package).filter(|to| to.ours && !allowed.contains(&to.name.as_str())) {
        violations.push(format!("{} must not depend on {}", package.name, to.name));
    }
}

fn check_protect(graph: &Graph) -> Vec<String> {
    let mut allowed: BTreeSet<&str> = PROTECT_LINKS.into_iter().collect();
    for root in PROTECT_LINKS {
        allowed.extend(graph.linked(root).iter().map(|package| package.name.as_str()));
    }
    let linked = graph.linked("weir-protect");
    let heavier = linked.iter().filter(|package| !allowed.contains(package.name.as_str()));
    heavier.map(|package| format!("weir-protect links {}, which tokio does not need", package.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::graph::tests::graph, *};

    #[test]
    fn the_design_passes() {
        let graph = graph(&[
            ("weir-gateway", true, &["weir-data-client", "tokio", "dev:weir-data-service"]),
            ("weir-data-client", true, &["weir-proto"]),
            ("weir-proto", true, &[]),
            ("weir-data-service", true, &["weir-protect", "weir-store"]),
            ("weir-store", true, &["fjall", "scylla"]),
            ("weir-protect", true, &["tokio", "bytes", "dev:governor"]),
            ("tokio", false, &["bytes"]),
            ("bytes", false, &[]),
            ("governor", false, &[]),
            ("fjall", false, &[]),
            ("scylla", false, &[]),
        ]);
        assert_eq!(check(&graph), Vec::<String>::new());
    }

    #[test]
    fn tiers_must_not_know_each_other() {
        let graph = graph(&[
            ("weir-gateway", true, &["weir-api"]),
            ("weir-api", true, &["weir-data-service"]),
            ("weir-data-service", true, &[]),
        ]);
        assert_eq!(
            check(&graph),
            ["weir-gateway must not depend on weir-api", "weir-api must not depend on weir-data-service"]
        );
    }

    #[test]
    fn a_database_behind_another_crate_is_found() {
        let graph = graph(&[
            ("weir-api", true, &["weir-discord"]),
            ("weir-discord", true, &["cache"]),
            ("cache", false, &["fjall"]),
            ("fjall", false, &[]),
        ]);
        assert_eq!(check(&graph), ["weir-api links fjall, through another crate"]);
    }

    #[test]
    fn only_the_data_service_names_a_database() {
        let graph = graph(&[("weir-standalone", true, &["scylla"]), ("scylla", false, &[])]);
        assert_eq!(check(&graph), ["weir-standalone names scylla: only the data service opens a database"]);
    }

    #[test]
    fn protect_stays_as_light_as_tokio() {
        let graph = graph(&[
            ("weir-protect", true, &["tokio", "serde"]),
            ("tokio", false, &[]),
            ("serde", false, &[]),
        ]);
        assert_eq!(check(&graph), ["weir-protect links serde, which tokio does not need"]);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let violations = check(&graph(&[("weir-new", true, &[])]));
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("weir-new has no place"));
    }
}
