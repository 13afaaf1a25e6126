//! The outbox: committed changes on their way to the bus.
//!
//! The created row, or its row in `changes`, is the outbox record; the bus only carries it. So a bus that is down delays delivery and never
//! an acknowledgement: what could not be handed over is remembered as (scope, revision) and read back from the database later. A process
//! that dies between commit and publication leaves a watermark behind: everything below it was published; its successor publishes what
//! is above it again, and consumers drop what they have.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus, Outgoing, Published};
use weir_store::{ReadError, Store};

use crate::{changes, clock::Clock, sequencer::record::Announced};

/// Queues by which records leave; a scope always uses the same one, which keeps its order.
const LANES: usize = 4;
/// Records that wait in one lane. Above it the scope is noted as behind instead: the database has the records.
const LANE_RECORDS_MAX: usize = 8_192;
/// Records handed to the bus at once.
const PUBLISH_MAX: usize = 512;
/// Scopes noted as behind. Above it the whole window since the watermark is published again.
const BEHIND_MAX: usize = 100_000;
/// How often what is behind is tried again, and the watermark stored.
const HEAL_EVERY: Duration = Duration::from_millis(200);
const WATERMARK_EVERY: Duration = Duration::from_secs(1);
/// Window published again when the bus lost its memory: gateways read within milliseconds, so a minute covers what they had not read.
const LOST_WINDOW_US: u64 = 60 * 1_000_000;
/// Window published again when there is no watermark: as long as scopes are listed as active.
const UNKNOWN_WINDOW_US: u64 = 600 * 1_000_000;
/// Watermarks of earlier processes that are looked at; each start removes those it has served.
const WATERMARKS_MAX: usize = 10_000;
/// Active scopes looked at on recovery.
const ACTIVE_MAX: usize = 1_000_000;
/// Kind of the stored watermarks: one for each start of a data service, under its name.
const SETTING: &str = "outbox_watermark";

/// One record in a lane.
struct Item {
    scope_id: u64,
    is_channel: bool,
    rev: u64,
    prev_rev: u64,
    topics: Vec<u64>,
    record: Bytes,
}

/// A scope whose records above a revision must be read back and published.
#[derive(Debug, Clone, Copy)]
struct Behind {
    after_rev: u64,
    is_channel: bool,
}

/// The outbox of one node.
pub struct Outbox {
    bus: Arc<dyn EventBus>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Unique for each start of a process.
    holder: String,
    lanes: Vec<mpsc::Sender<Item>>,
    /// Receivers until [`Outbox::start`] takes them.
    receivers: Mutex<Vec<mpsc::Receiver<Item>>>,
    behind: Mutex<HashMap<u64, Behind>>,
    /// First revision of each (revision, scope) that is minted but not yet published.
    pending: Mutex<BTreeMap<(u64, u64), ()>>,
    heal: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain maps, whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// An outbox to `bus`; nothing moves before [`Outbox::start`], unless the store's commits are the publication.
    #[must_use]
    pub fn new(
        bus: Arc<dyn EventBus>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
    ) -> Arc<Self> {
        let (lanes, receivers) = (0..LANES).map(|_| mpsc::channel(LANE_RECORDS_MAX)).unzip();
        Arc::new(Self {
            bus,
            store,
            clock,
            holder,
            lanes,
            receivers: Mutex::new(receivers),
            behind: Mutex::new(HashMap::new()),
            pending: Mutex::new(BTreeMap::new()),
            heal: Notify::new(),
        })
    }

    /// True if records are durable in the gateways' log with the commit, so that nothing else needs to be kept for them.
    #[must_use]
    pub fn committed_with_store(&self) -> bool {
        self.bus.committed_with_store()
    }

    /// Starts the lanes, the healer and the watermark, and publishes what an earlier process may have left unpublished.
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

    /// Notes that a commit with this first revision is about to be sent, so that the watermark stays below it.
    pub(crate) fn begin(&self, scope_id: u64, first_rev: u64) {
        if !self.bus.committed_with_store() {
            lock(&self.pending).insert((first_rev, scope_id), ());
        }
    }

    /// The commit did not happen.
    pub(crate) fn abandon(&self, scope_id: u64, first_rev: u64) {
        lock(&self.pending).remove(&(first_rev, scope_id));
    }

    /// The commit may or may not hold; what the database has is published from there.
    pub(crate) fn leave_to_database(&self, scope_id: u64, is_channel: bool, prev_rev: u64, first_rev: u64) {
        if !self.bus.committed_with_store() {
            self.fall_behind(scope_id, is_channel, prev_rev);
            self.abandon(scope_id, first_rev);
        }
    }

