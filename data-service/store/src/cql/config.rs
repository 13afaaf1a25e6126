//! The address of a CQL cluster, and the timeouts.

use std::{fmt, time::Duration};

/// How a new keyspace is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// One datacentre, `SimpleStrategy`, for tests and single nodes.
    Simple {
        /// Copies of each row; 3 in production.
        factor: u8,
    },
    /// `NetworkTopologyStrategy`, with a number of copies for each datacentre by name.
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
    /// Those of the local datacentre, which is right if all owners run in it.
    Local,
    /// Those of all datacentres, which is needed if owners run in several.
    Global,
}

/// A cluster to connect to.
#[derive(Debug, Clone)]
pub struct CqlConfig {
    /// `host:port` of some nodes, which name the others.
    pub nodes: Vec<String>,
    /// Keyspace: lower-case letters, digits and `_`, at most 48 in all, the first a letter.
    pub keyspace: String,
    /// Datacentre whose nodes are asked. `None` asks any node, which is right only with one datacentre.
    pub datacenter: Option<String>,
    /// Used if the cluster asks for credentials.
    pub credentials: Option<Credentials>,
    /// Used when `schema apply` creates the keyspace, and never changed afterwards.
    pub replication: Replication,
    /// Which replicas lightweight transactions ask.
    pub linearizable: Linearizable,
    /// Longest wait for a connection and for the schema's version at start.
    pub connect_timeout: Duration,
    /// Longest wait for a read's answer, including its one repetition. Databases give up on reads after 5 s
    /// by default; a caller of a chat has left by then.
    pub read_timeout: Duration,
    /// Longest wait for a write's answer. It is above the database's own 2 s, so that the database's clearer
    /// error comes first.
    pub write_timeout: Duration,
    /// Longest wait for a lightweight transaction's answer: it takes four rounds between replicas, and
    /// transactions may contend.
    pub lease_timeout: Duration,
    /// Longest wait for a change of schema to be agreed on.
    pub schema_timeout: Duration,
    /// Most point reads or batches that one call has in flight at once: a call for 1,000 users must not fill
    /// a node's queue by itself.
    pub call_concurrency: usize,
    /// Most reads in flight at once; more wait, each until its own timeout. It also bounds what a hung node
    /// leaves behind: the driver closes a connection on which more than 1,024 statements were abandoned at
    /// least a second ago and are unanswered (`OLD_ORPHAN_COUNT_THRESHOLD`), and two such generations are no
    /// more than that. By Little's law 512 are half a million reads a second at 1 ms each.
    pub reads_max: usize,
    /// Silence on a connection after which it is probed.
    pub keepalive_interval: Duration,
    /// Further silence after which the connection is closed, so that a dead node is noticed without a
    /// request.
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

    /// Whether the keyspace's name may stand unquoted in a statement, where it is inserted as text.
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
