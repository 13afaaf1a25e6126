//! The pipeline: the order in which a read meets the gates.
//!
//! | # | gate | where |
//! |--|--|--|
//! | 1 | deadline | `ReadPath::admit`, `ReadPath::admit_history` |
//! | 2 | request limit of channel, guild, class and all | the same |
//! | 3 | tail, then page cache | `ReadPath::tail`, `ReadPath::part` |
//! | 4 | join a flight | `ReadPath::part` |
//! | 5 | database-read limit | the same, of whoever leads the flight |
//! | 6 | concurrency of the partition | the flight |
//! | 7 | database | the flight: `super::query::Database` |
//!
//! The gates are the protection layer's (`weir_protect::stack`); here is whom a read is charged to and what
//! it may be answered from. A `Reading` can only be had from the first gate or the first two, and this path
//! reads nothing without one. `tests/it/gates.rs` asks the service itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use weir_protect::{
    Admitted, Dependence, Gate, Nanos, Outcome, PageRequest, Protect, ReadError, Reply, Scope, Scopes,
};
use weir_proto::{
    data::Channel,
    id::{ChannelId, GuildId},
};

use super::query::{Asked, Database, Memory, MokaCache, ReadQuery, ReadValue};
use crate::{
    admission::LimitBook,
    freshness::Freshness,
    key::{CLASS_READS, Key},
    live::Live,
    observe::Observer,
    ownership::Ownership,
};

/// An error of a read.
pub type Failure = ReadError<weir_store::ReadError>;

/// How long a read of the service's own may take. The flight that it waits for ends by the store's timeout,
/// of the same size by default.
const OWN_WITHIN: Duration = Duration::from_secs(2);

/// How long the reads may take by which changes are rebuilt: the deadline of a gateway's call.
const CHANGES_WITHIN: Duration = Duration::from_secs(5);

/// What a caller asks of a read beside its query.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// How long the caller waits.
    pub within: Duration,
    /// At least this state.
    pub freshness: Option<Freshness>,
    /// Whether each part is told of in [`Served::steps`].
    pub explain: bool,
}

/// How a read was served.
#[derive(Debug, Clone)]
pub struct Served {
    /// The worst outcome of its parts: a page that led one read led.
    pub outcome: Outcome,
    /// Age of the oldest part.
    pub age: Duration,
    /// A line for each part, in order; `None` if nobody asked.
    pub steps: Option<Vec<String>>,
}

/// The reads of one node.
pub struct ReadPath {
    pub(crate) protect: Protect<Database>,
    /// The pages that `protect` may answer from.
    pub(crate) pages: Arc<MokaCache>,
    pub(crate) live: Arc<Live>,
    pub(crate) ownership: Arc<dyn Ownership>,
    pub(crate) limits: Arc<LimitBook>,
    pub(crate) observer: Arc<Observer>,
    /// Numbers for reads that share nothing.
    pub(crate) alone: AtomicU64,
    /// A permit for each channel whose newest message is being read for a guild's sake.
    pub(crate) newest: tokio::sync::Semaphore,
}

/// A read that was let in, and what happened to it so far.
#[derive(Clone)]
pub(crate) struct Reading {
    admitted: Admitted,
    freshness: Option<Freshness>,
    pub(crate) served: Served,
}

/// Whose limits a request for a channel is charged to beside the channel's own.
pub(crate) enum GuildOf {
    /// No guild's: none has a limit, or the channel has none.
    Nobodys,
    /// This guild's.
    Guild(GuildId),
    /// Nobody knows before the channel's row is read.
    Unread,
}

impl GuildOf {
    /// What a channel's row tells.
    pub(crate) fn row(channel: Option<&Channel>) -> Self {
        let guild_id = channel.and_then(|channel| GuildId::try_from(channel.guild_id).ok());
        guild_id.map_or(Self::Nobodys, Self::Guild)
    }
}

