//! The queues of changes that wait for a turn: one for each scope that has a turn under way or waiting.
//!
//! A queue exists exactly while a task takes turns of its scope: the push that makes the queue starts the
//! task, and the task removes the queue when it is empty. So a scope has one such task at a time, and there
//! are no more queues than scopes in memory.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use weir_proto::id::ScopeId;

use super::{
    error::Refused,
    op::{CreateOp, ImportOp, Op, message_bytes},
};

/// Bytes of creates in one batch. `batch_size_fail_threshold` in common CQL deployments is 50 KiB, for logged
/// multi-partition batches; single-partition batches of 64 KiB stay far below a commit log segment.
const BATCH_BYTES_MAX: usize = 64 << 10;
/// Imported rows written in one step: half of what an import has under way at once, so that one half gathers
/// while the other is synced.
const IMPORT_ROWS_MAX: usize = 8_000;
/// Shards of the table, each with its own lock: as many as the table of scopes has, for the same reason.
const SHARDS: usize = 64;

/// Work of one turn.
pub(crate) enum Work {
    /// Creates that go into one batch, oldest first.
    Creates(Vec<CreateOp>),
    /// Imports that are written in one step, oldest first.
    Imports(Vec<ImportOp>),
    /// One entry of any other kind.
    One(Op),
}

/// The queue of one scope.
#[derive(Default)]
struct Mailbox {
    entries: VecDeque<Op>,
    bytes: usize,
}

/// The queues of all scopes that have work.
pub(crate) struct Mailboxes {
    /// Entries and bytes that may wait in one queue.
    entries_max: usize,
    bytes_max: usize,
    shards: [Mutex<HashMap<ScopeId, Mailbox>>; SHARDS],
}

impl Mailboxes {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { entries_max, bytes_max, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, scope_id: ScopeId) -> MutexGuard<'_, HashMap<ScopeId, Mailbox>> {
        // As in the table of scopes, the multiplication spreads the middle bits, in which snowflakes differ,
        // to the top.
        let index = (scope_id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS;
        // The queues are consistent between statements.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry into a scope's queue. True if the caller must start the task that takes turns.
    ///
    /// # Errors
    /// [`Refused::Overloaded`] if the queue is full.
    pub(crate) fn push(&self, scope_id: ScopeId, op: Op) -> Result<bool, Refused> {
        let bytes = op.bytes();
        match self.shard(scope_id).entry(scope_id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Mailbox { entries: VecDeque::from([op]), bytes });
                Ok(true)
            }
            Entry::Occupied(occupied) => {
                let mailbox = occupied.into_mut();
                let full =
                    mailbox.entries.len() >= self.entries_max || mailbox.bytes + bytes > self.bytes_max;
                // An entry larger than the bound may still enter an empty queue: single requests have their
                // own bound.
                if full && !mailbox.entries.is_empty() {
                    return Err(Refused::Overloaded);
                }
                mailbox.bytes += bytes;
                mailbox.entries.push_back(op);
                Ok(false)
            }
        }
    }

    /// Work of the next turn, with at most `batch_rows_max` creates. `None` if there is no work; then the
    /// calling task must end.
    pub(crate) fn next(&self, scope_id: ScopeId, batch_rows_max: usize) -> Option<Work> {
        let mut shard = self.shard(scope_id);
        let work = shard.get_mut(&scope_id).and_then(|mailbox| mailbox.next(batch_rows_max));
        if work.is_none() {
            shard.remove(&scope_id);
        }
        work
    }

    /// Puts creates that belong to a later commit back to the front. It is called in a turn.
    pub(crate) fn put_back(&self, scope_id: ScopeId, creates: Vec<CreateOp>) {
        let mut shard = self.shard(scope_id);
        let mailbox = shard.entry(scope_id).or_default();
        for create in creates.into_iter().rev() {
            mailbox.bytes += message_bytes(&create.message);
            mailbox.entries.push_front(Op::Create(Box::new(create)));
        }
    }

    /// Entries that wait for a scope's turn.
    pub(crate) fn waiting(&self, scope_id: ScopeId) -> usize {
        self.shard(scope_id).get(&scope_id).map_or(0, |mailbox| mailbox.entries.len())
    }

    /// True if no scope has work under way or waiting.
    pub(crate) fn all_idle(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).is_empty())
    }
}

