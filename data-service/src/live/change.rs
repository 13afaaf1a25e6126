//! What a commit does to the state in memory, in one step with the barrier (rule 6): whoever reads sees both or neither.

use std::sync::Arc;

use weir_protect::Change as Barrier;
use weir_proto::data::{GuildState, Message};

use super::{
    Live,
    scope::{Head, Scope, ScopeState, TailMessage},
};
use crate::{
    key::Key,
    seeded::{Seeded, armed},
};

/// What a commit changes of a scope beside its head.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Messages were appended, in the order of their ids; their nonces are remembered from this moment on, in microseconds since
    /// 1970-01-01T00:00Z.
    Appended(Vec<Message>, u64),
    /// A message is another.
    Edited(Box<Message>),
    /// Messages are gone.
    Removed(Vec<u64>),
    /// Rows were written anywhere below the tail: of what is remembered only the end holds.
    Imported,
    /// The guild is another; `None` if it is gone.
    Guild(Option<Arc<GuildState>>),
    /// Nothing that is in memory.
    Nothing,
}

/// When a commit's outcome became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// At once.
    InTime,
    /// After it was in doubt: the keys were marked so, and the tail is gone.
    Late,
}

impl ScopeState {
    fn apply(&mut self, effect: Effect, known: Known) {
        let tail = self.tail.as_mut().filter(|_| known == Known::InTime);
        match effect {
            Effect::Appended(rows, now_us) => {
                for row in &rows {
                    self.nonces.insert(row.author_id, &row.nonce, row.id, now_us);
                }
                let Some(tail) = tail else { return };
                let mut rows = rows.into_iter().map(|row| Arc::new(TailMessage(row)));
                if rows.any(|row| tail.append(row).is_err()) {
                    debug_assert!(false, "the turn minted an id at or below the tail's last");
                    self.tail = None;
                }
            }
            Effect::Edited(row) => {
                if let Some(tail) = tail {
                    tail.replace(Arc::new(TailMessage(*row)));
                }
            }
            Effect::Removed(ids) => {
                let Some(tail) = tail else { return };
                for id in ids {
                    tail.remove(id);
                }
            }
            Effect::Imported => self.tail = None,
            Effect::Guild(state) => self.guild = state,
            Effect::Nothing => {}
        }
    }
}

impl Live {
    /// The keys that a commit is about to change: a turn that panics may have committed, and then their reads are not shared any more.
    pub(crate) fn take_in_hand(&self, scope: &Scope, keys: impl Iterator<Item = Key>) {
        scope.lock().in_hand = keys.collect();
    }

    /// A commit is durable: its head, its effect, and the barrier of its keys.
    pub(crate) fn committed(
        &self,
        scope: &Scope,
        (head, effect): (Head, Effect),
        barriers: &[(Key, Barrier)],
        known: Known,
    ) {
        let mut state = scope.lock();
        state.changed();
        state.apply(effect, known);
        state.head = Some(head);
        state.unresolved = false;
        // Under the lock: a read that seeds the tail compares the version and sees either both or neither.
        match known {
            Known::Late if !armed(Seeded::DoubtLeavesMemoryOn) => self.resolve(barriers),
            Known::InTime | Known::Late if armed(Seeded::CommitDoesNotBump) => {}
            Known::InTime | Known::Late => self.raise(barriers),
        }
    }

    /// A commit did not happen. Every outcome raises the barrier (rule 6): what was read during the attempt is not shared.
    pub(crate) fn not_committed(&self, barriers: &[(Key, Barrier)]) {
        self.raise(barriers);
    }

    /// A commit's outcome is not known: until it is, nothing of its keys is served from memory or kept there.
    pub(crate) fn in_doubt(&self, scope: &Scope, barriers: &[(Key, Barrier)]) {
        {
            let mut state = scope.lock();
            state.unresolved = true;
            state.tail = None;
            state.changed();
        }
        for (key, _) in barriers {
            self.generations.mark_unresolved(key);
        }
    }

    /// A commit in doubt is another owner's to find: what is remembered is from before it.
    pub(crate) fn superseded(&self, scope: &Scope, barriers: &[(Key, Barrier)]) {
        let mut state = scope.lock();
        state.forget();
        state.unresolved = false;
        self.resolve(barriers);
    }

    /// Drops all that is remembered of a scope, so that the next turn reads it again. If its commit is in doubt its keys stay marked so:
    /// they are read from the database until the process ends, because nobody will find out what came of it.
    pub(crate) fn forget(&self, scope: &Scope) {
        let in_hand = {
            let mut state = scope.lock();
            state.forget();
            std::mem::take(&mut state.in_hand)
        };
        for key in in_hand.into_iter().chain(scope.kind.keys(scope.id)) {
            self.generations.bump(&key, Barrier::Both);
        }
    }

    fn raise(&self, barriers: &[(Key, Barrier)]) {
        for (key, change) in barriers {
            self.generations.bump(key, *change);
        }
    }

    fn resolve(&self, barriers: &[(Key, Barrier)]) {
        for (key, _) in barriers {
            self.generations.mark_resolved(key);
        }
    }
}
