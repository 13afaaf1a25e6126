//! Metrics of the data service, and its hottest channels.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use weir_protect::{Outcome, RefusalReason};
use weir_proto::id::ChannelId;
use weir_runtime::{Registry, metrics::LATENCY_SECONDS};

use crate::key::Key;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counters and the list of hot channels. Shared by all paths.
pub struct Observer {
    reads: Family<ReadLabels, Counter>,
    db_reads: Family<MethodLabel, Counter>,
    db_writes: Family<WriteLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    read_seconds: Histogram,
    hot: HotList,
}

impl Observer {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            reads: registry
                .counters("weir_data_reads_total", "Reads by what was read and how they were served."),
            db_reads: registry.counters("weir_data_db_reads_total", "Reads that reached the database."),
            db_writes: registry
                .counters("weir_data_db_writes_total", "Changes sent to the database, by what was written."),
            refused: registry.counters("weir_data_refused_total", "Requests refused, by reason."),
            read_seconds: registry.histogram(
                "weir_data_read_seconds",
                "Time from a read's arrival to its answer, in seconds.",
                LATENCY_SECONDS,
            ),
            hot: HotList::default(),
        }
    }

    pub(crate) fn on_request(&self, channel_id: ChannelId) {
        self.hot.count(channel_id, Count::Request);
    }

    /// Counts a change; `method` says of what kind, in metrics.
    pub(crate) fn on_write(&self, method: &'static str, channel_id: Option<ChannelId>) {
        self.db_writes.get_or_create_owned(&WriteLabel { method }).inc();
        if let Some(channel_id) = channel_id {
            self.hot.count(channel_id, Count::Write);
        }
    }

    pub(crate) fn refused(&self, channel_id: Option<ChannelId>, reason: RefusalReason) {
        self.refused.get_or_create_owned(&ReasonLabel { reason: reason.label() }).inc();
        if let Some(channel_id) = channel_id {
            self.hot.count(channel_id, Count::Refused);
        }
    }

    /// The hottest channels, and the length of the window in which they were counted.
    pub(crate) fn hottest(&self, limit: usize) -> (Vec<Hot>, Duration) {
        self.hot.top(limit)
    }
}

impl weir_protect::Observer<Key> for Observer {
    fn on_read(&self, key: &Key, outcome: Outcome, elapsed: Duration) {
        let labels = ReadLabels { method: key.label(), outcome: outcome.label() };
        self.reads.get_or_create_owned(&labels).inc();
        self.read_seconds.observe(elapsed.as_secs_f64());
    }

    fn on_refused(&self, key: &Key, reason: RefusalReason) {
        let labels = ReadLabels { method: key.label(), outcome: Outcome::Refused.label() };
        self.reads.get_or_create_owned(&labels).inc();
        self.refused(key.channel(), reason);
    }

    fn on_db_read(&self, key: &Key, _: Duration, _: bool, _: u32) {
        self.db_reads.get_or_create_owned(&MethodLabel { method: key.label() }).inc();
        if let Some(channel_id) = key.channel() {
            self.hot.count(channel_id, Count::DatabaseRead);
        }
    }
}

/// Counted events of a channel.
#[derive(Debug, Clone, Copy)]
enum Count {
    Request,
    DatabaseRead,
    Write,
    Refused,
}

/// Rates of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hot {
    pub(crate) channel_id: ChannelId,
    pub(crate) requests: u64,
    pub(crate) database_reads: u64,
    pub(crate) writes: u64,
    pub(crate) refused: u64,
}

/// Channels counted in each shard of a window: the space-saving bound. A channel with more than 1 / 64 of its
/// shard's requests is certainly among them (Metwally, Agrawal, El Abbadi 2005).
const SHARD_CHANNELS: usize = 64;
/// Shards, each with its own lock.
const SHARDS: usize = 16;
/// Length of a window, in milliseconds; the list covers the last full one and the present one.
const WINDOW_MS: u64 = 5_000;

