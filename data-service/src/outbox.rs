//! The outbox: it delivers committed changes to the bus.
//!
//! The created row, or its row in `changes`, is the outbox record; the bus only carries it. So a bus that is
//! down delays delivery and never an acknowledgement: records that it did not take are remembered as (scope,
//! revision) and read back from the database later. A process that dies between commit and publication leaves
//! a watermark: everything below it was published. Its successor republishes everything above it, and
//! consumers drop the records that they have.

mod heal;
pub mod rebuild;
pub(crate) mod record;
mod topics;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus, Outgoing, PublishError, Published, Topic};
use weir_proto::id::ScopeId;
use weir_runtime::{
    Registry,
    metrics::{Counter, Gauge},
};
use weir_store::Store;

use self::record::Announced;
use crate::clock::Clock;

/// Queues to the bus; a scope always uses the same one, which keeps its order.
const LANES: usize = 4;
/// Records that wait in one lane. Above this bound the scope joins the backlog instead: the database has the
/// records.
const LANE_RECORDS_MAX: usize = 8_192;
/// Records in one call of the bus.
const PUBLISH_MAX: usize = 512;
/// Scopes in the backlog. Above this bound everything since the watermark is republished.
const BEHIND_MAX: usize = 100_000;
/// How often the watermark is stored.
const WATERMARK_EVERY: Duration = Duration::from_secs(1);
/// When the bus has lost records, we republish from this long before it last confirmed that it has
/// everything. It is half a minute more than a gateway may be away before it cuts its sessions off instead
/// (`RedisConfig::recovered_window`), for the time that its return takes. So one of the two covers all that
/// it missed.
const LOST_WINDOW_US: u64 = 90 * 1_000_000;
/// The watermark stays this far behind the clock. Records published since may have met a bus that had just
/// lost its memory, to which no gateway had come back yet, and this process may end before it learns so.
/// Gateways come back within four seconds (renewal, pause and timeout of `RedisConfig`).
const UNHEARD_US: u64 = 10 * 1_000_000;
/// Kind of the stored watermarks: each start of a data service has one under its name.
const SETTING: &str = "outbox_watermark";

/// One record in a lane.
struct Item {
    scope_id: ScopeId,
    prev_rev: u64,
    rev: u64,
    topics: Vec<Topic>,
    record: Bytes,
    /// Held for its drop: the commit's mark ends with its last record.
    _pending: Option<Pending>,
}

/// Mark of a change, from before its revision is minted until its records are with the bus or in the backlog:
/// the watermark stays below it. Dropping it removes the mark.
pub(crate) struct Pending {
    /// `None` if the store's commit is the publication, so that there is no watermark.
    outbox: Option<Arc<Outbox>>,
    key: (u64, ScopeId),
}

impl Pending {
    /// Microseconds since 1970-01-01T00:00Z at which the change began; its revisions must not lie below.
    pub(crate) fn began_us(&self) -> u64 {
        self.key.0
    }

    /// Keeps the mark because this process will not learn the change's fate: the watermark stays below it for
    /// good.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // A turn that panics may have committed: the next start publishes its records.
        if let Some(outbox) = self.outbox.take().filter(|_| !std::thread::panicking()) {
            lock(&outbox.pending).remove(&self.key);
        }
    }
}

/// Backlog of a scope: its records above a revision must be read back and published.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// Revision to read from: the change before the first record that waits, so that the records follow it.
    /// It may be old.
    after_rev: u64,
    /// A revision closely below the first record that waits.
    since_rev: u64,
    /// The same for records that wait since gateways were last told of lost records: every session has begun
    /// anew since and reads what was committed before. `u64::MAX` if there are none.
    unsaid_since_rev: u64,
    /// Records in this backlog, as far as they were counted.
    records: u64,
    /// Number of additions: a scope that is added again while it is republished is republished again.
    times: u64,
}

