//! Places in the store: each key has a hard maximum at once, with a bounded first-come-first-served queue.
//!
//! A place is counted before it is given, and it is free again when its permit is dropped, by completion,
//! timeout, panic or cancellation alike. The decision and the count are one critical section, so the number
//! in flight is never above the limit. The table holds only keys with a caller in flight or waiting.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, Hash},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, RandomState, lock};

/// Shards of the table, each with its lock. 64: several for each core of the largest machines in use.
const SHARDS: usize = 64;

/// The maximum number of callers waits for a place of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of {len} is full")]
pub struct QueueFull {
    /// The queue's bound.
    pub len: usize,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    /// `None` until the first poll.
    waker: Option<Waker>,
}

/// One key's places. An entry exists only while a caller is in flight, granted or waiting.
#[derive(Debug, Default)]
struct Entry {
    /// The limit of the latest caller.
    limit: u32,
    /// Permits out, and grants not yet collected. It never rises above `limit`.
    in_flight: u32,
    /// Callers without a place, oldest first.
    queue: VecDeque<Waiting>,
    /// Tickets of callers that have a place and have not been polled since then.
    granted: Vec<u64>,
}

impl Entry {
    /// Gives free places to the oldest callers; the caller must wake them without the lock.
    fn grant(&mut self, woken: &mut Vec<Waker>) {
        while self.in_flight < self.limit {
            let Some(next) = self.queue.pop_front() else { return };
            self.in_flight += 1;
            self.granted.push(next.ticket);
            woken.extend(next.waker);
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty()
    }
}

type Shard<K> = Mutex<HashMap<K, Entry>>;

/// The gate. Memory: about 100 bytes for each key with a caller in flight, 24 for each caller that waits.
pub struct ConcurrencyGate<K> {
    shards: Box<[Shard<K>]>,
    hasher: RandomState,
    tickets: AtomicU64,
    queue_len_max: usize,
}

impl<K: Clone + Eq + Hash> ConcurrencyGate<K> {
    /// Creates a gate whose keys each let at most `queue_len_max` callers wait.
    #[must_use]
    pub fn new(queue_len_max: usize) -> Self {
        Self::with_shards(SHARDS, queue_len_max)
    }

    /// [`ConcurrencyGate::new`] with `shards` shards: a model has one, so that it has few interleavings.
    #[must_use]
    pub fn with_shards(shards: usize, queue_len_max: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::new(HashMap::new())).collect(),
            hasher: RandomState::new(),
            tickets: AtomicU64::new(0),
            queue_len_max,
        }
    }

    /// A place among the `limit` places of `key`, now or in turn. `limit` may differ from call to call: the
    /// latest applies, and a lowered one only stops new places until enough have been returned.
    ///
    /// # Errors
    /// [`QueueFull`] at once, without waiting.
    ///
    /// # Cancel safety
    /// Dropping the returned future gives up the turn, or the place if it was just given.
    pub fn acquire(self: &Arc<Self>, key: K, limit: u32) -> Result<Acquire<K>, QueueFull> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut woken = Vec::new();
        let mut shard = self.shard(&key);
        let entry = shard.entry(key.clone()).or_default();
        entry.limit = limit;
        entry.grant(&mut woken);
        if entry.in_flight < limit && entry.queue.is_empty() {
            entry.in_flight += 1;
            entry.granted.push(ticket);
        } else if limit == 0 || entry.queue.len() >= self.queue_len_max {
            if entry.is_idle() {
                shard.remove(&key);
            }
            drop(shard);
            woken.into_iter().for_each(Waker::wake);
            return Err(QueueFull { len: self.queue_len_max });
        } else {
            entry.queue.push_back(Waiting { ticket, waker: None });
        }
        drop(shard);
        woken.into_iter().for_each(Waker::wake);
        Ok(Acquire { gate: Some(Arc::clone(self)), key, ticket })
    }

    /// Places of `key` in use now.
    #[must_use]
    pub fn in_flight(&self, key: &K) -> u32 {
        self.shard(key).get(key).map_or(0, |entry| entry.in_flight)
    }

    /// Callers waiting for a place of `key` now.
    #[must_use]
    pub fn queued(&self, key: &K) -> usize {
        self.shard(key).get(key).map_or(0, |entry| entry.queue.len())
    }

    /// Keys with a caller in flight or waiting.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Frees one place and gives it to the next caller.
    fn release(&self, key: &K) {
        self.change(key, |entry| entry.in_flight -= 1);
    }

    /// Applies `change`, gives freed places to waiting callers and removes an idle key.
    fn change(&self, key: &K, change: impl FnOnce(&mut Entry)) {
        let mut woken = Vec::new();
        let mut shard = self.shard(key);
        let Some(entry) = shard.get_mut(key) else {
            debug_assert!(false, "a key with a permit or a ticket has an entry");
            return;
        };
        change(entry);
        entry.grant(&mut woken);
        if entry.is_idle() {
            shard.remove(key);
        }
        drop(shard);
        // The lock is released first: a woken thread would otherwise run into it at once.
        woken.into_iter().for_each(Waker::wake);
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Entry>> {
        #[expect(clippy::cast_possible_truncation, reason = "only low bits are kept")]
        let hash = self.hasher.hash_one(key) as usize;
        lock(&self.shards[hash % self.shards.len()])
    }
}

impl<K> fmt::Debug for ConcurrencyGate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyGate").field("queue_len_max", &self.queue_len_max).finish_non_exhaustive()
    }
}

/// A caller's turn: a future of its [`Permit`].
#[must_use = "a turn does nothing unless it is polled"]
pub struct Acquire<K: Clone + Eq + Hash> {
    /// `None` once the permit has been handed out.
    gate: Option<Arc<ConcurrencyGate<K>>>,
    key: K,
    ticket: u64,
}

impl<K: Clone + Eq + Hash> fmt::Debug for Acquire<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Unpin for Acquire<K> {}

impl<K: Clone + Eq + Hash> Future for Acquire<K> {
    type Output = Permit<K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<K>> {
        let this = &mut *self;
        let gate = this.gate.as_ref().expect("a turn is not polled after it is over");
        let mut shard = gate.shard(&this.key);
        let Some(entry) = shard.get_mut(&this.key) else {
            debug_assert!(false, "a key with a ticket has an entry");
            return Poll::Pending;
        };
        if let Some(place) = entry.granted.iter().position(|&ticket| ticket == this.ticket) {
            entry.granted.swap_remove(place);
            drop(shard);
            let gate = this.gate.take().expect("taken here alone");
            return Poll::Ready(Permit { gate, key: this.key.clone() });
        }
        if let Some(waiting) = entry.queue.iter_mut().find(|waiting| waiting.ticket == this.ticket) {
            waiting.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<K: Clone + Eq + Hash> Drop for Acquire<K> {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        gate.change(&self.key, |entry| {
            let granted = entry.granted.iter().position(|&ticket| ticket == self.ticket);
            match granted {
                Some(place) => {
                    entry.granted.swap_remove(place);
                    entry.in_flight -= 1;
                }
                None => entry.queue.retain(|waiting| waiting.ticket != self.ticket),
            }
        });
    }
}

/// One place in the store; it is free again when this is dropped.
pub struct Permit<K: Clone + Eq + Hash> {
    gate: Arc<ConcurrencyGate<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        self.gate.release(&self.key);
    }
}
