//! The state of one scope: a channel, a guild or a user.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use weir_protect::tail::{Tail, TailQuery, TailRow};
use weir_proto::{
    bucket::Bucket,
    data::{GuildState, Message},
    id::{MessageId, ScopeId},
};

use super::{
    nonce::Nonces,
    page::EncodedPage,
    weight::{guild_bytes, message_bytes},
};
use crate::key::Key;

/// Encoded pages kept for a tail: the default page, and a few others that clients request.
const ENCODED_MAX: usize = 8;

/// Keys that depend on a scope as a whole.
pub(crate) fn keys_of(scope: ScopeId) -> [Key; 2] {
    match scope {
        ScopeId::Channel(id) => [Key::Buckets(id), Key::Channel(id)],
        ScopeId::Guild(id) => [Key::Guild(id), Key::Members(id)],
        ScopeId::User(id) => [Key::User(id), Key::UserGuilds(id)],
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
        message_bytes(&self.0)
    }
}

/// The head of a scope: its last revision and ids, known once they were read under a tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The tenure's `epoch` under which the head was read: under another one it is invalid.
    pub(crate) epoch: u64,
    /// Revision of the scope's last change.
    pub(crate) last_rev: u64,
    /// Revision of the last change that made a record; the next record has it as `prev_rev`. Imported rows
    /// have revisions and make no records, so it may lie below `last_rev`.
    pub(crate) recorded_rev: u64,
    /// Greatest message id of the channel; `None` for a guild or an empty channel.
    pub(crate) last_message_id: Option<MessageId>,
    /// Newest bucket known to be in the index.
    pub(crate) bucket: Option<Bucket>,
}

/// One channel, guild or user in memory.
pub struct Scope {
    /// Its id. In a user's scope its direct messages with users of greater ids are opened.
    pub id: ScopeId,
    state: Mutex<ScopeState>,
}

/// State of a scope. Every field is written under its lock, and only in the scope's turn or where a method
/// says so.
pub(crate) struct ScopeState {
    /// Tasks that take turns of this scope: at most one takes them, and another may be about to end.
    in_turn: u32,
    /// Rises with every outcome and every seed. It is unique over the life of the table, so a scope that was
    /// evicted and loaded again never repeats one. A read may seed the tail only if the version did not
    /// change meanwhile.
    pub(crate) version: u64,
    versions: Versions,
    pub(crate) head: Option<Head>,
    /// This process never again mints a revision at or below it, whatever it forgets of the scope and however
    /// the clock steps. It goes with the scope when that leaves the table.
    pub(crate) rev_floor: u64,
    pub(crate) nonces: Nonces,
    pub(crate) tail: Option<Tail<TailMessage>>,
    /// The tenure's `epoch` under which the tail was read: under another one it is invalid.
    pub(crate) tail_epoch: u64,
    /// A reader wanted the newest messages when there was no tail, so the next turn reads it. A channel that
    /// is never idle has no other moment for it.
    pub(crate) tail_missed: bool,
    /// Encoded replies of the present tail; emptied by every change.
    encoded: Vec<(TailQuery, EncodedPage)>,
    /// A commit is in doubt: nothing is written or cached until its outcome is known.
    pub(crate) unresolved: bool,
    /// Keys that the last commit changes: a turn that panics may have committed, so their reads must not be
    /// shared.
    pub(crate) in_hand: Vec<Key>,
    /// For guild scopes, the guild as of `head`.
    pub(crate) guild: Option<Arc<GuildState>>,
    /// The last bucket that an import wrote into the channel's index: the index never loses buckets.
    pub(crate) imported_bucket: Option<Bucket>,
    /// When the scope was last noted active in the store, microseconds since 1970-01-01T00:00Z.
    pub(crate) noted_at_us: u64,
}

/// Version numbers for states of scopes, each used once; shared by all scopes of a table. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Arc<AtomicU64>);

