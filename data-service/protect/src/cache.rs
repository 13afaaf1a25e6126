//! The page cache's contract: the content of an entry, and the conditions of a hit.
//!
//! The user supplies the bounded store itself (moka, say). The rules that make it safe are here: an entry
//! carries the generation that was current *before* its store read began, and a hit is valid only while that
//! generation is current. So a fill that races a bump cannot be served, whichever of the two comes first: the
//! comparison at the hit is the one atomic step, and there is no check-then-insert to get wrong.

use std::{hash::Hash, time::Duration};

use crate::{
    clock::Nanos,
    generation::{Dependence, Generation, Generations},
};

/// A value with the proof of its freshness.
#[derive(Debug, Clone)]
pub struct Stamped<V> {
    /// The value as the store returned it. It is cloned for each hit: keep that cheap (an `Arc`, `Bytes`).
    pub value: V,
    /// The partition's generation before the store read began.
    pub generation: Generation,
    /// Kinds of changes that make the value stale.
    pub dependence: Dependence,
    /// The highest revision that was resolved when the store read began, and that the read must have seen; 0
    /// if there is no such guarantee. See [`crate::store::Store::QUORUM`].
    pub floor: u64,
    /// Begin of the store read, from which the value's age counts.
    pub read_at: Nanos,
}

impl<V> Stamped<V> {
    /// Time since the store read began.
    #[must_use]
    pub const fn age(&self, now: Nanos) -> Duration {
        now.since(self.read_at)
    }

    /// True if no change has made the entry stale since its store read began; otherwise there is no hit. It
    /// is compared at the hit, because a write can be acknowledged between any earlier check and the hit.
    #[must_use]
    pub fn is_current<K: Hash + ?Sized>(&self, key: &K, generations: &Generations) -> bool {
        generations.is_servable(key, self.generation, self.dependence)
    }

    /// True if a fill should put the entry. This is not what makes a fill safe ([`Stamped::is_current`] is,
    /// at each hit); it saves the cache an entry that nobody could hit.
    #[must_use]
    pub fn is_worth_keeping<K: Hash + ?Sized>(&self, key: &K, generations: &Generations) -> bool {
        generations.is_servable(key, self.generation, self.dependence)
    }
}

/// A bounded store of pages, supplied by the user.
///
/// It may evict at any moment and must never invent entries; it needs no invalidation. Both methods are
/// called on the request path and must not block.
pub trait PageCache<K, Q, V>: Send + Sync + 'static {
    /// The last entry put for exactly this key and query, if it is still there.
    fn get(&self, key: &K, query: &Q) -> Option<Stamped<V>>;
    /// Replaces the entry of this key and query.
    fn put(&self, key: &K, query: &Q, entry: Stamped<V>);
}

/// A cache without entries: every read goes to a flight.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl<K, Q, V> PageCache<K, Q, V> for NoCache {
    fn get(&self, _: &K, _: &Q) -> Option<Stamped<V>> {
        None
    }

    fn put(&self, _: &K, _: &Q, _: Stamped<V>) {}
}

/// Answer from a tail.
#[derive(Debug, Clone)]
pub struct TailAnswer<V> {
    /// The page, equal to what the store would return now.
    pub value: V,
    /// The highest revision that the page is known to contain.
    pub floor: u64,
}

/// The live end of warm partitions, kept by the code that orders their writes; asked before the page cache.
///
/// It answers only when certain: its own locking ensures that an answer is current at some moment during the
/// call.
pub trait TailSource<K, Q, V>: Send + Sync + 'static {
    /// The page of `query`, or `None` if the store must be asked.
    fn serve(&self, key: &K, query: &Q) -> Option<TailAnswer<V>>;
}

/// A source without tails.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTail;

impl<K, Q, V> TailSource<K, Q, V> for NoTail {
    fn serve(&self, _: &K, _: &Q) -> Option<TailAnswer<V>> {
        None
    }
}
