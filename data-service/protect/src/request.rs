//! What a caller asks and what it is told: the request, the reply, and the explanation of the reply.

use std::{sync::Arc, time::Duration};

use crate::{clock::Nanos, generation::Dependence, limit::Scope};

/// Most scopes that one request can be charged to: key, group, class and all.
pub const SCOPES_MAX: usize = 4;

/// The scopes of one request, held inline. Order: narrowest first; concurrency is taken in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    items: [Scope; SCOPES_MAX],
    len: u8,
}

impl Scopes {
    /// No scope: nothing to charge.
    pub const NONE: Self = Self { items: [Scope::All; SCOPES_MAX], len: 0 };

    /// These scopes; those after the first [`SCOPES_MAX`] are a programmer's error and ignored in release builds.
    #[must_use]
    pub fn new(scopes: &[Scope]) -> Self {
        debug_assert!(scopes.len() <= SCOPES_MAX, "a request has at most {SCOPES_MAX} scopes");
        scopes.iter().take(SCOPES_MAX).fold(Self::NONE, |all, &scope| all.and(scope))
    }

    /// These scopes and one more.
    #[must_use]
    pub fn and(mut self, scope: Scope) -> Self {
        debug_assert!(usize::from(self.len) < SCOPES_MAX, "a request has at most {SCOPES_MAX} scopes");
        if let Some(free) = self.items.get_mut(usize::from(self.len)) {
            *free = scope;
            self.len += 1;
        }
        self
    }

    /// These scopes and one more, in its place among them.
    #[must_use]
    pub fn with(self, scope: Scope) -> Self {
        let wider = |other: &Scope| other.tag() > scope.tag();
        let items = self.as_slice();
        let place = items.iter().position(wider).unwrap_or(items.len());
        let (narrower, rest) = items.split_at(place);
        rest.iter().fold(Self::new(narrower).and(scope), |all, &scope| all.and(scope))
    }

    /// The scopes, narrowest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Scope] {
        &self.items[..usize::from(self.len)]
    }
}

/// Importance of a request, lowest first. A flight has that of its most important waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Priority {
    /// A health check or a speculative read.
    Probe = 0,
    /// Bulk work that may wait.
    Batch = 1,
    /// Work that a person waits for indirectly.
    Background = 2,
    /// A person waits.
    #[default]
    Interactive = 3,
}

impl Priority {
    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Probe,
            1 => Self::Batch,
            2 => Self::Background,
            _ => Self::Interactive,
        }
    }
}

/// Leave to read, which only [`crate::Protect::admit`] gives: the deadline has not passed and the request is charged.
///
/// One request may read several pages by it; each of them is charged for its own reads of the store, to the same scopes.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub(crate) scopes: Scopes,
    pub(crate) deadline: Nanos,
    pub(crate) would_refuse: Option<Arc<str>>,
}

impl Admitted {
    /// When the caller stops waiting.
    #[must_use]
    pub const fn deadline(&self) -> Nanos {
        self.deadline
    }
}

/// One page, as a part of an admitted request.
#[derive(Debug, Clone)]
pub struct PageRequest<K, Q> {
    /// The partition.
    pub key: K,
    /// The page of it.
    pub query: Q,
    /// A freshness token: the answer must come from a read that began when at least this revision was resolved.
    pub floor: Option<u64>,
    /// Whether a cached answer will do. A flight that this read leads fills the cache all the same.
    pub allow_cache: bool,
    /// True for what leads to answers and is none: it is cached whatever [`crate::Gate::Cache`] says, so that a run
    /// without the cache measures the answers and not the way to them.
    pub index: bool,
    /// Oldest cached answer that will do, if that is less than the layer's own bound.
    pub age_max: Option<Duration>,
    /// Oldest *stale* answer that will do when the store cannot be asked; `None` wants none. Never below `floor`.
    pub stale_max: Option<Duration>,
    /// Which changes make the answer stale, as far as the query alone tells; see [`crate::store::Value::dependence`].
    pub dependence: Dependence,
    /// Importance.
    pub priority: Priority,
}

impl<K, Q> PageRequest<K, Q> {
    /// An interactive read of the end of a partition, cache allowed.
    pub const fn new(key: K, query: Q) -> Self {
        Self {
            key,
            query,
            floor: None,
            allow_cache: true,
            index: false,
            age_max: None,
            stale_max: None,
            dependence: Dependence::Append,
            priority: Priority::Interactive,
        }
    }
}

/// A request of one page: its admission and the page.
#[derive(Debug, Clone)]
pub struct ReadRequest<K, Q> {
    /// Whose budgets it is charged to.
    pub scopes: Scopes,
    /// When the caller stops waiting.
    pub deadline: Nanos,
    /// What is read.
    pub page: PageRequest<K, Q>,
}

impl<K, Q> ReadRequest<K, Q> {
    /// An interactive read of the end of a partition, cache allowed, charged to nobody.
    pub const fn new(key: K, query: Q, deadline: Nanos) -> Self {
        Self { scopes: Scopes::NONE, deadline, page: PageRequest::new(key, query) }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The tail or the page cache.
    Hit,
    /// Another caller's flight.
    Joined,
    /// A flight that this caller started.
    Led,
    /// Cut from a wider page, cached or in flight.
    Subsumed,
    /// A cached page known to be possibly out of date, which the caller accepts.
    Stale,
    /// Nowhere: a gate refused.
    Refused,
}

impl Outcome {
    /// The stable metric label and wire word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Joined => "joined",
            Self::Led => "led",
            Self::Subsumed => "subsumed",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

/// Time spent at each gate. The last two are the flight's, shared by all who waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateTimes {
    /// From arrival to the cache's answer: the request limit, the tail and the page cache.
    pub admission: Duration,
    /// From there until the flight's result arrived.
    pub flight: Duration,
    /// Of the flight: waiting for a place in the store.
    pub concurrency: Duration,
    /// Of the flight: in the store.
    pub store: Duration,
}

/// The explanation of one reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// Where the answer came from.
    pub outcome: Outcome,
    /// Time since the store read behind the answer began; zero from the tail.
    pub age: Duration,
    /// The highest revision that was resolved when that read began and that it must have seen; 0 if it need not have.
    pub floor: u64,
    /// Where the time went.
    pub times: GateTimes,
    /// A dry-run limit that would have refused this request.
    pub would_refuse: Option<Arc<str>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply<V> {
    /// The page.
    pub value: V,
    /// How it was come by.
    pub explain: Explain,
}

impl<V> Reply<V> {
    /// Where the answer came from.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.explain.outcome
    }
}
