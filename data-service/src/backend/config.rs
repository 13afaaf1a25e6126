//! Configuration of the backend and its addresses.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use time::{Date, format_description::BorrowedFormatItem, macros::format_description};
use weir_runtime::config::Reader;
use weir_store::{
    cql::{CqlConfig, Credentials, Linearizable, Replication},
    embedded::EmbeddedConfig,
};

/// Default data directory.
const DIRECTORY: &str = "./weir-data";
/// Default CQL port.
const CQL_PORT: u16 = 9_042;
/// Text form of a day.
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// Maximum nodes in an address; the driver finds the others through them.
const NODES_MAX: usize = 16;

/// A database to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// The LSM store in the data directory.
    Embedded,
    /// A CQL cluster.
    Cql(CqlAddress),
}

/// Some nodes of a cluster, and a keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlAddress {
    /// `host:port` each; at least one.
    pub nodes: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
}

/// How records reach gateways.
#[derive(Clone, PartialEq, Eq)]
pub enum BusChoice {
    /// Within this process, or the embedded store's own log.
    Memory,
    /// Through Redis Streams, to gateways of any process.
    Redis {
        /// `redis://[user:password@]host[:port][/database]`; `Display` and `Debug` leave the password out.
        url: String,
    },
}

impl fmt::Debug for BusChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Errors of the text that names a store or bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// The text has neither form of a store.
    #[error("it must be embedded or cql://host[:port][,host…]/keyspace")]
    Store,
    /// There is no host, an empty one, or too many.
    #[error("cql:// must be followed by 1 to {NODES_MAX} hosts")]
    Nodes,
    /// A user, and perhaps a password, precedes the host.
    #[error("user and password do not belong into it: set cql.user and cql.password")]
    Credentials,
    /// The port is not valid.
    #[error("{node:?} must be host or host:port")]
    Node {
        /// The invalid part of the text.
        node: String,
    },
    /// The keyspace may not stand in a statement.
    #[error("the keyspace must be at most 48 lower-case letters, digits and _, a letter first")]
    Keyspace,
    /// The text has neither form of a bus.
    #[error("it must be memory or redis://host:port")]
    Bus,
}

impl FromStr for StoreChoice {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let address = text.strip_prefix("cql://").ok_or(InvalidAddress::Store)?;
        let (hosts, keyspace) = address.split_once('/').ok_or(InvalidAddress::Keyspace)?;
        if hosts.contains('@') {
            return Err(InvalidAddress::Credentials);
        }
        let nodes: Vec<String> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        if nodes.len() > NODES_MAX {
            return Err(InvalidAddress::Nodes);
        }
        if !CqlConfig::new(Vec::new(), keyspace).keyspace_is_valid() {
            return Err(InvalidAddress::Keyspace);
        }
        Ok(Self::Cql(CqlAddress { nodes, keyspace: keyspace.to_owned() }))
    }
}

/// Parses `host` or `host:port`, `[v6]` or `[v6]:port`, and always returns a port.
fn node(text: &str) -> Result<String, InvalidAddress> {
    if text.is_empty() {
        return Err(InvalidAddress::Nodes);
    }
    let wrong = || InvalidAddress::Node { node: text.to_owned() };
    // A colon inside brackets belongs to the address.
    let after_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[after_host..].rsplit_once(':') {
        Some((rest, port)) => {
            let host_is_there = after_host > 0 || !rest.is_empty();
            let port: Option<u16> = port.parse().ok().filter(|port| *port != 0);
            if host_is_there && !rest.contains(':') && port.is_some() {
                Ok(text.to_owned())
            } else {
                Err(wrong())
            }
        }
        None => Ok(format!("{text}:{CQL_PORT}")),
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Cql(address) => write!(f, "cql://{}/{}", address.nodes.join(","), address.keyspace),
        }
    }
}

impl FromStr for BusChoice {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match text {
            "memory" => Ok(Self::Memory),
            url if url.strip_prefix("redis://").is_some_and(|host| !host.is_empty()) => {
                Ok(Self::Redis { url: url.to_owned() })
            }
            _ => Err(InvalidAddress::Bus),
        }
    }
}

impl fmt::Display for BusChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redis { url } => {
                match url.strip_prefix("redis://").and_then(|rest| rest.rsplit_once('@')) {
                    Some((_secret, host)) => write!(f, "redis://***@{host}"),
                    None => f.write_str(url),
                }
            }
        }
    }
}