/// The outbox of one node.
pub struct Outbox {
    bus: Arc<dyn EventBus>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Holder name, unique for each start of a process.
    holder: String,
    lanes: Vec<mpsc::Sender<Item>>,
    /// Holds the receivers until [`Outbox::start`] takes them.
    receivers: Mutex<Vec<mpsc::Receiver<Item>>>,
    /// The backlogs of scopes; that under `None` is of all scopes that were active.
    behind: Mutex<HashMap<Option<ScopeId>, Behind>>,
    /// Held while gateways are told of lost records, so that one message covers all records lost by then.
    saying_lost: tokio::sync::Mutex<()>,
    /// (microsecond of its beginning, scope) of each change that may not be published yet.
    pending: Mutex<BTreeSet<(u64, ScopeId)>>,
    heal: Notify,
    /// Records that wait in the database for the bus.
    waiting: Gauge,
    /// Records that were read back from the database and published.
    republished: Counter,
    /// Begin of the last call in whose answer the bus confirmed that it has everything; before the first such
    /// call, the start of this process. Microseconds since 1970-01-01T00:00Z.
    kept_us: AtomicU64,
    /// An outage of the bus was reported, and its end was not yet.
    told: AtomicBool,
    /// Other processes' watermarks must be read: at the start, and whenever a tenure begins.
    recover: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are consistent between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// Creates an outbox to `bus` and registers its metrics; nothing moves before [`Outbox::start`], unless
    /// the store's commits are the publication.
    #[must_use]
    pub fn new(
        bus: Arc<dyn EventBus>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
        registry: &Registry,
    ) -> Arc<Self> {
        let began_us = clock.wall_us();
        let (lanes, receivers) = (0..LANES).map(|_| mpsc::channel(LANE_RECORDS_MAX)).unzip();
        Arc::new(Self {
            bus,
            store,
            clock,
            holder,
            lanes,
            receivers: Mutex::new(receivers),
            behind: Mutex::new(HashMap::new()),
            saying_lost: tokio::sync::Mutex::default(),
            pending: Mutex::new(BTreeSet::new()),
            heal: Notify::new(),
            waiting: registry.gauge(
                "weir_data_outbox_waiting_records",
                "Records of changes that wait in the database because the event bus does not take them",
            ),
            republished: registry.counter(
                "weir_data_outbox_republished_records_total",
                "Records of changes that were read back from the database and published.",
            ),
            kept_us: AtomicU64::new(began_us),
            told: AtomicBool::new(false),
            recover: AtomicBool::new(true),
        })
    }

    /// True if a commit makes the records durable in the gateways' log, so that nothing else must be kept for
    /// them.
    #[must_use]
    pub fn committed_with_store(&self) -> bool {
        self.bus.committed_with_store()
    }

    /// Starts the lanes, the healer and the watermark, and publishes what an earlier process may have left
    /// unpublished.
    pub fn start(self: &Arc<Self>, stop: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
        if self.bus.committed_with_store() {
            return Vec::new();
        }
        let mut tasks = Vec::new();
        for receiver in lock(&self.receivers).drain(..) {
            tasks.push(tokio::spawn(Arc::clone(self).run_lane(receiver, stop.clone())));
        }
        tasks.push(tokio::spawn(Arc::clone(self).run_healer(stop.clone())));
        tasks.push(tokio::spawn(Arc::clone(self).run_watermark(stop.clone())));
        tasks
    }

    /// Every change up to this revision is with the bus, is in the backlog, or never happened; no later
    /// change has such a revision. 0 if records are durable with the commit, so that nobody needs the value.
    pub(crate) fn settled_us(&self) -> u64 {
        if self.bus.committed_with_store() {
            return 0;
        }
        // Read under the lock under which changes begin: see `begin`.
        let pending = lock(&self.pending);
        let now_us = self.clock.wall_us();
        pending.first().map_or(now_us, |(began_us, _)| now_us.min(*began_us)).saturating_sub(1)
    }

    /// Begins a change of a scope, before its revisions are minted. A scope has one at a time.
    pub(crate) fn begin(self: &Arc<Self>, scope_id: ScopeId) -> Pending {
        if self.bus.committed_with_store() {
            return Pending { outbox: None, key: (self.clock.wall_us(), scope_id) };
        }
        // Here and in the watermark the clock is read under the lock: either the watermark sees this mark, or
        // it read an earlier time.
        let mut pending = lock(&self.pending);
        let key = (self.clock.wall_us(), scope_id);
        pending.insert(key);
        drop(pending);
        Pending { outbox: Some(Arc::clone(self)), key }
    }

    /// Leaves a commit whose outcome is unknown: if the database has it, its records are published from
    /// there.
    pub(crate) fn leave_to_database(&self, scope_id: ScopeId, prev_rev: u64, pending: Pending) {
        if !self.bus.committed_with_store() {
            self.fall_behind(Some(scope_id), prev_rev, pending.began_us().saturating_sub(1));
        }
        drop(pending);
    }

    /// Hands a commit's records over, in order because it is called in the scope's turn.
    pub(crate) async fn publish(
        &self,
        scope_id: ScopeId,
        prev_rev: u64,
        pending: Pending,
        records: Vec<Announced>,
    ) {
        if self.bus.committed_with_store() {
            let outgoing = records
                .into_iter()
                .map(|record| Outgoing { topics: record.topics, record: record.outbox.record });
            // This only wakes readers; the records are already in their log.
            if let Err(error) = self.bus.publish(outgoing.collect()).await {
                tracing::warn!(error = %error, "readers of the log were not woken");
            }
            return;
        }
        let lane = &self.lanes[(scope_id.get() >> 22) as usize % LANES];
        let (mut prev_rev, mut pending) = (prev_rev, Some(pending));
        let last = records.len().saturating_sub(1);
        for (index, record) in records.into_iter().enumerate() {
            let rev = record.outbox.rev;
            let topics = record.topics;
            let pending = if index == last { pending.take() } else { None };
            let record = record.outbox.record;
            let item = Item { scope_id, prev_rev, rev, topics, record, _pending: pending };
            if let Err(refused) = lane.try_send(item) {
                self.fall_behind(Some(scope_id), prev_rev, rev - 1);
                drop(refused);
                return;
            }
            prev_rev = rev;
        }
    }