impl ReadPath {
    /// Gates 1 and 2 for a read that is chiefly about `subject` and is charged to no channel.
    pub(crate) fn admit(&self, subject: Key, options: ReadOptions) -> Result<Reading, Failure> {
        let scopes = Scopes::new(&[Scope::Class(CLASS_READS), Scope::All]);
        let admitted = self.protect.admit(&subject, scopes, self.deadline(options.within))?;
        Ok(self.reading(admitted, options))
    }

    /// Gates 1 and 2 for a read of a channel's history: it is charged to the channel, its guild, its class
    /// and all, in one step if it is known whose channel it is. If that must be read, it is read by leave of
    /// the others, so that ids that somebody made up reach the database no faster than their limits let them.
    pub(crate) async fn admit_history(
        &self,
        channel_id: ChannelId,
        options: ReadOptions,
    ) -> Result<Reading, Failure> {
        self.observer.on_request(channel_id);
        let (subject, guild) = (Key::History(channel_id), self.guild_of(Some(channel_id)));
        let scopes = scopes(Some(channel_id), &guild, CLASS_READS);
        let admitted = self.protect.admit(&subject, scopes, self.deadline(options.within))?;
        let mut reading = self.reading(admitted, options);
        if matches!(guild, GuildOf::Unread) {
            let channel = match self.channel_part(&mut reading, channel_id).await {
                // Without it the guild's limit could be passed.
                Err(refused @ ReadError::Refused(_)) => return Err(refused),
                // The page says what is wrong with the database, or is in memory.
                Err(_) => None,
                Ok(channel) => channel,
            };
            if let GuildOf::Guild(guild_id) = GuildOf::row(channel.as_deref()) {
                let group = Scope::Group(guild_id.get());
                reading.admitted = self.protect.admit_to(&subject, reading.admitted, group)?;
            }
        }
        Ok(reading)
    }

    /// Gate 1 for a part of a request which was charged and counted already, by whichever method it came: it
    /// is no request of its own, and charges its reads of the database to the class and to all.
    pub(crate) fn admit_attendant(&self, within: Duration) -> Result<Reading, Failure> {
        self.admit_own(Scopes::new(&[Scope::Class(CLASS_READS), Scope::All]), within)
    }

    /// Gate 1 for another part of a request that was let in, whose rows are not the channel's.
    pub(crate) fn admit_part_of(&self, reading: &Reading, options: ReadOptions) -> Result<Reading, Failure> {
        Ok(Reading { freshness: reading.freshness, ..self.admit_attendant(options.within)? })
    }

    /// Gate 1 for a read of the service's own (a channel's guild, an operator's question): no limits are
    /// charged.
    pub(crate) fn admit_unlimited(&self) -> Result<Reading, Failure> {
        self.admit_own(Scopes::NONE, OWN_WITHIN)
    }

    fn admit_own(&self, scopes: Scopes, within: Duration) -> Result<Reading, Failure> {
        let admitted = self.protect.admit_part(scopes, self.deadline(within))?;
        Ok(Reading { admitted, freshness: None, served: Served::nothing(false) })
    }

    fn reading(&self, admitted: Admitted, options: ReadOptions) -> Reading {
        let freshness = options.freshness.map(|token| self.live.attainable(token));
        Reading { admitted, freshness, served: Served::nothing(options.explain) }
    }

    /// The guild whose limits a request for a channel is charged to, as far as memory tells: a channel's row
    /// is looked at only while some guild has a limit.
    pub(crate) fn guild_of(&self, channel_id: Option<ChannelId>) -> GuildOf {
        let Some(channel_id) = channel_id.filter(|_| self.limits.has_guild_limits()) else {
            return GuildOf::Nobodys;
        };
        let key = Key::Channel(channel_id);
        let asked = Asked { memory: self.memory(&key), query: ReadQuery::Whole };
        match self.protect.remembered(&PageRequest { index: is_index(&key), ..PageRequest::new(key, asked) })
        {
            Some(ReadValue::Channel(channel)) => GuildOf::row(channel.as_deref()),
            Some(_) => GuildOf::Nobodys,
            None => GuildOf::Unread,
        }
    }

