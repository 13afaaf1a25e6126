//! The committer: the one thread that writes.
//!
//! It takes the waiting writes, plans each of them over the ones before it, and commits them as one batch
//! with a synced journal. Only then does it answer. fjall applies a batch to its memory after the sync and
//! publishes it last, so nothing can be read that is not durable. The first error of the tree poisons the
//! store: the state on disk is no longer known, so this process may write nothing more. [`Guard`] makes sure
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
    guard::Guard,
    health::Health,
    journal::BATCH_KEY,
    keys, lease,
    log::{Event, Extent},
    plan, spare,
    tables::Table,
    tree::Tables,
    tree_error,
};
use crate::{Commit, Halt, Lease, LeaseAnswer, RowChange, WriteError};

/// A kind of write.
#[derive(Debug)]
pub(super) enum Act {
    /// One scope's commit.
    Commit(Commit),
    /// Rows of a bulk load, and the revision of rows that carry none.
    Load(Vec<RowChange>, u64),
    /// A bucket to add to the index.
    AddBucket(u64, Bucket),
    /// Small rows under their full keys; `None` removes a row.
    Set(Table, Vec<(Vec<u8>, Option<Bytes>)>),
    /// A lease to take, and the row that the taker expects.
    TakeLease(Lease, Option<Lease>),
    /// Finish the waiting writes and end.
    Close,
}

/// The answer to a write.
#[derive(Debug)]
pub(super) enum Answer {
    /// The write is durable.
    Done,
    /// The answer about a lease.
    Lease(LeaseAnswer),
}

/// A write that waits for the committer.
#[derive(Debug)]
pub(super) struct Write {
    /// The kind of write.
    pub(super) act: Act,
    /// The bytes that it adds to the batch.
    pub(super) bytes: usize,
    /// Receives the answer.
    pub(super) done: oneshot::Sender<Result<Answer, WriteError>>,
    /// Its permits for waiting bytes, given back with the answer.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// A planned write and its answer once it is durable.
type Planned = (oneshot::Sender<Result<Answer, WriteError>>, Result<Answer, WriteError>);

/// The committer's state.
pub(super) struct Committer {
    pub(super) tables: Tables,
    pub(super) config: EmbeddedConfig,
    pub(super) writes: mpsc::Receiver<Write>,
    /// The log as of the last batch.
    pub(super) extent: Extent,
    /// Number of the last batch, which is one of its rows.
    pub(super) batch: u64,
    /// The file that notes the last batch once it is durable.
    pub(super) acked: Acked,
    /// The newest revisions in the log of scopes that wrote lately. It includes the batch that is being
    /// planned; after a batch that fails there is no other.
    pub(super) newest: NewestRevs,
    /// Gets the records once they are durable.
    pub(super) log: Arc<RecordRing>,
    pub(super) health: Arc<Health>,
    /// Checks whether the machine has what a batch needs.
    pub(super) guard: Arc<Guard>,
    /// Number of committed batches, for the operator.
    pub(super) batches: Arc<AtomicU64>,
}

impl Committer {
    /// Runs until it is asked to close or no sender is left.
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
            self.health.poison(format!("the last sync failed: {}", tree_error::reason(&error, &self.config)));
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
        // The permits are kept until the answers are sent, because they bound the bytes in flight.
        let mut permits = Vec::with_capacity(waiting.len());
        for write in waiting {
            permits.push(write._permit);
            if matches!(write.act, Act::Close) {
                self.writes.close();
            }
            let answer = match (&halt, &write.act) {
                // Closing needs no plan.
                (_, Act::Close) => Ok(Answer::Done),
                (Some(halt), _) => Err(halt.clone().into()),
                (None, _) => self.plan(write.act, &mut group),
            };
            answers.push((write.done, answer));
        }
        if let Err(error) = self.write(group) {
            self.health.poison(tree_error::reason(&error, &self.config));
        }
        for (done, answer) in answers {
            let answer = match (self.health.refusal(), answer) {
                // A write that was refused before the batch has not happened, whatever came of the others.
                (Some(refusal), Ok(_)) => Err(refusal),
                (_, answer) => answer,
            };
            // The caller may have left.
            let _ = done.send(answer);
        }
    }

    /// Plans one write. A refused write leaves the group as it was.
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
            // A table could not be opened just now. Nothing was written, and the table is undamaged.
            Err(PlanError::Tree(error)) if tree_error::no_descriptors(&error) => {
                Err(Halt::Descriptors { limit: spare::limit() }.into())
            }
            Err(PlanError::Tree(error)) => {
                let reason = tree_error::reason(&error, &self.config);
                self.health.poison(reason.clone());
                Err(WriteError::Poisoned { reason })
            }
        }
    }

    /// Makes a group durable, then visible, then shows it to the log's readers.
    fn write(&mut self, mut group: Group) -> Result<(), fjall::Error> {
        if group.rows.is_empty() || self.health.poisoned().is_some() {
            return Ok(());
        }
        match self.trim(&mut group) {
            // The next batch trims instead.
            Err(error) if tree_error::no_descriptors(&error) => {}
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

    /// Removes the log's oldest records: as many as the bounds require, and at most a few more than the group
    /// appends. So the work is spread evenly, and a log that was opened with a lower bound shrinks over many
    /// batches instead of in one.
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

    /// The removed rows and the log's new floor agree even after an error in the middle.
    fn trim_rows(&self, group: &mut Group, appended: usize) -> Result<(), fjall::Error> {
        // Only records that are in the tree already are removed; the group's own stay.
        let range = keys::one(group.log.floor + 1)..=keys::one(self.extent.head);
        for row in self.tables.get(Table::Events).range(range).take(2 * appended + TRIM_EXTRA) {
            if !group.log.over(&self.config) {
                break;
            }
            let (key, value) = row.into_inner()?;
            let Some((position, event)) = keys::number_at(&key, 0).zip(Event::decode(&value)) else {
                // The row is unreadable, so no reader can be served from it: it is dropped with its
                // neighbours.
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

/// Most records trimmed with a batch beyond twice the number it appends.
const TRIM_EXTRA: usize = 64;
