//! A commit changes the state in memory in one step with the barrier (rule 6): a reader sees both or neither.

use std::sync::Arc;

use weir_protect::Change as Barrier;
use weir_proto::{
    data::{GuildState, Message},
    id::MessageId,
};

use super::{
    Live,
    scope::{Head, Scope, ScopeState, TailMessage, keys_of},
};
use crate::key::Key;

/// Changes that a commit makes to a scope beside its head.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Messages were appended, in the order of their ids; their nonces are remembered from this time on, in
    /// microseconds since 1970-01-01T00:00Z.
    Appended(Vec<Message>, u64),
    /// A message was edited.
    Edited(Box<Message>),
    /// Messages were removed.
    Removed(Vec<MessageId>),
    /// Rows were written anywhere in the history: the tail is dropped.
    Imported,
    /// The guild changed; `None` if it was deleted.
    Guild(Option<Arc<GuildState>>),
    /// Nothing in memory changed.
    Nothing,
}

/// The time at which a commit's outcome became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The outcome was known at once.
    InTime,
    /// The commit was in doubt first: its keys were marked so, and the tail was dropped.
    Late,
}

impl ScopeState {
    fn apply(&mut self, effect: Effect, known: Known) {
        let tail = self.tail.as_mut().filter(|_| known == Known::InTime);
        match effect {
            Effect::Appended(rows, now_us) => {
                for row in &rows {
                    self.nonces.insert_row(row, now_us);
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
                    tail.remove(id.get());
                }
            }
            Effect::Imported => self.tail = None,
            Effect::Guild(state) => self.guild = state,
            Effect::Nothing => {}
        }
    }
}

impl Live {
    /// Stores the keys that a commit is about to change: if the turn panics it may have committed, and reads
    /// of these keys are no longer shared.
    pub(crate) fn take_in_hand(&self, scope: &Scope, keys: impl Iterator<Item = Key>) {
        scope.lock().in_hand = keys.collect();
    }

    /// Applies a durable commit: its head, its effect, and the barrier of its keys.
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
        // This happens under the lock: a read that seeds the tail compares the version and so sees both or
        // neither.
        match known {
            Known::Late => self.resolve(barriers),
            Known::InTime => self.raise(barriers),
        }
    }

    /// Ends a commit that did not happen. Every outcome raises the barrier (rule 6): reads made during the
    /// attempt are not shared.
    pub(crate) fn not_committed(&self, barriers: &[(Key, Barrier)]) {
        self.raise(barriers);
    }

    /// Marks a commit as in doubt: until its outcome is known, its keys are neither served from memory nor
    /// cached.
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

    /// Ends a commit in doubt whose outcome another owner will find: the state in memory predates the commit.
    pub(crate) fn superseded(&self, scope: &Scope, barriers: &[(Key, Barrier)]) {
        let mut state = scope.lock();
        state.forget();
        state.unresolved = false;
        self.resolve(barriers);
    }

    /// Drops a scope's state, so that the next turn reads it again. If its commit is in doubt, its keys stay
    /// marked: they are read from the database until the process ends, because nobody will find out the
    /// outcome.
    pub(crate) fn forget(&self, scope: &Scope) {
        let in_hand = {
            let mut state = scope.lock();
            state.forget();
            std::mem::take(&mut state.in_hand)
        };
        for key in in_hand.into_iter().chain(keys_of(scope.id)) {
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