/// A backend to open.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// The store.
    pub store: StoreChoice,
    /// The bus.
    pub bus: BusChoice,
    /// Holds the embedded store, the operators' token and the address of the admin listener.
    pub directory: PathBuf,
    /// Time until which an operator vouches for the clock, although it is long after all stored data:
    /// microseconds since 1970-01-01T00:00Z; 0 if no operator does.
    pub accept_clock_us: u64,
    /// Used if the store is embedded.
    pub embedded: EmbeddedConfig,
    /// Used if the store is a cluster.
    pub cql: CqlConfig,
}

impl BackendConfig {
    /// Reads the keys `store.url`, `store.directory`, `store.cache`, `store.accept_clock`, `bus.url` and
    /// `cql.*`.
    pub fn read(reader: &mut Reader) -> Self {
        let store = reader.parsed(
            "store.url",
            StoreChoice::Embedded,
            |text| text.parse::<StoreChoice>().map_err(|error| error.to_string()),
            StoreChoice::to_string,
            "write for example \"embedded\" or \"cql://10.0.0.1,10.0.0.2/weir\"",
        );
        let bus = reader.parsed(
            "bus.url",
            BusChoice::Memory,
            |text| text.parse::<BusChoice>().map_err(|error| error.to_string()),
            BusChoice::to_string,
            "write for example \"memory\" or \"redis://127.0.0.1:6379\"",
        );
        let directory = PathBuf::from(reader.string("store.directory", DIRECTORY));
        let accept_clock = reader.optional_string("store.accept_clock").map(|day| end_of_day(&day));
        reader.require(
            "store.accept_clock",
            accept_clock != Some(None),
            "it must be a day, year-month-day",
            "write the day that it is, for example \"2027-01-31\"",
        );
        let mut embedded = EmbeddedConfig::new(&directory);
        embedded.cache_bytes = reader.size("store.cache", embedded.cache_bytes, 1 << 20..=1 << 40);
        let address = match &store {
            StoreChoice::Embedded => CqlAddress { nodes: Vec::new(), keyspace: String::new() },
            StoreChoice::Cql(address) => address.clone(),
        };
        let cql = read_cql(reader, address);
        Self { store, bus, directory, accept_clock_us: accept_clock.flatten().unwrap_or(0), embedded, cql }
    }
}

/// The end of a day, UTC: microseconds since 1970-01-01T00:00Z.
fn end_of_day(text: &str) -> Option<u64> {
    let day = Date::parse(text, DAY).ok()?;
    u64::try_from(day.next_day()?.midnight().assume_utc().unix_timestamp()).ok()?.checked_mul(1_000_000)
}

fn read_cql(reader: &mut Reader, address: CqlAddress) -> CqlConfig {
    let default = CqlConfig::new(address.nodes, address.keyspace);
    let second = Duration::from_secs(1);
    let (user, password) = (reader.optional_string("cql.user"), reader.secret("cql.password"));
    reader.require(
        "cql.user",
        user.is_some() == password.is_some(),
        "cql.user and cql.password go together",
        "set both or neither",
    );
    let credentials = user
        .zip(password)
        .map(|(user, password)| Credentials { user, password: password.expose().to_owned() });
    let linearizable = reader.choice(
        "cql.linearizable",
        &[("local", Linearizable::Local), ("global", Linearizable::Global)],
        default.linearizable,
    );
    let mut config = default;
    config.datacenter = reader.optional_string("cql.datacenter");

    config.credentials = credentials;
    config.linearizable = linearizable;
    config.replication = reader.parsed(
        "cql.replication",
        config.replication,
        replication,
        show_replication,
        "write for example \"3\", or \"east:3,west:3\" for several datacentres",
    );
    config.connect_timeout =
        reader.duration("cql.connect_timeout", config.connect_timeout, second..=second * 120);
    config.read_timeout =
        reader.duration("cql.read_timeout", config.read_timeout, second / 100..=second * 60);
    config.write_timeout =
        reader.duration("cql.write_timeout", config.write_timeout, second / 100..=second * 60);
    config
}

/// Parses `3`, or `east:3,west:2`.
fn replication(text: &str) -> Result<Replication, String> {
    let rule = || "it must be a number of copies, or datacentre:copies for each".to_owned();
    let copies =
        |text: &str| text.parse::<u8>().ok().filter(|copies| (1..=9).contains(copies)).ok_or_else(rule);
    if !text.contains(':') {
        return Ok(Replication::Simple { factor: copies(text)? });
    }
    let datacenters = text.split(',').map(|part| match part.split_once(':') {
        Some((name, count)) if !name.is_empty() => Ok((name.to_owned(), copies(count)?)),
        Some(_) | None => Err(rule()),
    });
    datacenters.collect::<Result<_, _>>().map(Replication::Network)
}

