//! The read path: deadline → request limit → tail → cache → flight → database-read limit → concurrency → database.
//!
//! A page of history is put together from partitions: the tail of a warm channel answers at once; otherwise each (channel, bucket) that
//! the page touches is read through the protection layer, so that two callers whose pages share a partition share its read.
//!
//! - [`query`]: what lies behind the gates.
//! - [`page`]: how a page is put together.
//! - `newest`: the newest message of each channel of a guild.
//! - [`directory`]: users, guilds, channels and members.

pub mod directory;
mod newest;
pub mod page;
pub mod query;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use weir_protect::{
    Dependence, Gate, LimitKind, Nanos, Outcome, Protect, ReadError, ReadRequest, Reply, Scope, Scopes,
};
use weir_proto::bucket::Bucket;

pub(crate) use self::newest::NEWEST_AT_ONCE;
use self::query::{Asked, Database, Memory, ReadQuery, ReadValue};
use crate::{
    admission::LimitBook,
    freshness::Freshness,
    key::{CLASS_READS, Key},
    live::Live,
    observe::Observer,
    ownership::Ownership,
    seeded::{Seeded, armed},
};

/// An error of a read.
pub type Failure = ReadError<weir_store::ReadError>;

/// What a caller asks of a read beside its query.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// How long the caller waits.
    pub within: Duration,
    /// At least this state.
    pub freshness: Option<Freshness>,
}

/// How a read was served.
#[derive(Debug, Clone)]
pub struct Served {
    /// The worst outcome of its parts: a page that led one read led.
    pub outcome: Outcome,
    /// Age of the oldest part.
    pub age: Duration,
    /// A line for each part, in order.
    pub steps: Vec<String>,
}

/// The read path of one node.
pub struct ReadPath {
    pub(crate) protect: Protect<Database>,
    /// The pages that `protect` may answer from.
    pub(crate) pages: Arc<query::MokaCache>,
    pub(crate) live: Arc<Live>,
    pub(crate) ownership: Arc<dyn Ownership>,
    pub(crate) limits: Arc<LimitBook>,
    pub(crate) observer: Arc<Observer>,
    /// Numbers for reads that share nothing.
    pub(crate) alone: AtomicU64,
    /// A permit for each channel whose newest message is being read for a guild's sake.
    pub(crate) newest: tokio::sync::Semaphore,
}

/// A read under way: its deadline, what it may charge, and what happened so far.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) arrived: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) scopes: Scopes,
    pub(crate) freshness: Option<Freshness>,
    pub(crate) served: Served,
}

impl ReadPath {
    /// Starts a read for a channel (0 for none): deadline and request limit, in this order.
    pub(crate) async fn begin(&self, channel_id: u64, options: ReadOptions) -> Result<Reading, Failure> {
        let now = self.clock_now();
        let deadline = query::deadline(now, options.within);
        if deadline <= now {
            return Err(ReadError::DeadlineExceeded { stage: weir_protect::Stage::Arrival });
        }
        let scopes = self.scopes(channel_id, CLASS_READS).await;
        self.observer.on_request(channel_id);
        if self.protect.gates().is_on(Gate::RequestLimit) {
            let charged = self.protect.limits().charge(scopes.as_slice(), LimitKind::Requests, now);
            charged.map_err(|refusal| {
                match channel_id {
                    // What is read of a guild or user is not known yet.
                    0 => self.observer.refused(0, refusal.reason),
                    _ => self.observer.on_refused_read(&Key::Rows(channel_id, Bucket(0)), refusal.reason),
                }
                ReadError::Refused(refusal)
            })?;
        }
        let freshness = options.freshness.map(|token| self.live.attainable(token));
        Ok(Reading { arrived: now, deadline, scopes, freshness, served: Served::nothing() })
    }

    /// A read that is a part of a request which was charged and counted already, by whichever method it came: it is no request of its own,
    /// and charges its reads of the database to the class and to all.
    pub(crate) async fn attendant(&self, within: Duration) -> Reading {
        let now = self.clock_now();
        let (deadline, scopes) = (query::deadline(now, within), self.scopes(0, CLASS_READS).await);
        Reading { arrived: now, deadline, scopes, freshness: None, served: Served::nothing() }
    }

