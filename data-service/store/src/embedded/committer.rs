//! The committer: the one thread that writes.
//!
//! It takes what waits, plans each write over the ones before it, and commits them as one batch with a synced journal; only then does it
//! answer. fjall applies a batch to its memory after the sync and publishes it last, so nothing that is not durable can be read. The first
//! error of the tree poisons the store: what is on disk is no longer known, so nothing more may be written by this process. [`Guard`] sees to it
//! that no batch is begun for whose consequences the machine has no room.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::{PersistMode, Slice};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use weir_bus::RecordRing;
use weir_proto::bucket::Bucket;

use super::{
    EmbeddedConfig,
    acked::Acked,
    draft::{Draft, Group, NewestRevs, PlanError},
    fault,
    guard::Guard,
    health::Health,
    journal::BATCH_KEY,
    keys, lease,
    log::{Event, Extent},
    plan, spare,
    tables::Table,
    tree::Tables,
};
use crate::{Commit, Halt, Lease, LeaseAnswer, RowChange, WriteError};

/// What is to be written.
#[derive(Debug)]
pub(super) enum Act {
    /// A scope's step.
    Commit(Commit),
    /// Rows of a bulk load, and the revision of those without one.
    Load(Vec<RowChange>, u64),
    /// A bucket for the index.
    AddBucket(u64, Bucket),
    /// Small rows under their full keys, or their removal.
    Set(Table, Vec<(Vec<u8>, Option<Bytes>)>),
    /// A lease to take, and the row the taker expects.
    TakeLease(Lease, Option<Lease>),
    /// Finish what waits and end.
    Close,
}

/// What a write answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// Durable.
    Done,
    /// A lease's.
    Lease(LeaseAnswer),
}

/// A write that waits for the committer.
#[derive(Debug)]
pub(super) struct Write {
    /// What is to be written.
    pub(super) act: Act,
    /// Its share of the batch's bytes.
    pub(super) bytes: usize,
    /// Who asked.
    pub(super) done: oneshot::Sender<Result<Answer, WriteError>>,
    /// Its place among the waiting bytes, given back with the answer.
    pub(super) _place: OwnedSemaphorePermit,
}

/// A planned write and what to answer once it is durable.
type Planned = (oneshot::Sender<Result<Answer, WriteError>>, Result<Answer, WriteError>);

/// The committer's own state.
pub(super) struct Committer {
    pub(super) tables: Tables,
    pub(super) config: EmbeddedConfig,
    pub(super) writes: mpsc::Receiver<Write>,
    /// The log as of the last batch.
    pub(super) extent: Extent,
    /// Number of the last batch, which is one of its rows.
    pub(super) batch: u64,
    /// Where it is noted once it is durable.
    pub(super) acked: Acked,
    /// What the log holds of scopes that wrote lately, the batch being planned included: a batch that fails is the last.
    pub(super) newest: NewestRevs,
    /// Told of records once they are durable.
    pub(super) log: Arc<RecordRing>,
    pub(super) health: Arc<Health>,
    /// Whether the machine has what a batch needs.
    pub(super) guard: Arc<Guard>,
    /// Batches committed; counted for the operator.
    pub(super) batches: Arc<AtomicU64>,
}

impl Committer {
    /// Runs until it is told to close or nobody can write any more.
    pub(super) fn run(mut self) {
        while let Some(first) = self.writes.blocking_recv() {
            let waiting = self.gather(first);
            self.health.begin_batch();
            self.commit(waiting);
            self.health.end_batch();
        }
        if self.health.poisoned().is_none()
            && let Err(error) = self.tables.db.persist(PersistMode::SyncAll)
        {
            self.health.poison(format!("the last sync failed: {}", fault::reason(&error, &self.config)));
        }
    }

    /// The first write and those that wait behind it, within the bounds of a batch.
    fn gather(&mut self, first: Write) -> Vec<Write> {
        let mut bytes = first.bytes;
        let mut waiting = vec![first];
        while waiting.len() < self.config.batch_writes_max && bytes < self.config.batch_bytes_max {
            let Ok(next) = self.writes.try_recv() else { break };
            bytes = bytes.saturating_add(next.bytes);
            waiting.push(next);
        }
        waiting
    }

    /// Plans, commits and answers.
    fn commit(&mut self, waiting: Vec<Write>) {
        let bytes = waiting.iter().fold(0_usize, |sum, write| sum.saturating_add(write.bytes));
        let halt = self.guard.before(bytes, &self.tables, &self.health);
        let mut group = Group::new(self.extent);
        let mut answers: Vec<Planned> = Vec::with_capacity(waiting.len());
        // Kept until the answers are out: they are what bounds the bytes in flight.
        let mut places = Vec::with_capacity(waiting.len());
        for write in waiting {
            places.push(write._place);
            if matches!(write.act, Act::Close) {
                self.writes.close();
            }
            let answer = match (&halt, &write.act) {
                // To end it needs nothing.
                (_, Act::Close) => Ok(Answer::Done),
                (Some(halt), _) => Err(halt.clone().into()),
                (None, _) => self.plan(write.act, &mut group),
            };
            answers.push((write.done, answer));
        }
        if let Err(error) = self.write(group) {
            self.health.poison(fault::reason(&error, &self.config));
        }
        for (done, answer) in answers {
            let answer = match (self.health.refusal(), answer) {
                // What was refused before has not happened whatever came of the others.
                (Some(refusal), Ok(_)) => Err(refusal),
                (_, answer) => answer,
            };
            // The caller may have left.
            let _ = done.send(answer);
        }
    }