#[derive(Debug, Default)]
struct Window {
    number: u64,
    counts: HashMap<ChannelId, Hot>,
}

#[derive(Debug, Default)]
struct HotShard {
    now: Window,
    last: Window,
}

/// The hottest channels by space-saving counts in two windows. Memory: 16 shards x 2 windows x 64 entries.
#[derive(Debug)]
struct HotList {
    origin: std::sync::OnceLock<tokio::time::Instant>,
    shards: [Mutex<HotShard>; SHARDS],
    counted: AtomicU64,
}

impl Default for HotList {
    fn default() -> Self {
        Self {
            origin: std::sync::OnceLock::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            counted: AtomicU64::new(0),
        }
    }
}

impl HotList {
    fn elapsed_ms(&self) -> u64 {
        let origin = self.origin.get_or_init(tokio::time::Instant::now);
        u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn count(&self, channel_id: ChannelId, what: Count) {
        self.counted.fetch_add(1, Ordering::Relaxed);
        let number = self.elapsed_ms() / WINDOW_MS;
        let index = (channel_id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize;
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        shard.turn_to(number);
        let counts = &mut shard.now.counts;
        if !counts.contains_key(&channel_id) && counts.len() >= SHARD_CHANNELS {
            // Space-saving: the new channel replaces the one with the lowest count, which is its possible
            // error.
            let least = counts.iter().min_by_key(|(_, hot)| hot.requests + hot.writes).map(|(id, _)| *id);
            if let Some(inherited) = least.and_then(|id| counts.remove(&id)) {
                counts.insert(channel_id, Hot { channel_id, ..inherited });
            }
        }
        let zero = Hot { channel_id, requests: 0, database_reads: 0, writes: 0, refused: 0 };
        let hot = counts.entry(channel_id).or_insert(zero);
        match what {
            Count::Request => hot.requests += 1,
            Count::DatabaseRead => hot.database_reads += 1,
            Count::Write => hot.writes += 1,
            Count::Refused => hot.refused += 1,
        }
    }

    fn top(&self, limit: usize) -> (Vec<Hot>, Duration) {
        let elapsed_ms = self.elapsed_ms();
        let number = elapsed_ms / WINDOW_MS;
        let mut all: HashMap<ChannelId, Hot> = HashMap::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.turn_to(number);
            for hot in shard.now.counts.values().chain(shard.last.counts.values()) {
                let zero = Hot { requests: 0, database_reads: 0, writes: 0, refused: 0, ..*hot };
                let sum = all.entry(hot.channel_id).or_insert(zero);
                sum.requests += hot.requests;
                sum.database_reads += hot.database_reads;
                sum.writes += hot.writes;
                sum.refused += hot.refused;
            }
        }
        let mut all: Vec<Hot> = all.into_values().collect();
        all.sort_by_key(|hot| std::cmp::Reverse(hot.requests + hot.writes));
        all.truncate(limit);
        let last = if number == 0 { 0 } else { WINDOW_MS };
        (all, Duration::from_millis((elapsed_ms % WINDOW_MS + last).max(1)))
    }
}

impl HotShard {
    fn turn_to(&mut self, number: u64) {
        if self.now.number == number {
            return;
        }
        let old = std::mem::replace(&mut self.now, Window { number, counts: HashMap::new() });
        self.last = if old.number + 1 == number { old } else { Window::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hot_channel_is_found_among_many_and_forgotten_after_two_windows() {
        let channel = |id: u64| ChannelId::try_from(id).expect("not 0");
        let list = HotList::default();
        for round in 0..20_000_u64 {
            list.count(channel(round + 1_000), Count::Request);
            if round % 10 == 0 {
                list.count(channel(7), Count::Request);
            }
        }
        let (top, _) = list.top(1);
        assert_eq!(top[0].channel_id, channel(7));
        assert!(top[0].requests >= 2_000, "space-saving never counts too little");
        tokio::time::advance(Duration::from_millis(3 * WINDOW_MS)).await;
        assert!(list.top(1).0.is_empty());
    }
}
