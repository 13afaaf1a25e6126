//! Decides which caller leads and which joins: a pure state machine, without tokio and without a clock of its
//! own.
//!
//! One entry for each request (partition and query, compared in full) holds the newest flight. A flight is
//! *queued* until [`Lead::begin`] and *begun* afterwards. Any caller can join a queued flight: its store read
//! has yet to begin, so it sees every write acknowledged so far. A begun flight can be joined only while the
//! generation that it captured is current, and by a caller whose freshness token its floor reaches. A flight
//! that cannot be joined is replaced in the table and goes on for its waiters.
//!
//! ```text
//! enter ──lead──▶ queued ──begin──▶ begun ──finish──▶ gone: the entry is removed, then the result is published
//!                   │ └─finish (refused)──────────────▶ gone
//!                   └─retire (nobody waits in time)───▶ gone
//! ```

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use crate::{
    clock::Nanos,
    flight::waiter::{Flight, Waiter, Want},
    generation::{Dependence, Generation},
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering, RandomState, lock},
};

/// Shards of the table, each with its own lock. All queries of one partition share a shard, so that a
/// narrower query can look for a wider one's flight in the same step. 64: several for each core of the
/// largest machines in use.
const SHARDS: usize = 64;

/// Reason why a flight ended without a result of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostLead {
    /// Its task panicked.
    Panicked,
    /// Its task was dropped: the runtime is stopping.
    Dropped,
}

/// State that a flight captured before its store read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The partition's generation.
    pub generation: Generation,
    /// The highest resolved revision that the read will see.
    pub floor: u64,
}

#[derive(Debug)]
struct Entry<R> {
    flight: Arc<Flight<R>>,
    /// The leader's dependence. A later caller may know more (the tail has since passed the page, so that
    /// appends no longer concern it), but this flight may have begun before that.
    dependence: Dependence,
    /// `None` while queued.
    begun: Option<Begun>,
}

impl<R: Clone> Entry<R> {
    fn is_joinable(&self, want: &Want, current: Generation) -> bool {
        let Some(begun) = self.begun else { return true };
        let fresh = begun.generation.is_current(current, want.dependence)
            && begun.generation.is_current(current, self.dependence);
        let reaches = want.floor.is_none_or(|floor| begun.floor >= floor);
        fresh && reaches
    }
}

type Shard<K, Q, R> = Mutex<HashMap<(K, Q), Entry<R>>>;

/// The flights under way, bounded.
pub struct FlightTable<K, Q, R> {
    shards: Box<[Shard<K, Q, R>]>,
    hasher: RandomState,
    /// Flights between `enter` and `finish`, including replaced ones.
    live: AtomicUsize,
    live_max: usize,
    /// Makes the result of a flight that was lost.
    lost: fn(LostLead) -> R,
}

/// Decision of [`FlightTable::enter`].
#[derive(Debug)]
pub enum Entered<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone, F> {
    /// A flight ended between the caller's check of the cache and now, and left this value there.
    Found(F),
    /// No flight reads this: the caller runs the read, and waits like every other caller.
    Led(Lead<K, Q, R>, Waiter<R>),
    /// The caller joined a flight.
    Joined(Waiter<R>),
    /// The caller joined the flight of a wider page, the answer of this query.
    Subsumed(Waiter<R>, Q),
    /// The maximum number of flights is under way.
    Full,
}

impl<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> FlightTable<K, Q, R> {
    /// Creates an empty table of at most `live_max` flights.
    pub fn new(live_max: usize, lost: fn(LostLead) -> R) -> Arc<Self> {
        Self::with_shards(SHARDS, live_max, lost)
    }

    /// [`FlightTable::new`] with `shards` shards: a model has one, so that it has few interleavings.
    pub fn with_shards(shards: usize, live_max: usize, lost: fn(LostLead) -> R) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..shards).map(|_| Mutex::new(HashMap::new())).collect(),
            hasher: RandomState::new(),
            live: AtomicUsize::new(0),
            live_max,
            lost,
        })
    }

    /// Joins the flight of this request, or of one of the `wider` queries, or leads a new one: one atomic
    /// step.
    ///
    /// `current` reads the partition's generation; it is called under the lock, so that no flight can begin
    /// between the two. `look` is also called under the lock, when the caller would lead: a flight fills the
    /// cache before its entry is removed, so a value that `look` misses has not been filled. It must be quick
    /// and must not call back.
    pub fn enter<F>(
        self: &Arc<Self>,
        key: &K,
        query: &Q,
        wider: &[Q],
        want: &Want,
        current: impl FnOnce() -> Generation,
        look: impl FnOnce() -> Option<F>,
    ) -> Entered<K, Q, R, F> {
        let mut shard = self.shard(key);
        let current = current();
        let id = (key.clone(), query.clone());
        if let Some(entry) = shard.get(&id).filter(|e| e.is_joinable(want, current)) {
            return Entered::Joined(entry.flight.attach(want));
        }
        for candidate in wider {
            let wide = shard.get(&(key.clone(), candidate.clone()));
            if let Some(entry) = wide.filter(|e| e.is_joinable(want, current)) {
                return Entered::Subsumed(entry.flight.attach(want), candidate.clone());
            }
        }
        if let Some(found) = look() {
            return Entered::Found(found);
        }
        let Some(lead) = self.lead(id, want, true) else { return Entered::Full };
        let waiter = lead.flight.attach(want);
        shard.insert(
            lead.id.clone(),
            Entry { flight: Arc::clone(&lead.flight), dependence: want.dependence, begun: None },
        );
        Entered::Led(lead, waiter)
    }

    /// A flight that no caller can join, for when coalescing is off; `None` if the table is full.
    pub fn alone(self: &Arc<Self>, key: &K, query: &Q, want: &Want) -> Option<(Lead<K, Q, R>, Waiter<R>)> {
        let lead = self.lead((key.clone(), query.clone()), want, false)?;
        let waiter = lead.flight.attach(want);
        Some((lead, waiter))
    }

    /// Flights under way.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    fn lead(self: &Arc<Self>, id: (K, Q), want: &Want, listed: bool) -> Option<Lead<K, Q, R>> {
        // The count is raised, then compared: it never exceeds the bound, but concurrent refusals may cause
        // one refusal too many.
        if self.live.fetch_add(1, Ordering::AcqRel) >= self.live_max {
            self.live.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let flight = Arc::new(Flight::new(want));
        Some(Lead { table: Arc::clone(self), id, flight, listed, finished: false })
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<(K, Q), Entry<R>>> {
        // Any of the low bits will do.
        #[expect(clippy::cast_possible_truncation, reason = "only low bits are kept")]
        let hash = self.hasher.hash_one(key) as usize;
        lock(&self.shards[hash % self.shards.len()])
    }
}

