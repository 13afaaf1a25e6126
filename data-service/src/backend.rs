//! The configured backend of a data service: a store, the right to change it, and the way to gateways.
//!
//! | store | ownership | bus `memory` | bus `redis://…` |
//! |--|--|--|--|
//! | `embedded` | the lock on its files | its own durable log | Redis Streams |
//! | `cql://…` | leases in the database | a log in this process | Redis Streams |
//!
//! The binaries `weir` and `data-service` both open their backend here.

mod config;

use std::{path::PathBuf, sync::Arc, time::Duration};

use prost::Message as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_bus::{
    EventBus, Inbox, InboxError, PublishError, SessionStore,
    memory::{self, MemoryBus},
    redis::{RedisBus, RedisConfig, RedisError, RedisInbox},
};
use weir_proto::event::Record;
use weir_runtime::{Check, Readiness};
use weir_store::{
    Store,
    cql::{ConnectError, CqlStore},
    embedded::{self, EmbeddedStore},
};

pub use weir_store::embedded::VERSION_FILE;

pub use config::{BackendConfig, BusChoice, CqlAddress, InvalidAddress, StoreChoice};

use crate::{
    clock::Clock,
    ownership::{
        NotOwner, Ownership, WholeStore,
        leased::{Leased, TakeError},
    },
    steady,
};

/// Newest records of the embedded log in which the highest revision is searched. Revisions of different
/// channels are not in the order of the log, but none runs further ahead of the clock than its channel's
/// commits in flight, so the newest hundreds contain the highest.
const TAIL_RECORDS: usize = 512;
/// Interval between checks whether the store can serve: a problem is reported within a second.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Interval between reports of the reason for waiting.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Time for the store's answer.
const WATCH_WITHIN: Duration = Duration::from_secs(2);

