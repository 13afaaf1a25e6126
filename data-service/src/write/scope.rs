//! The state of one scope, and its queue.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use weir_protect::tail::{Tail, TailQuery, TailRow};
use weir_proto::{
    bucket::Bucket,
    data::{GuildState, Message},
};

use super::{
    SequencerConfig,
    nonce::Nonces,
    op::{CreateOp, ImportOp, Op, Refused, message_bytes},
};
use crate::{
    key::Key,
    read::query::{guild_bytes, held_bytes},
    seeded::{Seeded, armed},
};

/// Bytes of creates in one batch: the bound of `batch_size_fail_threshold` in common CQL deployments is 50 KiB for logged multi-partition
/// batches; single-partition batches of 64 KiB stay far below a commit log segment.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 10;
/// Imported rows written in one step: half of what an import has under way at once, so that one half gathers while the other is synced.
const IMPORT_ROWS_MAX: usize = 8_000;
/// Encoded pages kept for a tail: the default page, and a few others that clients ask for.
const ENCODED_MAX: usize = 8;

/// What a scope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// A channel's messages.
    Channel,
    /// A guild with its channels, roles and members.
    Guild,
    /// A user, in whose turn its direct messages with users of greater ids are opened.
    User,
}

impl ScopeKind {
    /// Keys that depend on the scope as a whole.
    pub(crate) fn keys(self, id: u64) -> [Key; 2] {
        match self {
            Self::Channel => [Key::Buckets(id), Key::Channel(id)],
            Self::Guild => [Key::Guild(id), Key::Members(id)],
            Self::User => [Key::User(id), Key::UserGuilds(id)],
        }
    }
}

/// A row of the tail.
#[derive(Debug, Clone)]
pub struct TailMessage(pub Message);

impl TailRow for TailMessage {
    fn position(&self) -> u64 {
        self.0.id
    }

    fn weight(&self) -> usize {
        held_bytes(&self.0)
    }
}

/// Where a scope stands: known once its tail was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The tenure under which it was read: under another it counts for nothing.
    pub(crate) epoch: u64,
    /// Revision of the scope's last change.
    pub(crate) last_rev: u64,
    /// Revision of the last change that made a record: what the next record names as the one before it. Rows that were imported have
    /// revisions and make no records, so it may lie below `last_rev`.
    pub(crate) told_rev: u64,
    /// Greatest message id of the channel; 0 for a guild or an empty channel.
    pub(crate) last_message_id: u64,
    /// Newest bucket known to be in the index.
    pub(crate) bucket: Option<Bucket>,
}

/// One channel, guild or user in memory.
pub struct Scope {
    /// Its id.
    pub id: u64,
    /// Which of the three.
    pub kind: ScopeKind,
    state: Mutex<ScopeState>,
}

/// State of a scope; every field is written under its lock, and all but the queue only in the scope's turn or where a method says so.
pub(crate) struct ScopeState {
    queue: VecDeque<Op>,
    queue_bytes: usize,
    /// A task takes turns. Exactly one does at a time: it is set with the push that starts it and cleared when it finds the queue empty.
    running: bool,
    /// Rises with every outcome and every seed; unique over the life of the table, so that a forgotten and returned scope never
    /// repeats one. A read may seed the tail only if it did not change meanwhile.
    pub(crate) version: u64,
    versions: Versions,
    pub(crate) standing: Option<Standing>,
    /// No revision at or below it is minted again by this process, whatever is forgotten and however the clock steps.
    pub(crate) rev_floor: u64,
    pub(crate) nonces: Nonces,
    pub(crate) tail: Option<Tail<TailMessage>>,
    /// The tenure under which the tail was read: under another it counts for nothing.
    pub(crate) tail_epoch: u64,
    /// A reader wanted the newest messages from the tail when there was none: the next turn reads it. A channel that is never idle has
    /// no other moment for it.
    pub(crate) tail_missed: bool,
    /// Encoded replies of the tail as it is now; emptied by every change.
    encoded: Vec<(TailQuery, Bytes)>,
    /// A commit's outcome is not known: nothing is written or cached until it is.
    pub(crate) unresolved: bool,
    /// Keys that the last commit changes: a turn that panics may have committed, and its reads must not be shared either.
    pub(crate) in_hand: Vec<Key>,
    /// The guild as of `standing`, for guild scopes.
    pub(crate) guild: Option<Arc<GuildState>>,
    /// The last bucket that an import wrote into the channel's index: buckets are never taken out of it.
    pub(crate) imported_bucket: Option<Bucket>,
    /// When the scope was last noted active in the store, microseconds since 1970-01-01T00:00Z.
    pub(crate) noted_at_us: u64,
}