    /// Hands a commit's records over. Called in the scope's turn, so in order.
    pub(crate) async fn publish(
        &self,
        scope_id: u64,
        is_channel: bool,
        prev_rev: u64,
        first_rev: u64,
        records: Vec<Announced>,
    ) {
        if self.bus.committed_with_store() {
            let outgoing = records
                .into_iter()
                .map(|record| Outgoing { guild_id: record.outbox.guild_id, record: record.outbox.record });
            // It only wakes readers; the records are in their log already.
            if let Err(error) = self.bus.publish(outgoing.collect()).await {
                tracing::warn!(error = %error, "readers of the log were not woken");
            }
            return;
        }
        let lane = &self.lanes[(scope_id >> 22) as usize % LANES];
        let mut prev_rev = prev_rev;
        let last = records.len().saturating_sub(1);
        for (index, record) in records.into_iter().enumerate() {
            let rev = record.outbox.rev;
            let mut topics = record.also;
            topics.push(record.outbox.guild_id);
            // The pending mark of the commit goes with its last record.
            let first = if index == last { first_rev } else { 0 };
            let item =
                Item { scope_id, is_channel, rev: first, prev_rev, topics, record: record.outbox.record };
            if lane.try_send(item).is_err() {
                self.fall_behind(scope_id, is_channel, prev_rev);
                self.abandon(scope_id, first_rev);
                return;
            }
            prev_rev = rev;
        }
    }

    /// Hands over a record that is not kept (typing).
    pub(crate) async fn publish_ephemeral(&self, guild_id: u64, record: Bytes) {
        self.bus.publish_ephemeral(Outgoing { guild_id, record }).await;
    }

    /// Scopes whose records wait in the database.
    #[must_use]
    pub fn scopes_behind(&self) -> usize {
        lock(&self.behind).len()
    }

    fn fall_behind(&self, scope_id: u64, is_channel: bool, after_rev: u64) {
        let mut behind = lock(&self.behind);
        if behind.len() >= BEHIND_MAX && !behind.contains_key(&scope_id) {
            // Scope 0 stands for all of them: the healer publishes everything active since that revision.
            let all = behind.entry(0).or_insert(Behind { after_rev, is_channel: false });
            all.after_rev = all.after_rev.min(after_rev);
        } else {
            let entry = behind.entry(scope_id).or_insert(Behind { after_rev, is_channel });
            entry.after_rev = entry.after_rev.min(after_rev);
        }
        drop(behind);
        self.heal.notify_one();
    }

    async fn run_lane(self: Arc<Self>, mut items: mpsc::Receiver<Item>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(PUBLISH_MAX);
        loop {
            tokio::select! {
                count = items.recv_many(&mut batch, PUBLISH_MAX) => if count == 0 { return },
                () = stop.cancelled() => {
                    // What is left stays above the watermark and is published by the successor, or now if the bus takes it.
                    items.close();
                    if items.recv_many(&mut batch, LANE_RECORDS_MAX).await == 0 { return }
                }
            }
            let mut outgoing = Vec::with_capacity(batch.len());
            for item in &batch {
                outgoing.extend(
                    item.topics
                        .iter()
                        .map(|guild_id| Outgoing { guild_id: *guild_id, record: item.record.clone() }),
                );
            }
            match self.bus.publish(outgoing).await {
                Ok(Published::Kept) => {}
                Ok(Published::Lost) => {
                    tracing::warn!("the event bus lost its memory; the last minute is published again");
                    self.fall_behind(0, false, self.clock.wall_us().saturating_sub(LOST_WINDOW_US));
                }
                Err(error) => {
                    tracing::warn!(error = %error, records = batch.len(), "records wait in the outbox");
                    for item in &batch {
                        self.fall_behind(item.scope_id, item.is_channel, item.prev_rev);
                    }
                }
            }
            let mut pending = lock(&self.pending);
            for item in batch.drain(..).filter(|item| item.rev != 0) {
                pending.remove(&(item.rev, item.scope_id));
            }
        }
    }

