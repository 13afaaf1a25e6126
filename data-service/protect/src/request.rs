//! The request of a caller, the reply, and the explanation of the reply.

use std::{sync::Arc, time::Duration};

use crate::{clock::Nanos, generation::Dependence, limit::Scope};

/// Maximum scopes to which one request can be charged: key, group, class and all.
pub const SCOPES_MAX: usize = 4;

/// The scopes of one request, held inline. Order: narrowest first; concurrency is taken in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    items: [Scope; SCOPES_MAX],
    len: u8,
}

impl Scopes {
    /// No scopes, so nothing is charged.
    pub const NONE: Self = Self { items: [Scope::All; SCOPES_MAX], len: 0 };

    /// Takes these scopes; passing more than [`SCOPES_MAX`] is a programmer's error, and release builds
    /// ignore the rest.
    #[must_use]
    pub fn new(scopes: &[Scope]) -> Self {
        debug_assert!(scopes.len() <= SCOPES_MAX, "a request has at most {SCOPES_MAX} scopes");
        scopes.iter().take(SCOPES_MAX).fold(Self::NONE, |all, &scope| all.and(scope))
    }

    /// Adds one scope at the end.
    #[must_use]
    pub fn and(mut self, scope: Scope) -> Self {
        debug_assert!(usize::from(self.len) < SCOPES_MAX, "a request has at most {SCOPES_MAX} scopes");
        if let Some(free) = self.items.get_mut(usize::from(self.len)) {
            *free = scope;
            self.len += 1;
        }
        self
    }

    /// Adds one scope in its place among them.
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
    /// A request for which a person waits.
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

/// Permission to read, which only [`crate::Protect::admit`] and [`crate::Protect::admit_part`] give: the
/// deadline has not passed, and the request is charged, or is a part of one that is.
///
/// One request may read several pages by it; each of them is charged for its own reads of the store, to the
/// same scopes.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub(crate) scopes: Scopes,
    pub(crate) deadline: Nanos,
    pub(crate) would_refuse: Option<Arc<str>>,
}

impl Admitted {
    /// Time at which the caller stops waiting.
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
    /// The page of the partition.
    pub query: Q,
    /// A freshness token: the answer must come from a read that began when at least this revision was
    /// resolved.
    pub floor: Option<u64>,
    /// True if a cached answer will do. A flight that this read leads fills the cache in any case.
    pub allow_cache: bool,
    /// True for index data, which leads to answers: it is cached regardless of [`crate::Gate::Cache`], so
    /// that a run without the cache measures the answers and not the way to them.
    pub index: bool,
    /// Maximum age of an acceptable cached answer, if that is less than the layer's own bound.
    pub age_max: Option<Duration>,
    /// Maximum age of an acceptable *stale* answer when the store cannot be read; `None` accepts none. Never
    /// below `floor`.
    pub stale_max: Option<Duration>,
    /// Kinds of changes that make the answer stale, as far as the query shows; see
    /// [`crate::store::Value::dependence`].
    pub dependence: Dependence,
    /// Importance of the read.
    pub priority: Priority,
    /// How long the store may take for it, if that is another time than the layer's. It counts for the flight
    /// that this read leads.
    pub store_timeout: Option<Duration>,
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
            store_timeout: None,
        }
    }
}

/// A request of one page: its admission and the page.
#[derive(Debug, Clone)]
pub struct ReadRequest<K, Q> {
    /// Scopes that are charged.
    pub scopes: Scopes,
    /// Time at which the caller stops waiting.
    pub deadline: Nanos,
    /// The page to read.
    pub page: PageRequest<K, Q>,
}

impl<K, Q> ReadRequest<K, Q> {
    /// An interactive read of the end of a partition, cache allowed, charged to no scope.
    pub const fn new(key: K, query: Q, deadline: Nanos) -> Self {
        Self { scopes: Scopes::NONE, deadline, page: PageRequest::new(key, query) }
    }
}

/// Origin of an answer.
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
    /// No origin, because a gate refused.
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

/// Time spent at each gate. The last two are the flight's, shared by all its waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateTimes {
    /// From arrival to the cache's answer: the request limit, the tail and the page cache.
    pub admission: Duration,
    /// From there until the flight's result arrived.
    pub flight: Duration,
    /// Part of the flight: waiting for a place in the store.
    pub concurrency: Duration,
    /// Part of the flight: in the store.
    pub store: Duration,
}

/// The explanation of one reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// Origin of the answer.
    pub outcome: Outcome,
    /// Time since the store read behind the answer began; zero from the tail.
    pub age: Duration,
    /// The highest revision that was resolved when that read began and that it must have seen; 0 if there is
    /// no such guarantee.
    pub floor: u64,
    /// Time spent at each gate.
    pub times: GateTimes,
    /// A dry-run limit that would have refused this request.
    pub would_refuse: Option<Arc<str>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply<V> {
    /// The page.
    pub value: V,
    /// Explanation of the answer.
    pub explain: Explain,
}

impl<V> Reply<V> {
    /// Origin of the answer.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.explain.outcome
    }
}