    /// Hands over a record that is not stored (typing).
    pub(crate) async fn publish_ephemeral(&self, topics: Vec<Topic>, record: Bytes) {
        self.bus.publish_ephemeral(Outgoing { topics, record }).await;
    }

    /// Publishes records that other owners may have left: called when a tenure begins, after which nobody
    /// else leaves any.
    pub(crate) fn recover(&self) {
        self.recover.store(true, Ordering::Release);
        self.heal.notify_one();
    }

    /// Adds to the backlog of a scope. `None` stands for all scopes: everything active since that revision is
    /// republished.
    fn fall_behind(&self, scope_id: Option<ScopeId>, after_rev: u64, since_rev: u64) {
        let mut behind = lock(&self.behind);
        let full = behind.len() >= BEHIND_MAX && !behind.contains_key(&scope_id);
        let records = u64::from(scope_id.is_some());
        let (scope_id, after_rev) = if full { (None, since_rev) } else { (scope_id, after_rev) };
        let entry = behind.entry(scope_id).or_insert(Behind {
            after_rev,
            since_rev,
            unsaid_since_rev: since_rev,
            records: 0,
            times: 0,
        });
        entry.since_rev = entry.since_rev.min(since_rev);
        entry.unsaid_since_rev = entry.unsaid_since_rev.min(since_rev);
        entry.after_rev = entry.after_rev.min(after_rev);
        entry.times += 1;
        entry.records += records;
        drop(behind);
        self.waiting.inc_by(records.cast_signed());
        self.heal.notify_one();
    }

    async fn run_lane(self: Arc<Self>, mut items: mpsc::Receiver<Item>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(PUBLISH_MAX);
        loop {
            tokio::select! {
                count = items.recv_many(&mut batch, PUBLISH_MAX) => if count == 0 { return },
                () = stop.cancelled() => {
                    // The remaining records stay above the watermark; the successor publishes them, or we do
                    // now if the bus takes them.
                    items.close();
                    if items.recv_many(&mut batch, LANE_RECORDS_MAX).await == 0 { return }
                }
            }
            let outgoing = batch.iter_mut().map(|item| Outgoing {
                topics: std::mem::take(&mut item.topics),
                record: item.record.clone(),
            });
            if let Err(error) = self.hand_over(outgoing.collect()).await {
                // An outage is reported once, not for each batch.
                if !self.told.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "the event bus takes no records; they wait in the database");
                }
                for item in &batch {
                    self.fall_behind(Some(item.scope_id), item.prev_rev, item.rev - 1);
                }
            }
            // Their marks are dropped with them: the records are published or in the backlog.
            batch.clear();
        }
    }

    /// Hands records to the bus. If some of the last [`LOST_WINDOW_US`] may not have reached a gateway, that
    /// window joins the backlog: the bus lost its memory, or it had forgotten a gateway that was away for
    /// long. The window counts from the last answer before that, not from now: the bus or the database may
    /// have been away in between.
    async fn hand_over(&self, outgoing: Vec<Outgoing>) -> Result<(), PublishError> {
        let began_us = self.clock.wall_us();
        match self.bus.publish(outgoing).await? {
            Published::Kept => {
                self.kept_us.fetch_max(began_us, Ordering::AcqRel);
            }
            Published::Lost => {
                tracing::warn!(
                    "the event bus lost its memory, or had forgotten a gateway that was away; what is recent is published again"
                );
                let kept_us = self.kept_us.load(Ordering::Acquire).min(began_us);
                let since_rev = kept_us.saturating_sub(LOST_WINDOW_US);
                self.fall_behind(None, since_rev, since_rev);
            }
        }
        Ok(())
    }

    async fn run_watermark(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(WATERMARK_EVERY) => {}
            }
            let (now_us, oldest_pending) = {
                let pending = lock(&self.pending);
                let oldest = pending.first().map(|(began_us, _)| *began_us);
                (self.clock.wall_us(), oldest)
            };
            let oldest_behind = lock(&self.behind).values().map(|behind| behind.since_rev).min();
            let heard_us = now_us.saturating_sub(UNHEARD_US);
            let mark =
                heard_us.min(oldest_pending.unwrap_or(u64::MAX)).min(oldest_behind.unwrap_or(u64::MAX));
            let value = Bytes::copy_from_slice(&mark.saturating_sub(1).to_be_bytes());
            if let Err(error) = self.store.write_setting(SETTING, self.holder.as_bytes(), Some(value)).await {
                tracing::warn!(error = %error, "the outbox's watermark was not stored");
            }
            if stop.is_cancelled() {
                return;
            }
            // The call carries no records: it checks whether the bus lost its memory while there was nothing
            // to publish.
            if let Err(error) = self.hand_over(Vec::new()).await {
                tracing::debug!(error = %error, "the event bus does not answer");
            }
        }
    }
}