fn show_replication(replication: &Replication) -> String {
    match replication {
        Replication::Simple { factor } => factor.to_string(),
        Replication::Network(datacenters) => {
            let parts: Vec<_> = datacenters.iter().map(|(name, copies)| format!("{name}:{copies}")).collect();
            parts.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_runtime::RawConfig;

    #[test]
    fn a_day_counts_to_its_end() {
        assert_eq!(end_of_day("1970-01-01"), Some(86_400 * 1_000_000));
        for text in ["", "2027", "2027-13-01", "2027-02-30", "tomorrow", "1969-01-01"] {
            assert_eq!(end_of_day(text), None, "{text}");
        }
    }

    #[test]
    fn stores_are_named_by_one_text_and_written_back() {
        for (text, shown) in [
            ("embedded", "embedded"),
            ("cql://a/weir", "cql://a:9042/weir"),
            ("cql://10.0.0.1:9043,b/weir_2", "cql://10.0.0.1:9043,b:9042/weir_2"),
            ("cql://[::1]/weir", "cql://[::1]:9042/weir"),
            ("cql://[::1]:9043/weir", "cql://[::1]:9043/weir"),
        ] {
            let choice: StoreChoice = text.parse().expect(text);
            assert_eq!(choice.to_string(), shown);
            assert_eq!(shown.parse(), Ok(choice));
        }
    }

    #[test]
    fn what_names_no_store_is_refused_by_what_is_wrong() {
        let wrong = |text: &str| text.parse::<StoreChoice>().expect_err(text);
        for text in ["", "fjall", "postgres://a/weir", "CQL://a/weir"] {
            assert_eq!(wrong(text), InvalidAddress::Store);
        }
        for text in ["cql://u:hunter2@h/weir", "cql://a,u@b/weir"] {
            assert_eq!(wrong(text), InvalidAddress::Credentials);
        }
        for text in ["cql:///weir", "cql://a,,b/weir"] {
            assert_eq!(wrong(text), InvalidAddress::Nodes);
        }
        for text in ["cql://a:0/weir", "cql://a:x/weir", "cql://:9042/weir", "cql://::1:9042/weir"] {
            assert!(matches!(wrong(text), InvalidAddress::Node { .. }), "{text}");
        }
        for text in ["cql://a", "cql://a/", "cql://a/We", "cql://a/weir/x", "cql://a/weir;drop"] {
            assert_eq!(wrong(text), InvalidAddress::Keyspace);
        }
        let many = vec!["a"; NODES_MAX + 1].join(",");
        assert_eq!(wrong(&format!("cql://{many}/weir")), InvalidAddress::Nodes);
    }

    #[test]
    fn a_bus_is_memory_or_redis_and_keeps_its_password_to_itself() {
        let bus = |text: &str| text.parse::<BusChoice>();
        assert_eq!(bus("memory"), Ok(BusChoice::Memory));
        assert_eq!(bus("redis://h:1").map(|bus| bus.to_string()), Ok("redis://h:1".to_owned()));
        let secret = bus("redis://weir:hush@h:1/2").expect("a url");
        assert!(matches!(&secret, BusChoice::Redis { url } if url.contains("hush")));
        assert_eq!(format!("{secret} {secret:?}"), "redis://***@h:1/2 redis://***@h:1/2");
        for text in ["", "redis", "redis://", "nats://h"] {
            assert_eq!(bus(text), Err(InvalidAddress::Bus), "{text}");
        }
    }

    #[test]
    fn replication_is_a_number_or_one_for_each_datacentre() {
        for text in ["3", "east:3,west:2"] {
            assert_eq!(show_replication(&replication(text).expect(text)), text);
        }
        for text in ["", "0", "10", "east", "east:", ":3", "east:3,", "east:3,west"] {
            assert!(replication(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_needs_a_password_and_neither_is_shown() {
        let mut raw = RawConfig::default();
        raw.file("weir.toml", "[cql]\nuser = \"weir\"\n");
        let mut reader = raw.into_reader();
        BackendConfig::read(&mut reader);
        assert!(reader.finish().expect_err("half").to_string().contains("go together"));
        let mut raw = RawConfig::default();
        raw.file("weir.toml", "[cql]\nuser = \"weir\"\npassword = \"hush\"\n");
        let mut reader = raw.into_reader();
        let config = BackendConfig::read(&mut reader);
        assert_eq!(config.cql.credentials.as_ref().map(|both| both.password.as_str()), Some("hush"));
        let effective = reader.finish().expect("whole").to_string();
        assert!(!effective.contains("hush") && !format!("{config:?}").contains("hush"));
    }
}
