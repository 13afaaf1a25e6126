//! How to reach a CQL cluster, and how long to wait for it.

use std::{fmt, time::Duration};

/// How a new keyspace is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// One datacentre, `SimpleStrategy`: tests and single nodes.
    Simple {
        /// Copies of each row; 3 in production.
        factor: u8,
    },
    /// `NetworkTopologyStrategy`: copies for each datacentre by name.
    Network(Vec<(String, u8)>),
}

/// Name and password of a role. The password is not shown by `Debug`.
#[derive(Clone)]
pub struct Credentials {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Which replicas lightweight transactions ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linearizable {
    /// Those of the local datacentre: right if all owners run in it.
    Local,
    /// Those of all datacentres: needed if owners run in several.
    Global,
}

/// A cluster to connect to.
#[derive(Debug, Clone)]
pub struct CqlConfig {
    /// `host:port` of some nodes; the rest are found by asking them.
    pub nodes: Vec<String>,
    /// Keyspace: lower-case letters, digits and `_`, at most 48, a letter first.
    pub keyspace: String,
    /// Datacentre to stay in; `None` asks any node, which is right with one datacentre only.
    pub datacenter: Option<String>,
    /// Used if the cluster asks for them.
    pub credentials: Option<Credentials>,
    /// Used when `schema apply` creates the keyspace; never changed afterwards.
    pub replication: Replication,
    /// Whom lightweight transactions ask.
    pub linearizable: Linearizable,
    /// Longest wait for a connection and for the schema's version at start.
    pub connect_timeout: Duration,
    /// Longest wait for a read's answer, its one repetition included. Databases give up on reads after 5 s by default; a caller of a chat
    /// has gone by then.
    pub read_timeout: Duration,
    /// Longest wait for a write's answer. Above the database's own 2 s, so that its clearer error comes first.
    pub write_timeout: Duration,
    /// Longest wait for a lightweight transaction's: four rounds between replicas, and they may contend.
    pub lease_timeout: Duration,
    /// Longest wait for a change of schema to be agreed on.
    pub schema_timeout: Duration,
    /// Point reads or batches that one call has in flight at once: a call for 1,000 users must not fill a node's queue by itself.
    pub call_concurrency: usize,
    /// Reads in flight at once; more wait, each until its own timeout. It also bounds what a hung node leaves behind: the driver closes a
    /// connection on which more than 1,024 statements were abandoned a second ago and are unanswered (`OLD_ORPHAN_COUNT_THRESHOLD`), and
    /// two such generations are no more. By Little's law 512 are half a
    /// million reads a second at 1 ms each.
    pub reads_max: usize,
    /// Silence after which a connection is probed.
    pub keepalive_interval: Duration,
    /// Silence after a probe after which a connection is closed, so that a dead node is noticed without a request.
    pub keepalive_timeout: Duration,
}

impl CqlConfig {
    /// Defaults: one datacentre, three copies.
    #[must_use]
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        Self {
            nodes,
            keyspace: keyspace.into(),
            datacenter: None,
            credentials: None,
            replication: Replication::Simple { factor: 3 },
            linearizable: Linearizable::Local,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(3),
            lease_timeout: Duration::from_secs(5),
            schema_timeout: Duration::from_secs(60),
            call_concurrency: 16,
            reads_max: 512,
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(5),
        }
    }

    /// Whether the keyspace's name may stand in a statement unquoted: it is put there as text.
    #[must_use]
    pub fn keyspace_is_valid(&self) -> bool {
        let name = &self.keyspace;
        let letters =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        letters && name.len() <= 48 && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspaces_name_cannot_smuggle_cql() {
        let valid = |name: &str| CqlConfig::new(vec![], name).keyspace_is_valid();
        assert!(valid("weir") && valid("weir_2"));
        for name in ["", "2weir", "Weir", "weir;drop", "weir.messages", &"w".repeat(49)] {
            assert!(!valid(name), "{name:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: "weir".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