impl<K, Q, R> fmt::Debug for FlightTable<K, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightTable").field("live", &self.live).field("live_max", &self.live_max).finish()
    }
}

/// The duty to finish a flight. Dropping it finishes the flight as lost, so that no waiter is stranded.
pub struct Lead<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> {
    table: Arc<FlightTable<K, Q, R>>,
    id: (K, Q),
    flight: Arc<Flight<R>>,
    /// True if the table contains this flight.
    listed: bool,
    finished: bool,
}

impl<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> Lead<K, Q, R> {
    /// The partition to read.
    #[must_use]
    pub const fn key(&self) -> &K {
        &self.id.0
    }

    /// The page to read.
    #[must_use]
    pub const fn query(&self) -> &Q {
        &self.id.1
    }

    /// The flight.
    #[must_use]
    pub const fn flight(&self) -> &Arc<Flight<R>> {
        &self.flight
    }

    /// Records that the store read is about to begin and that `begun` was captured: from now on only callers
    /// of that generation join. `None` if no caller waits any more: the entry is removed, and the read must
    /// not be sent.
    ///
    /// Returns the state with which the flight has begun. Unless every read asks a `quorum`, the floor is
    /// kept only if some waiter holds a token, because then the read asks one. That is decided under the
    /// lock, where no caller can attach: a token that came a moment later would make the read better than its
    /// floor, never worse.
    #[must_use]
    pub fn begin(&self, now: Nanos, mut begun: Begun, quorum: bool) -> Option<Begun> {
        let mut shard = self.table.shard(self.key());
        if !self.flight.is_wanted(now) {
            self.unlist(&mut shard);
            return None;
        }
        let sees_all = quorum || self.flight.floor() > 0;
        if !sees_all {
            begun.floor = 0;
        }
        if let Some(entry) = shard.get_mut(&self.id).filter(|e| Arc::ptr_eq(&e.flight, &self.flight)) {
            entry.begun = Some(begun);
        }
        Some(begun)
    }

    /// True if the flight may be given up because no caller waits any more; then its entry is removed on
    /// return.
    #[must_use]
    pub(crate) fn retire(&self, now: Nanos) -> bool {
        let mut shard = self.table.shard(self.key());
        if self.flight.is_wanted(now) {
            return false;
        }
        self.unlist(&mut shard);
        true
    }
}

impl<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> Lead<K, Q, R> {
    /// Removes the entry, then publishes: later callers lead anew and never get an old error.
    pub fn finish(self, result: R) {
        self.land(result, || ());
    }

    /// [`Lead::finish`] that calls `fill` first, in one step with the removal: a caller that finds no flight
    /// finds the cache filled. A flight that a newer one has replaced does not fill: its value may be older.
    /// `fill` must be quick and must not call back.
    pub(crate) fn land(mut self, result: R, fill: impl FnOnce()) {
        self.settle(result, fill);
    }

    fn settle(&mut self, result: R, fill: impl FnOnce()) {
        let mut shard = self.table.shard(&self.id.0);
        if self.is_newest(&shard) || !self.listed {
            fill();
        }
        self.finished = true;
        self.unlist(&mut shard);
        drop(shard);
        self.flight.slot().publish(result);
        self.table.live.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_newest(&self, shard: &HashMap<(K, Q), Entry<R>>) -> bool {
        self.listed && shard.get(&self.id).is_some_and(|e| Arc::ptr_eq(&e.flight, &self.flight))
    }

    /// Removes only this flight's own entry: a newer flight may have taken its place.
    fn unlist(&self, shard: &mut HashMap<(K, Q), Entry<R>>) {
        if self.is_newest(shard) {
            shard.remove(&self.id);
        }
    }
}

impl<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> Drop for Lead<K, Q, R> {
    fn drop(&mut self) {
        if !self.finished {
            let lost = if std::thread::panicking() { LostLead::Panicked } else { LostLead::Dropped };
            self.settle((self.table.lost)(lost), || ());
        }
    }
}

impl<K: Clone + Eq + Hash, Q: Clone + Eq + Hash, R: Clone> fmt::Debug for Lead<K, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").field("listed", &self.listed).field("finished", &self.finished).finish()
    }
}