    /// Gates 3 to 7: one read, as a part of `reading`.
    pub(crate) async fn part(
        &self,
        reading: &mut Reading,
        key: Key,
        query: ReadQuery,
        dependence: Dependence,
    ) -> Result<ReadValue, Failure> {
        loop {
            let memory = self.memory(&key);
            let page = self.page_request(reading, key, Asked { memory, query }, dependence);
            let reply: Reply<ReadValue> = self.protect.page(&reading.admitted, &page).await?;
            let remembered = reply.outcome() != Outcome::Led;
            // Checked again after the answer is there (rule 3): what is remembered counts only while the
            // tenure lasts.
            if remembered && self.memory(&key) != memory {
                continue;
            }
            reading.served.note(&key, &reply);
            return Ok(reply.value);
        }
    }

    /// The first half of gate 3: the answer if it is in memory, and the revision that it contains.
    pub(crate) fn tail(&self, reading: &mut Reading, key: Key, query: ReadQuery) -> Option<(ReadValue, u64)> {
        let asked = Asked { memory: self.memory(&key), query };
        let page = self.page_request(reading, key, asked, Dependence::Append);
        let reply = self.protect.tail(&reading.admitted, &page)?;
        reading.served.note(&key, &reply);
        Some((reply.value, reply.explain.floor))
    }

    fn page_request(
        &self,
        reading: &Reading,
        key: Key,
        asked: Asked,
        dependence: Dependence,
    ) -> PageRequest<Key, Asked> {
        // A token of another channel or guild says nothing of this key.
        let token =
            reading.freshness.filter(|token| key.scope().is_some_and(|scope| scope.id() == token.scope_id));
        PageRequest {
            dependence,
            floor: token.map(|token| token.rev),
            index: is_index(&key),
            // A gateway waits for 5 s, and what it asks for takes several reads.
            store_timeout: matches!(key, Key::Changes(_)).then_some(CHANGES_WITHIN),
            ..PageRequest::new(key, asked)
        }
    }

    /// What a read of `key` may be answered from now.
    fn memory(&self, key: &Key) -> Memory {
        match self.ownership.tenure(key.scope()) {
            Ok(tenure) => Memory::Tenure(tenure.epoch),
            Err(_) => Memory::Alone(self.alone.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn deadline(&self, within: Duration) -> Nanos {
        self.protect.clock().now().after(within)
    }

    /// Whether what is read may become the tail.
    pub(crate) fn cache_on(&self) -> bool {
        self.protect.gates().is_on(Gate::Cache)
    }
}

/// What leads to an answer and is none is kept whatever the cache's switch says: a cold page without the
/// cache costs one read, and whom a request is charged to is known.
fn is_index(key: &Key) -> bool {
    matches!(key, Key::Buckets(_) | Key::Channel(_))
}

/// Scopes that a request is charged to, for a channel or for none, narrowest first.
pub(crate) fn scopes(channel_id: Option<ChannelId>, guild: &GuildOf, class: u8) -> Scopes {
    let mut scopes = Scopes::NONE;
    if let Some(channel_id) = channel_id {
        scopes = scopes.and(Scope::Key(channel_id.get()));
    }
    if let GuildOf::Guild(guild_id) = guild {
        scopes = scopes.and(Scope::Group(guild_id.get()));
    }
    scopes.and(Scope::Class(class)).and(Scope::All)
}

impl Served {
    /// Nothing was served yet.
    pub(crate) fn nothing(explain: bool) -> Self {
        Self { outcome: Outcome::Hit, age: Duration::ZERO, steps: explain.then(Vec::new) }
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
        let Some(steps) = &mut self.steps else { return };
        let times = &explain.times;
        steps.push(format!(
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
            self.steps.as_deref().unwrap_or_default().join("; ")
        )
    }
}