    /// Plans one write; a refusal leaves the group as it was.
    fn plan(&mut self, act: Act, group: &mut Group) -> Result<Answer, WriteError> {
        let mut draft = Draft::new(&self.tables, group);
        let planned = match act {
            Act::Commit(commit) => plan::commit(&mut draft, commit, &mut self.newest).map(|()| Answer::Done),
            Act::Load(rows, rev) => plan::load(&mut draft, rows, rev).map(|()| Answer::Done),
            Act::AddBucket(channel_id, bucket) => {
                draft.put(Table::Buckets, keys::bucket(channel_id, bucket), Slice::empty());
                Ok(Answer::Done)
            }
            Act::Set(table, rows) => {
                for (key, value) in rows {
                    match value {
                        Some(value) => draft.put(table, key, &*value),
                        None => draft.remove(table, key),
                    }
                }
                Ok(Answer::Done)
            }
            Act::TakeLease(wanted, expected) => {
                lease::take(&mut draft, &wanted, expected.as_ref()).map(Answer::Lease)
            }
            Act::Close => Ok(Answer::Done),
        };
        match planned {
            Ok(answer) => {
                let planned = draft.finish();
                group.accept(planned);
                Ok(answer)
            }
            Err(PlanError::Refused(reason)) => Err(WriteError::NotApplied { reason }),
            // A table that could not be opened now; nothing was written, and it is whole.
            Err(PlanError::Tree(error)) if fault::no_descriptors(&error) => {
                Err(Halt::Descriptors { limit: spare::limit() }.into())
            }
            Err(PlanError::Tree(error)) => {
                let reason = fault::reason(&error, &self.config);
                self.health.poison(reason.clone());
                Err(WriteError::Poisoned { reason })
            }
        }
    }

    /// Makes a group durable, then visible, then known to the log's readers.
    fn write(&mut self, mut group: Group) -> Result<(), fjall::Error> {
        if group.rows.is_empty() || self.health.poisoned().is_some() {
            return Ok(());
        }
        match self.trim(&mut group) {
            // The next batch does it.
            Err(error) if fault::no_descriptors(&error) => {}
            trimmed => trimmed?,
        }
        let number = self.batch + 1;
        group.rows.set(Table::Meta, BATCH_KEY, Some(keys::one(number).into()));
        let mut batch = self.tables.db.batch().durability(Some(PersistMode::SyncData));
        for (table, key, row) in group.rows.into_sorted() {
            match row {
                Some(value) => batch.insert(self.tables.get(table), table.stored_key(key), value),
                None => batch.remove(self.tables.get(table), table.stored_key(key)),
            }
        }
        batch.commit()?;
        self.guard.after(&self.health);
        if self.health.poisoned().is_some() {
            return Ok(());
        }
        self.batch = number;
        self.acked.note(number);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.extent = group.log;
        self.log.append(group.appended);
        Ok(())
    }

    /// Removes the log's oldest records, as many as the bounds ask and at most a few more than the group appends: the work is spread evenly,
    /// and a log that was opened with a lower bound shrinks over many batches instead of in one.
    fn trim(&self, group: &mut Group) -> Result<(), fjall::Error> {
        let appended = group.appended.len();
        if appended == 0 || !group.log.over(&self.config) {
            return Ok(());
        }
        let trimmed = self.trim_rows(group, appended);
        let (key, value) = group.log.floor_row();
        group.rows.set(Table::Meta, key, Some(value));
        trimmed
    }

    /// What is removed and how far the log then reaches agree also after an error in the middle.
    fn trim_rows(&self, group: &mut Group, appended: usize) -> Result<(), fjall::Error> {
        // Only what is in the tree already: the group's own records stay.
        let range = keys::one(group.log.floor + 1)..=keys::one(self.extent.head);
        for row in self.tables.get(Table::Events).range(range).take(2 * appended + TRIM_EXTRA) {
            if !group.log.over(&self.config) {
                break;
            }
            let (key, value) = row.into_inner()?;
            let Some((position, event)) = keys::number_at(&key, 0).zip(Event::decode(&value)) else {
                // Unreadable, so nobody can be served from it: drop it with its neighbours.
                group.rows.set(Table::Events, key, None);
                continue;
            };
            let change = keys::two(event.scope_id, event.outbox.rev);
            group.rows.set(Table::Events, key, None);
            group.rows.set(Table::Changes, change, None);
            group.log.floor = position;
            group.log.floor_bytes = event.bytes_until;
        }
        Ok(())
    }
}

/// Records trimmed with a batch beyond twice what it appends.
const TRIM_EXTRA: usize = 64;