impl Versions {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Scope {
    pub(crate) fn new(id: ScopeId, versions: Versions) -> Self {
        let state = ScopeState {
            in_turn: 0,
            version: versions.next(),
            versions,
            head: None,
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
        Self { id, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ScopeState> {
        // The state is consistent between statements, also after a panic; a turn that panics forgets the
        // scope anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks that a task takes turns of this scope until the guard is dropped; meanwhile no read seeds the
    /// tail.
    pub(crate) fn begin_turns(self: &Arc<Self>) -> InTurn {
        self.lock().in_turn += 1;
        InTurn(Arc::clone(self))
    }
}

/// Guard of a task that takes turns of a scope.
pub(crate) struct InTurn(Arc<Scope>);

impl Drop for InTurn {
    fn drop(&mut self) {
        self.0.lock().in_turn -= 1;
    }
}

impl ScopeState {
    /// Notes a possible change: encoded replies are dropped, and no read in flight may seed the tail.
    pub(crate) fn changed(&mut self) {
        self.version = self.versions.next();
        self.encoded.clear();
    }

    /// Drops the scope's content.
    pub(crate) fn forget(&mut self) {
        self.changed();
        if let Some(head) = self.head.take() {
            self.rev_floor = self.rev_floor.max(head.last_rev);
        }
        self.nonces.clear();
        self.tail = None;
        self.guild = None;
    }

    /// Drops what was read under a tenure with another `epoch`, unless a turn is under way. True if there was
    /// any.
    pub(crate) fn forget_other_than(&mut self, epoch: Option<u64>) -> bool {
        let remembered =
            self.head.map(|head| head.epoch).or_else(|| self.tail.is_some().then_some(self.tail_epoch));
        let ended = self.in_turn == 0 && remembered.is_some() && remembered != epoch;
        if ended {
            self.forget();
        }
        ended
    }

    /// True if no turn is under way and no commit is in doubt, so that the scope may leave memory.
    pub(crate) fn idle(&self) -> bool {
        self.in_turn == 0 && !self.unresolved
    }

    /// Installs a tail that was read outside the turn, unless something changed since `version` or is
    /// changing.
    pub(crate) fn seed(&mut self, version: u64, epoch: u64, tail: Tail<TailMessage>) -> bool {
        let unchanged = self.version == version && self.idle();
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

    /// The tail, if it is certain under the tenure with this `epoch`.
    pub(crate) fn tail_under(&self, epoch: u64) -> Option<&Tail<TailMessage>> {
        self.tail.as_ref().filter(|_| self.tail_epoch == epoch && !self.unresolved)
    }

    /// The encoded reply for a query, if one was kept since the last change.
    pub(crate) fn encoded(&self, query: TailQuery) -> Option<EncodedPage> {
        let found = self.encoded.iter().find(|(kept, _)| *kept == query);
        found.map(|(_, bytes)| bytes.clone())
    }

    /// Keeps an encoded reply that was made from the tail at `version`.
    pub(crate) fn keep_encoded(&mut self, version: u64, query: TailQuery, page: EncodedPage) {
        if self.version != version || self.tail.is_none() {
            return;
        }
        if self.encoded.len() >= ENCODED_MAX {
            self.encoded.remove(0);
        }
        self.encoded.push((query, page));
    }

    /// Bytes of the scope's content: the tail and its encoded replies, nonces, and the guild.
    pub(crate) fn bytes(&self) -> usize {
        let tail = self.tail.as_ref().map_or(0, Tail::bytes);
        let encoded = self.encoded.iter().map(|(_, page)| page.bytes.len()).sum::<usize>();
        tail + encoded + self.nonces.bytes() + self.guild.as_deref().map_or(0, guild_bytes)
    }

    /// True if the scope has no content, so that it may be evicted as if it had never been loaded.
    pub(crate) fn is_blank(&self) -> bool {
        self.idle() && self.head.is_none() && self.tail.is_none() && self.rev_floor == 0
    }

    /// Rows of the tail.
    pub(crate) fn tail_rows(&self) -> usize {
        self.tail.as_ref().map_or(0, Tail::len)
    }
}

#[cfg(test)]
mod tests {
    use weir_protect::tail::TailBounds;
    use weir_proto::id::ChannelId;

    use super::*;

    fn head(epoch: u64) -> Head {
        let last_message_id = MessageId::try_from(5).ok();
        Head { epoch, last_rev: 9, recorded_rev: 9, last_message_id, bucket: None }
    }

    fn channel() -> Arc<Scope> {
        let id = ChannelId::try_from(7).expect("not 0");
        Arc::new(Scope::new(ScopeId::Channel(id), Versions::default()))
    }

    #[test]
    fn what_another_tenure_left_is_dropped_but_for_a_turn_under_way() {
        let scope = channel();
        assert!(!scope.lock().forget_other_than(Some(1)), "nothing is remembered");
        scope.lock().head = Some(head(1));
        scope.lock().put_tail(1, Tail::new(TailBounds { rows_max: 1, bytes_max: 1 }));
        assert!(!scope.lock().forget_other_than(Some(1)), "of this tenure");
        let turns = scope.begin_turns();
        assert!(!scope.lock().forget_other_than(Some(2)), "its turn needs it");
        drop(turns);
        assert!(scope.lock().forget_other_than(None), "owned by nobody here");
        let state = scope.lock();
        assert!(state.head.is_none() && state.tail.is_none());
        assert_eq!(state.rev_floor, 9, "no revision is minted twice");
    }

    #[test]
    fn no_read_seeds_the_tail_while_a_task_takes_turns() {
        let scope = channel();
        let version = scope.lock().version;
        let tail = || Tail::new(TailBounds { rows_max: 1, bytes_max: 1 });
        let (first, second) = (scope.begin_turns(), scope.begin_turns());
        drop(first);
        assert!(!scope.lock().seed(version, 1, tail()), "one has begun before the other ended");
        drop(second);
        assert!(scope.lock().seed(version, 1, tail()));
    }
}