impl Mailbox {
    fn next(&mut self, batch_rows_max: usize) -> Option<Work> {
        let first = self.entries.pop_front()?;
        self.bytes -= first.bytes();
        let first = match first {
            Op::Create(first) => first,
            Op::Import(first) => return Some(Work::Imports(self.imports(first))),
            other => return Some(Work::One(other)),
        };
        let mut bytes = message_bytes(&first.message);
        let mut creates = vec![*first];
        while creates.len() < batch_rows_max {
            let Some(Op::Create(next)) = self.entries.front() else { break };
            bytes += message_bytes(&next.message);
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            let Some(Op::Create(next)) = self.entries.pop_front() else { break };
            self.bytes -= message_bytes(&next.message);
            creates.push(*next);
        }
        Some(Work::Creates(creates))
    }

    /// An import and the imports that wait directly behind it.
    fn imports(&mut self, first: ImportOp) -> Vec<ImportOp> {
        let mut rows = first.messages.len();
        let mut imports = vec![first];
        while let Some(Op::Import(next)) = self.entries.front() {
            rows += next.messages.len();
            if rows > IMPORT_ROWS_MAX {
                break;
            }
            let Some(Op::Import(next)) = self.entries.pop_front() else { break };
            self.bytes -= next.bytes();
            imports.push(next);
        }
        imports
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use weir_proto::{data::Message, id::ChannelId};

    use super::*;

    fn channel(id: u64) -> ScopeId {
        ScopeId::Channel(ChannelId::try_from(id).expect("not 0"))
    }

    fn import(rows: usize) -> Op {
        let (answer, _) = oneshot::channel();
        Op::Import(ImportOp { messages: vec![Message::default(); rows], answer })
    }

    fn rows(work: Option<Work>) -> Vec<usize> {
        match work {
            Some(Work::Imports(imports)) => imports.iter().map(|import| import.messages.len()).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn one_push_starts_the_task_and_the_empty_queue_ends_it() {
        let mailboxes = Mailboxes::new(10, 1 << 20);
        assert_eq!(mailboxes.push(channel(7), import(1)).ok(), Some(true));
        assert_eq!(mailboxes.push(channel(7), import(2)).ok(), Some(false));
        assert_eq!(mailboxes.push(channel(8), import(3)).ok(), Some(true), "another scope has its own");
        assert_eq!((mailboxes.waiting(channel(7)), mailboxes.all_idle()), (2, false));
        assert_eq!(rows(mailboxes.next(channel(7), 1)), [1, 2], "imports that wait go together");
        assert_eq!(mailboxes.push(channel(7), import(4)).ok(), Some(false), "the task still takes turns");
        assert_eq!(rows(mailboxes.next(channel(7), 1)), [4]);
        assert!(mailboxes.next(channel(7), 1).is_none());
        assert_eq!(mailboxes.push(channel(7), import(5)).ok(), Some(true), "it has ended");
        assert_eq!(
            (rows(mailboxes.next(channel(7), 1)), rows(mailboxes.next(channel(8), 1))),
            (vec![5], vec![3])
        );
        assert!(
            mailboxes.next(channel(7), 1).is_none()
                && mailboxes.next(channel(8), 1).is_none()
                && mailboxes.all_idle()
        );
    }

    #[test]
    fn a_queue_is_bounded_in_entries_and_bytes_and_takes_one_of_any_size() {
        let mailboxes = Mailboxes::new(2, 1_000);
        assert!(mailboxes.push(channel(7), import(100)).is_ok(), "an empty queue takes it");
        assert_eq!(mailboxes.push(channel(7), import(1)).err(), Some(Refused::Overloaded));
        assert!(mailboxes.next(channel(7), 1).is_some());
        assert!(
            mailboxes.push(channel(7), import(1)).is_ok() && mailboxes.push(channel(7), import(1)).is_ok()
        );
        assert_eq!(mailboxes.push(channel(7), import(1)).err(), Some(Refused::Overloaded), "two wait");
    }
}