    /// Scopes that a request for a channel charges, narrowest first.
    pub(crate) async fn scopes(&self, channel_id: u64, class: u8) -> Scopes {
        let mut scopes = Scopes::NONE;
        if channel_id != 0 {
            scopes = scopes.and(Scope::Key(channel_id));
            // Looked up only while some guild has a limit: it is a row read, cached, for each channel.
            if self.limits.has_guild_limits()
                && let Ok(Some(channel)) = self.channel_row(channel_id).await
                && channel.guild_id != 0
            {
                scopes = scopes.and(Scope::Group(channel.guild_id));
            }
        }
        scopes.and(Scope::Class(class)).and(Scope::All)
    }

    /// One read behind the gates, as a part of `reading`.
    pub(crate) async fn part(
        &self,
        reading: &mut Reading,
        key: Key,
        query: ReadQuery,
        dependence: Dependence,
    ) -> Result<ReadValue, Failure> {
        loop {
            let memory = self.memory(&key);
            let mut request = ReadRequest::new(key, Asked { memory, query }, reading.deadline);
            request.scopes = reading.scopes;
            request.dependence = dependence;
            request.request_charged = true;
            // A token of another channel or guild says nothing of this key.
            let token = reading.freshness.filter(|token| key.scope() == Some(token.scope_id));
            request.floor = token.map(|token| token.rev);
            let reply: Reply<ReadValue> = self.protect.read(request).await?;
            let remembered = reply.outcome() != Outcome::Led;
            // Checked again after the answer is there (rule 3): what is remembered counts only while the tenure lasts.
            if remembered && self.memory(&key) != memory && !armed(Seeded::CachedReplyUnchecked) {
                continue;
            }
            reading.served.note(&key, &reply);
            return Ok(reply.value);
        }
    }

    /// What a read of `key` may be answered from now.
    fn memory(&self, key: &Key) -> Memory {
        match self.ownership.tenure(key.scope().unwrap_or(0)) {
            Ok(_) if armed(Seeded::MemoryOutlivesTenure) => Memory::Tenure(0),
            Ok(tenure) => Memory::Tenure(tenure.epoch),
            Err(_) => Memory::Alone(self.alone.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// A read of the service's own (a channel's guild, an operator's question): no limits are charged.
    pub(crate) async fn uncharged(&self, key: Key, query: ReadQuery) -> Result<ReadValue, Failure> {
        let deadline = self.clock_now().after(Duration::from_secs(2));
        let mut request = ReadRequest::new(key, Asked { memory: self.memory(&key), query }, deadline);
        request.request_charged = true;
        Ok(self.protect.read(request).await?.value)
    }

    pub(crate) fn clock_now(&self) -> Nanos {
        self.protect.clock().now()
    }

    /// Counts a part that was answered from what the turns keep.
    pub(crate) fn note_memory_hit(&self, reading: &mut Reading, key: &Key, step: &str) {
        reading.served.steps.push(step.to_owned());
        let elapsed = self.clock_now().since(reading.arrived);
        weir_protect::Observer::on_read(&*self.observer, key, Outcome::Hit, elapsed);
    }

    pub(crate) fn cache_on(&self) -> bool {
        self.protect.gates().is_on(Gate::Cache)
    }
}

impl Served {
    /// Nothing was served yet.
    pub(crate) const fn nothing() -> Self {
        Self { outcome: Outcome::Hit, age: Duration::ZERO, steps: Vec::new() }
    }

    fn note(&mut self, key: &Key, reply: &Reply<ReadValue>) {
        let explain = &reply.explain;
        let rank = |outcome: Outcome| match outcome {
            Outcome::Hit => 0,
            Outcome::Subsumed => 1,
            Outcome::Joined => 2,
            Outcome::Led => 3,
            Outcome::Stale => 4,
            Outcome::Refused => 5,
        };
        if rank(explain.outcome) > rank(self.outcome) {
            self.outcome = explain.outcome;
        }
        self.age = self.age.max(explain.age);
        let times = &explain.times;
        self.steps.push(format!(
            "{key:?} {} age={}us flight={}us concurrency={}us store={}us",
            explain.outcome.label(),
            explain.age.as_micros(),
            times.flight.as_micros(),
            times.concurrency.as_micros(),
            times.store.as_micros()
        ));
    }

    /// The header that answers `weir-explain: 1`.
    #[must_use]
    pub fn header(&self) -> String {
        format!(
            "outcome={} age_us={} parts=[{}]",
            self.outcome.label(),
            self.age.as_micros(),
            self.steps.join("; ")
        )
    }
}