/// Reasons why a bus between machines does not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PingError {
    /// The bus cannot be called: its address is wrong.
    #[error(transparent)]
    Address(#[from] RedisError),
    /// The bus did not answer in time, or refused.
    #[error(transparent)]
    Unavailable(#[from] PublishError),
}

/// Checks for at most a second whether the bus between machines answers; `None` for one in this process.
///
/// # Errors
/// [`PingError`]
///
/// # Cancel safety
/// Safe.
pub async fn ping_bus(bus: &BusChoice) -> Option<Result<(), PingError>> {
    let BusChoice::Redis { url } = bus else { return None };
    let asked = async { Ok(RedisBus::new(RedisConfig::new(url.clone()))?.ping().await?) };
    Some(asked.await)
}

/// Reasons why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The embedded store: in use, of a newer version, damaged, or the operating system refused.
    #[error("cannot open the data directory")]
    Embedded(#[from] embedded::OpenError),
    /// The thread that opens the store panicked.
    #[error("opening the data directory failed")]
    Opening(#[from] tokio::task::JoinError),
    /// The store's event log cannot be read.
    #[error("the event log cannot be read")]
    Log(#[from] InboxError),
    /// A record of the event log cannot be decoded.
    #[error("a record of the event log is damaged")]
    Record(#[from] prost::DecodeError),
    /// The cluster: unreachable, or its schema is missing or old.
    #[error("cannot use the cluster")]
    Cql(#[from] ConnectError),
    /// The bus cannot be set up. (One that does not answer yet is no error.)
    #[error("cannot use the event bus")]
    Bus(#[from] RedisError),
    /// The clock is so long after all stored data that it is not trusted.
    #[error(
        "this machine's clock shows {}, {} days after the newest change in the store ({}): set the clock, or if it is right, say so once with \
         store.accept_clock = \"{}\" in weir.toml, or WEIR_STORE__ACCEPT_CLOCK={}",
        steady::day(*now_us), ahead.as_secs() / 86_400, steady::day(*newest_us), steady::day(*now_us), steady::day(*now_us)
    )]
    ClockAhead {
        /// Microseconds since 1970-01-01T00:00Z.
        now_us: u64,
        /// Time of the newest change, in the same unit.
        newest_us: u64,
        /// The difference.
        ahead: Duration,
    },
    /// The leases could not be taken.
    #[error("this node cannot take the channels over")]
    Leases(#[from] TakeError),
}

impl BackendError {
    /// True if the node was told to stop while it waited, which is no failure.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Leases(TakeError::Stopped))
    }

    /// True if the database does not answer, as opposed to a wrong configuration or schema.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Cql(ConnectError::Unreachable(_) | ConnectError::Timeout(_))
            | Self::Leases(TakeError::Read(_)) => true,
            Self::Embedded(_)
            | Self::Opening(_)
            | Self::Log(_)
            | Self::Record(_)
            | Self::ClockAhead { .. }
            | Self::Bus(_)
            | Self::Cql(ConnectError::Schema(_) | ConnectError::Prepare(_))
            | Self::Leases(TakeError::Write(_) | TakeError::NoWorker | TakeError::Stopped) => false,
        }
    }

    /// The directory and the process that uses it, if that is the reason.
    #[must_use]
    pub fn in_use_by(&self) -> Option<(&PathBuf, &str)> {
        match self {
            Self::Embedded(embedded::OpenError::InUse { directory, pid }) => Some((directory, pid)),
            _ => None,
        }
    }
}

/// A gateway's end of the bus: its source of records, and its session store.
pub struct GatewayEnd {
    /// Source of records.
    pub inbox: Arc<dyn Inbox>,
    /// Session store.
    pub sessions: Arc<dyn SessionStore>,
    /// Set if records from other processes come through it: its connection is part of the readiness.
    pub redis: Option<Arc<RedisInbox>>,
}

/// The log that serves gateways of this process.
#[derive(Clone)]
enum Local {
    Embedded(Arc<EmbeddedStore>),
    Memory(Arc<MemoryBus>),
}

/// An open backend.
pub struct Backend {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The data service's end of the bus.
    pub bus: Arc<dyn EventBus>,
    /// The right to change channels.
    pub ownership: Arc<dyn Ownership>,
    /// Ids are minted above this: microseconds since 1970-01-01T00:00Z.
    pub mint_above_us: u64,
    local: Local,
    redis: Option<RedisConfig>,
    pub(crate) embedded: Option<Arc<EmbeddedStore>>,
    /// Task that renews the leases until told to give them up.
    leases: Option<(CancellationToken, JoinHandle<()>)>,
    /// Readiness of the store.
    store_check: Option<Check>,
    /// Readiness to change channels; `None` if no other node ever may.
    ownership_check: Option<Check>,
}

impl Backend {
    /// Opens the configured backend. Waits for the leases of a predecessor to end, which `stop` ends too;
    /// meanwhile `readiness` names the holder. The backend is ready when [`Backend::look`] reports so.
    ///
    /// # Errors
    /// [`BackendError`]
    ///
    /// # Cancel safety
    /// A dropped call may leave leases that end by themselves after five seconds.
    pub async fn open(
        config: BackendConfig,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
        readiness: &Readiness,
    ) -> Result<Self, BackendError> {
        let store_check = readiness.register("store");
        let mut backend = match config.store {
            StoreChoice::Embedded => Self::embedded(config.embedded).await?,
            StoreChoice::Cql(_) => {
                let store: Arc<dyn Store> = CqlStore::connect(config.cql).await?;
                // This precedes taking the lease, whose row would give a wrong time to all later nodes.
                let last_us = Leased::last_end_us(&*store).await.map_err(TakeError::from)?;
                judge_clock(&*clock, last_us, config.accept_clock_us)?;
                Self::cql(store, Arc::clone(&clock), stop, readiness.register("ownership")).await?
            }
        };
        if let Err(refused) = judge_clock(&*clock, backend.mint_above_us, config.accept_clock_us) {
            backend.close().await;
            return Err(refused);
        }
        backend.store_check = Some(store_check);
        if let BusChoice::Redis { url } = config.bus {
            let redis = RedisConfig::new(url);
            backend.bus = Arc::new(RedisBus::new(redis.clone())?);
            backend.redis = Some(redis);
        }
        Ok(backend)
    }

    async fn embedded(config: embedded::EmbeddedConfig) -> Result<Self, BackendError> {
        let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(config)).await??;
        let mint_above_us = highest_rev(&*store).await?;
        Ok(Self {
            store: Arc::clone(&store) as _,
            bus: Arc::clone(&store) as _,
            ownership: WholeStore::new(mint_above_us),
            mint_above_us,
            local: Local::Embedded(Arc::clone(&store)),
            redis: None,
            embedded: Some(store),
            leases: None,
            store_check: None,
            ownership_check: None,
        })
    }

    async fn cql(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
        check: Check,
    ) -> Result<Self, BackendError> {
        let holder = format!("{}-{}", std::process::id(), clock.wall_us());
        // The token is a separate one: the leases are given up after everything else has stopped.
        let release = CancellationToken::new();
        let (ownership, renewing) = Leased::start(Arc::clone(&store), clock, holder, release.clone()).await?;
        loop {
            tokio::select! {
                () = ownership.held() => break,
                () = stop.cancelled() => {
                    release.cancel();
                    return Err(TakeError::Stopped.into());
                }
                () = tokio::time::sleep(TELL_EVERY) => tell_ownership(&*ownership, &check),
            }
        }
        let bus = Arc::new(MemoryBus::new(memory::RECORDS_MAX));
        Ok(Self {
            store,
            bus: Arc::clone(&bus) as _,
            ownership,
            // The tenure contains it.
            mint_above_us: 0,
            local: Local::Memory(bus),
            redis: None,
            embedded: None,
            leases: Some((release, renewing)),
            store_check: None,
            ownership_check: Some(check),
        })
    }

    /// The end of the bus for a gateway in the same process.
    ///
    /// # Errors
    /// [`BackendError::Bus`]
    pub fn gateway_end(&self) -> Result<GatewayEnd, BackendError> {
        Ok(match (&self.redis, &self.local) {
            // Sessions of an inbox that ends with the process end with it.
            (Some(redis), _) => {
                let redis = RedisInbox::start(redis.clone())?;
                let inbox = Arc::clone(&redis) as _;
                GatewayEnd { inbox, sessions: Arc::new(MemoryBus::new(1)), redis: Some(redis) }
            }
            (None, Local::Embedded(store)) => {
                GatewayEnd { inbox: Arc::clone(store) as _, sessions: Arc::clone(store) as _, redis: None }
            }
            (None, Local::Memory(bus)) => {
                GatewayEnd { inbox: Arc::clone(bus) as _, sessions: Arc::clone(bus) as _, redis: None }
            }
        })
    }

    /// Updates the readiness: whether the store can serve and whether this node may change channels. Call it
    /// once before the service is announced as running; then [`Backend::watch`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn look(&self) {
        let found = self.store.ready(WATCH_WITHIN).await;
        if let Some(check) = &self.store_check {
            match found {
                Ok(()) => check.ready(),
                Err(error) => check.not_ready(error.to_string()),
            }
        }
        if let Some(check) = &self.ownership_check {
            tell_ownership(&*self.ownership, check);
        }
    }

    /// Updates the readiness as [`Backend::look`] does, twice a second, until the store is lost for good;
    /// returns the reason. The process must end then: it no longer knows what is on disk.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn watch(&self) -> String {
        loop {
            self.look().await;
            if let Some(reason) = self.lost() {
                return reason;
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    /// The reason if the store is lost for good. A stopping process checks this before it reports success.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.embedded.as_ref().and_then(|store| store.poisoned())
    }

    /// Gives the leases up and closes the store. Call it last. Returns the reason if the store failed then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves leases that end by themselves, and a store that closes when it is dropped.
    pub async fn close(self) -> Option<String> {
        if let Some((release, renewing)) = self.leases {
            release.cancel();
            if let Err(error) = renewing.await {
                tracing::error!(%error, "the leases were not given up; a successor waits for their end");
            }
        }
        let store = self.embedded?;
        store.close().await;
        store.poisoned()
    }
}

/// Trusts the clock or not, by the newest change in the store or the end of the last lease on it.
fn judge_clock(clock: &dyn Clock, newest_us: u64, accepted_us: u64) -> Result<(), BackendError> {
    let now_us = clock.wall_us();
    match steady::too_far(now_us, newest_us, accepted_us) {
        Some(ahead) => Err(BackendError::ClockAhead { now_us, newest_us, ahead }),
        None => Ok(()),
    }
}

/// Reports whether this node owns its channels, and if not, which node does.
fn tell_ownership(ownership: &dyn Ownership, check: &Check) {
    match (ownership.tenure(None), ownership.held_by()) {
        (Ok(_), _) => check.ready(),
        (Err(NotOwner::Elsewhere), Some(other)) => {
            check.not_ready(format!(
                "another data service ({other}) holds the slots; waits for its lease to end"
            ));
        }
        (Err(error), _) => check.not_ready(error.to_string()),
    }
}

/// The highest revision near the end of the log; 0 if it is empty.
async fn highest_rev(log: &dyn Inbox) -> Result<u64, BackendError> {
    let after = log.head().saturating_sub(TAIL_RECORDS as u64);
    let batch = match log.read(after, TAIL_RECORDS).await {
        // The log was trimmed to fewer records.
        Err(InboxError::Truncated { floor }) => log.read(floor, TAIL_RECORDS).await?,
        read => read?,
    };
    batch.records.into_iter().try_fold(0, |highest, (_, record)| Ok(highest.max(Record::decode(record)?.rev)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::Tenure;
    use bytes::Bytes;
    use weir_bus::Outgoing;
    use weir_proto::id::{GuildId, ScopeId};

    fn out(rev: u64) -> Outgoing {
        let record = Record { rev, ..Record::default() }.encode_to_vec();
        Outgoing { topics: Vec::new(), record: record.into() }
    }

    #[tokio::test]
    async fn the_highest_revision_need_not_be_the_last() {
        let log = MemoryBus::new(100);
        assert_eq!(highest_rev(&log).await.expect("empty"), 0);
        log.publish(vec![out(5), out(9), out(7)]).await.expect("taken");
        assert_eq!(highest_rev(&log).await.expect("read"), 9);
    }

    #[tokio::test]
    async fn a_trimmed_log_is_read_from_where_it_begins() {
        let log = MemoryBus::new(2);
        log.publish((1..=1_000).map(out).collect()).await.expect("taken");
        assert_eq!(highest_rev(&log).await.expect("read"), 1_000);
    }

    #[tokio::test]
    async fn the_readiness_says_who_holds_the_slots() {
        #[derive(Debug)]
        struct Standing(Result<(), NotOwner>);
        impl Ownership for Standing {
            fn tenure(&self, _: Option<ScopeId>) -> Result<Tenure, NotOwner> {
                let tenure = Tenure { mint_until_us: 0, mint_above_us: 0, epoch: 1, reign: 1, worker: 0 };
                self.0.clone().map(|()| tenure)
            }
            fn node(&self) -> &str {
                "this"
            }
            fn tenures(&self) -> tokio::sync::watch::Receiver<u64> {
                tokio::sync::watch::channel(0).1
            }
            fn held_by(&self) -> Option<String> {
                Some("the other".to_owned())
            }
        }
        let readiness = Readiness::new();
        let check = readiness.register("ownership");
        let reason = |standing| {
            tell_ownership(&Standing(standing), &check);
            readiness.reasons().pop().map(|found| found.reason)
        };
        assert_eq!(reason(Ok(())), None);
        assert!(reason(Err(NotOwner::Elsewhere)).is_some_and(|reason| reason.contains("(the other) holds")));
        assert!(reason(Err(NotOwner::Clock { off_ms: 700 })).is_some_and(|reason| reason.contains("700 ms")));
        assert_eq!(reason(Ok(())), None);
    }

    /// The clock of a machine this many days after 1970.
    fn at_day(day: u64) -> Arc<dyn Clock> {
        Arc::new(crate::clock::ManualClock::new(day * 86_400 * 1_000_000))
    }

    #[tokio::test]
    async fn a_clock_long_after_everything_stored_is_refused_at_a_start_until_somebody_vouches_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = async |day, accept_clock_us| {
            let config = BackendConfig {
                store: StoreChoice::Embedded,
                bus: BusChoice::Memory,
                directory: directory.path().to_owned(),
                accept_clock_us,
                embedded: embedded::EmbeddedConfig::new(directory.path()),
                cql: weir_store::cql::CqlConfig::new(Vec::new(), ""),
            };
            Backend::open(config, at_day(day), &CancellationToken::new(), &Readiness::new()).await
        };
        // 20,000 days: 2024-10-04. An empty store has no time to compare with.
        let backend = open(30_000, 0).await.expect("nothing is stored");
        let rev = 20_000 * 86_400 * 1_000_000;
        let record = Bytes::from(Record { rev, ..Record::default() }.encode_to_vec());
        let guild = GuildId::try_from(1).expect("not 0");
        let records = vec![weir_store::OutboxRecord { guild_id: Some(guild), rev, record }];
        let (scope_id, rows) = (ScopeId::Guild(guild), Vec::new());
        let commit = weir_store::Commit { scope_id, rev, rows, records, rows_are_outbox: false };
        backend.store.commit(commit).await.expect("written");
        backend.close().await;
        open(20_089, 0).await.expect("a season later").close().await;
        let Err(refused) = open(20_400, 0).await else { panic!("400 days later it opened") };
        let told = refused.to_string();
        for part in ["2025-11-08", "400 days", "2024-10-04", "store.accept_clock = \"2025-11-08\""] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!refused.is_unreachable());
        open(20_400, 20_401 * 86_400 * 1_000_000).await.expect("vouched for").close().await;
    }

    #[tokio::test]
    async fn a_directory_in_use_says_by_whom() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = embedded::EmbeddedConfig::new(directory.path());
        let held = Backend::embedded(config.clone()).await.expect("opened");
        let Err(error) = Backend::embedded(config).await else { panic!("opened twice") };
        assert_eq!(error.in_use_by().map(|(_, pid)| pid.to_owned()), Some(std::process::id().to_string()));
        assert!(!error.is_unreachable());
        held.close().await;
    }
}
