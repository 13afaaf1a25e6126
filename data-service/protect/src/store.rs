//! Interfaces of the protected store, its queries and its values.

use std::{error::Error, fmt::Debug, hash::Hash};

use crate::{clock::Nanos, generation::Dependence, request::Priority};

/// State of a flight when it goes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadContext {
    /// Time at which the layer stops waiting for the store: now plus the store timeout, whatever the callers'
    /// deadlines are.
    pub deadline: Nanos,
    /// The highest freshness token among the waiters: nonzero asks for a quorum of the datacentre.
    pub floor: u64,
    /// The priority of the most important waiter.
    pub priority: Priority,
}

/// A table that is read by partition and page.
pub trait Store: Send + Sync + 'static {
    /// A partition: the unit of invalidation and of concurrency. Cloned for each flight.
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// Everything else that determines the answer (limit, anchor, filter). Cloned for each flight.
    type Query: Query;
    /// A page. Cloned for each waiter: keep the clone cheap.
    type Value: Value<Self::Query>;
    /// A failed read. Cloned for each waiter.
    type Error: Error + Clone + Send + Sync + 'static;

    /// True if every read sees everything that was resolved when it began: there is one copy of the data, or
    /// every read asks a quorum, regardless of its context.
    ///
    /// If false, only a read whose [`ReadContext::floor`] was above 0 is stamped with [`Store::floor`]. Any
    /// other may come from a replica that lags, so a caller with a token neither hits its page nor joins its
    /// flight.
    const QUORUM: bool = false;

    /// Reads one page. Runs in a task of its own; dropped when the store timeout passes, never because
    /// callers left.
    fn read(
        &self,
        key: &Self::Key,
        query: &Self::Query,
        context: ReadContext,
    ) -> impl Future<Output = Result<Self::Value, Self::Error>> + Send;

    /// The highest revision of `key` that is resolved now: called just before a read begins. It is the floor
    /// of the answer if the read asks a quorum (see [`Store::QUORUM`]). A store without revisions keeps the
    /// default, and its callers pass no floors.
    fn floor(&self, key: &Self::Key) -> u64 {
        let _ = key;
        0
    }
}

/// A query of a [`Store`], compared in full: two queries are one flight only if they are equal.
pub trait Query: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// Queries whose answers contain this one's, best first, a few at most: [`Value::cut`] extracts it from
    /// them.
    ///
    /// The default offers none. An empty `Vec` costs no allocation.
    fn wider(&self) -> Vec<Self> {
        Vec::new()
    }
}

/// An answer of a [`Store`].
pub trait Value<Q>: Clone + Send + Sync + 'static {
    /// Narrows the kinds of changes that make this answer stale, now that it is known; `requested` is the
    /// caller's view.
    ///
    /// A page that turned out to lie wholly below the end may return [`Dependence::Mutate`].
    fn dependence(&self, query: &Q, requested: Dependence) -> Dependence {
        let _ = query;
        requested
    }

    /// The answer of `to`, cut from this answer of `from`; `None` if it might differ from the store's.
    fn cut(&self, from: &Q, to: &Q) -> Option<Self> {
        let _ = (from, to);
        None
    }
}