    async fn run_healer(self: Arc<Self>, stop: CancellationToken) {
        let mut done_holders = Vec::new();
        match self.watermark().await {
            Ok((after_rev, holders)) => {
                self.fall_behind(0, false, after_rev);
                done_holders = holders;
            }
            Err(error) => {
                tracing::warn!(error = %error, "the outbox's watermark could not be read; the last ten minutes are published again");
                self.fall_behind(0, false, self.clock.wall_us().saturating_sub(UNKNOWN_WINDOW_US));
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.heal.notified() => {}
            }
            loop {
                let next = lock(&self.behind).iter().next().map(|(scope, behind)| (*scope, *behind));
                let Some((scope_id, behind)) = next else { break };
                if self.heal(scope_id, behind).await.is_err() {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(HEAL_EVERY) => {}
                    }
                }
            }
            // All that earlier processes had left is published: their marks have served.
            for holder in done_holders.drain(..) {
                if let Err(error) = self.store.write_setting(SETTING, &holder, None).await {
                    tracing::warn!(error = %error, "an old watermark stays; the next start publishes more than it must");
                }
            }
        }
    }

    /// The lowest watermark that earlier processes left, and their names.
    async fn watermark(&self) -> Result<(u64, Vec<Vec<u8>>), ReadError> {
        let kept = self.store.read_settings(SETTING, WATERMARKS_MAX).await?;
        let others = kept.into_iter().filter(|(holder, _)| *holder != self.holder.as_bytes());
        let marks = others.filter_map(|(holder, value)| {
            let mark = <[u8; 8]>::try_from(&*value).ok().map(u64::from_be_bytes)?;
            Some((mark, holder))
        });
        let (marks, holders): (Vec<u64>, Vec<Vec<u8>>) = marks.unzip();
        // Without any it is the first start, or one after a long pause: what is still listed as active is published again.
        let unknown = self.clock.wall_us().saturating_sub(UNKNOWN_WINDOW_US);
        Ok((marks.into_iter().min().unwrap_or(unknown), holders))
    }

    /// Publishes what is behind for a scope (0: for all active ones), page by page.
    async fn heal(&self, scope_id: u64, behind: Behind) -> Result<(), ()> {
        if scope_id == 0 {
            let active = self.store.read_active(ACTIVE_MAX).await.map_err(|error| {
                tracing::warn!(error = %error, "active channels could not be read");
            })?;
            for (scope_id, is_channel) in active {
                self.heal_scope(scope_id, is_channel, behind.after_rev).await?;
            }
        } else {
            self.heal_scope(scope_id, behind.is_channel, behind.after_rev).await?;
        }
        let mut all = lock(&self.behind);
        // It may have fallen further behind meanwhile; only what was healed is taken off.
        if all.get(&scope_id).is_some_and(|now| now.after_rev >= behind.after_rev) {
            all.remove(&scope_id);
        }
        Ok(())
    }

    async fn heal_scope(&self, scope_id: u64, is_channel: bool, after_rev: u64) -> Result<(), ()> {
        let mut after_rev = after_rev;
        loop {
            let now_us = self.clock.wall_us();
            let page = changes::read(&*self.store, scope_id, is_channel, after_rev, 500, now_us).await;
            let page = page.map_err(|error| {
                tracing::warn!(scope = scope_id, error = %error, "the outbox could not be read");
            })?;
            let Some(last) = page.records.last() else { return Ok(()) };
            after_rev = last.rev;
            let outgoing = page.records.iter().flat_map(|record| {
                let bytes = changes::encode(record);
                topics(record).into_iter().map(move |guild_id| Outgoing { guild_id, record: bytes.clone() })
            });
            self.bus.publish(outgoing.collect()).await.map_err(drop)?;
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn run_watermark(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(WATERMARK_EVERY) => {}
            }
            // Read before the pending set, so that a commit which begins in between has a revision above it.
            let now_us = self.clock.wall_us();
            let oldest_pending = lock(&self.pending).first_key_value().map(|((rev, _), ())| *rev);
            let oldest_behind = lock(&self.behind).values().map(|behind| behind.after_rev).min();
            let mark = now_us.min(oldest_pending.unwrap_or(u64::MAX)).min(oldest_behind.unwrap_or(u64::MAX));
            let value = Bytes::copy_from_slice(&mark.saturating_sub(1).to_be_bytes());
            if let Err(error) = self.store.write_setting(SETTING, self.holder.as_bytes(), Some(value)).await {
                tracing::warn!(error = %error, "the outbox's watermark was not stored");
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

/// Guild, and users whose membership a record changes.
fn topics(record: &weir_proto::event::Record) -> Vec<u64> {
    use weir_proto::event::record::Change;
    let mut topics = vec![record.guild_id];
    match &record.change {
        Some(Change::GuildCreated(created)) => topics.extend(&created.member_ids),
        Some(Change::MemberAdded(changed)) => topics.extend(changed.user.as_ref().map(|user| user.id)),
        Some(Change::MemberRemoved(removed)) => topics.extend(removed.user.as_ref().map(|user| user.id)),
        _ => {}
    }
    topics
}