/// What one turn works on.
pub(crate) enum Work {
    /// Creates that go into one batch, oldest first.
    Creates(Vec<CreateOp>),
    /// Imports that are written in one step, oldest first.
    Imports(Vec<ImportOp>),
    /// Any other single entry.
    One(Op),
}

/// Numbers for states of scopes, each given once; shared by all scopes of a table. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Arc<AtomicU64>);

impl Versions {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Scope {
    pub(crate) fn new(id: u64, kind: ScopeKind, versions: Versions) -> Self {
        let state = ScopeState {
            queue: VecDeque::new(),
            queue_bytes: 0,
            running: false,
            version: versions.next(),
            versions,
            standing: None,
            rev_floor: 0,
            nonces: Nonces::default(),
            tail: None,
            tail_epoch: 0,
            tail_missed: false,
            encoded: Vec::new(),
            unresolved: false,
            in_hand: Vec::new(),
            guild: None,
            imported_bucket: None,
            noted_at_us: 0,
        };
        Self { id, kind, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ScopeState> {
        // A panic under the lock leaves the state whole between statements; the turn's own panics forget the scope anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry into the queue. True if the caller must start the task that takes turns.
    pub(crate) fn push(&self, op: Op, config: &SequencerConfig) -> Result<bool, Refused> {
        let bytes = op.bytes();
        let mut state = self.lock();
        let full =
            state.queue.len() >= config.queue_max || state.queue_bytes + bytes > config.queue_bytes_max;
        // An entry larger than the bound is still let into an empty queue: single requests have their own bound.
        if full && !state.queue.is_empty() {
            return Err(Refused::Overloaded);
        }
        state.queue_bytes += bytes;
        state.queue.push_back(op);
        Ok(!std::mem::replace(&mut state.running, true))
    }

    /// The next turn's work, of creates at most so many; `None` (and no longer running) if there is none.
    pub(crate) fn next_work(&self, batch_rows_max: usize) -> Option<Work> {
        let mut state = self.lock();
        let Some(first) = state.queue.pop_front() else {
            state.running = false;
            return None;
        };
        state.queue_bytes -= first.bytes();
        let first = match first {
            Op::Create(first) => first,
            Op::Import(first) => return Some(Work::Imports(state.imports(first))),
            other => return Some(Work::One(other)),
        };
        let mut bytes = message_bytes(&first.message);
        let mut creates = vec![*first];
        while creates.len() < batch_rows_max {
            let Some(Op::Create(next)) = state.queue.front() else { break };
            bytes += message_bytes(&next.message);
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            let Some(Op::Create(next)) = state.queue.pop_front() else { break };
            state.queue_bytes -= message_bytes(&next.message);
            creates.push(*next);
        }
        Some(Work::Creates(creates))
    }

    /// Puts creates that belong to a later commit back to the front.
    pub(crate) fn put_back(&self, creates: Vec<CreateOp>) {
        let mut state = self.lock();
        for create in creates.into_iter().rev() {
            state.queue_bytes += message_bytes(&create.message);
            state.queue.push_front(Op::Create(Box::new(create)));
        }
    }

    /// Entries that wait.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queue.len()
    }
}

impl ScopeState {
    /// An import and those that wait right behind it.
    fn imports(&mut self, first: ImportOp) -> Vec<ImportOp> {
        let mut rows = first.messages.len();
        let mut imports = vec![first];
        while let Some(Op::Import(next)) = self.queue.front() {
            rows += next.messages.len();
            if rows > IMPORT_ROWS_MAX {
                break;
            }
            let Some(Op::Import(next)) = self.queue.pop_front() else { break };
            self.queue_bytes -= next.bytes();
            imports.push(next);
        }
        imports
    }

    /// Notes that something changed, or may have: encoded replies go, and no read in flight may seed the tail.
    pub(crate) fn changed(&mut self) {
        self.version = self.versions.next();
        self.encoded.clear();
    }

    /// Drops all that is remembered but the queue.
    pub(crate) fn forget(&mut self) {
        self.changed();
        if let Some(standing) = self.standing.take() {
            self.rev_floor = self.rev_floor.max(standing.last_rev);
        }
        self.nonces.clear();
        self.tail = None;
        self.guild = None;
    }

    /// True if nothing waits or runs, so that the scope may leave memory.
    pub(crate) fn idle(&self) -> bool {
        !self.running && self.queue.is_empty() && !self.unresolved
    }

    /// Installs a tail read outside the turn, if nothing changed or is changing since `version`.
    pub(crate) fn seed(&mut self, version: u64, epoch: u64, tail: Tail<TailMessage>) -> bool {
        let unchanged = (self.version == version && !self.running && !self.unresolved)
            || armed(Seeded::SeedIgnoresVersion);
        if unchanged && self.tail_under(epoch).is_none() {
            self.put_tail(epoch, tail);
        }
        unchanged
    }

    /// Installs a tail read under a tenure.
    pub(crate) fn put_tail(&mut self, epoch: u64, tail: Tail<TailMessage>) {
        self.tail = Some(tail);
        self.tail_epoch = epoch;
        self.tail_missed = false;
        self.encoded.clear();
    }

    /// The tail, if it is certain under a tenure.
    pub(crate) fn tail_under(&self, epoch: u64) -> Option<&Tail<TailMessage>> {
        let of_now = self.tail_epoch == epoch || armed(Seeded::MemoryOutlivesTenure);
        self.tail.as_ref().filter(|_| of_now && !self.unresolved)
    }

    /// The encoded reply for a query, if it was kept since the last change.
    pub(crate) fn encoded(&self, query: TailQuery) -> Option<Bytes> {
        let found = self.encoded.iter().find(|(kept, _)| *kept == query);
        found.map(|(_, bytes)| bytes.clone())
    }

    /// Keeps an encoded reply that was made from the tail at `version`.
    pub(crate) fn keep_encoded(&mut self, version: u64, query: TailQuery, bytes: Bytes) {
        if self.version != version || self.tail.is_none() {
            return;
        }
        if self.encoded.len() >= ENCODED_MAX {
            self.encoded.remove(0);
        }
        self.encoded.push((query, bytes));
    }

    /// Bytes of all that is remembered: the tail and its encoded replies, nonces, and the guild.
    pub(crate) fn bytes(&self) -> usize {
        let tail = self.tail.as_ref().map_or(0, Tail::bytes);
        let encoded = self.encoded.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        tail + encoded + self.nonces.bytes() + self.guild.as_deref().map_or(0, guild_bytes)
    }

    /// True if nothing is remembered, so that the scope may be forgotten as if it had never been asked for.
    pub(crate) fn is_blank(&self) -> bool {
        self.idle() && self.standing.is_none() && self.tail.is_none() && self.rev_floor == 0
    }

    /// Rows of the tail.
    pub(crate) fn tail_rows(&self) -> usize {
        self.tail.as_ref().map_or(0, Tail::len)
    }
}
