//! A commit: sent until its outcome is known, then barrier, acknowledgement, publication.
//!
//! The order of the last steps is the barrier (rule 6): the database has it, then the generations rise and the tail changes in one step,
//! then the caller is told, then the world. The tenure is checked again after the commit: a process that was paused tells nobody of a
//! change that another owner may not know.

use std::time::Duration;

use tokio::time::sleep;
use weir_protect::Change as Barrier;
use weir_store::{Commit, Halt, RowChange, WriteError};

use super::{
    Sequencer,
    op::{ChangeError, Refused},
    record::Announced,
    scope::{Scope, ScopeKind},
};
use crate::{
    key::Key,
    outbox::Pending,
    ownership::Tenure,
    seeded::{Seeded, armed},
    write::in_doubt::Pauses,
};

/// How often a fenced owner that has a write in doubt looks whether it owns again.
const OWNER_LOOK_EVERY: Duration = Duration::from_secs(2);
/// A scope that writes is noted active again after this, well below the hour that the note outlives the changes.
const NOTE_ACTIVE_EVERY_US: u64 = 60 * 1_000_000;

/// A commit that is ready to be sent.
pub(super) struct Prepared {
    pub(super) rows: Vec<RowChange>,
    pub(super) records: Vec<Announced>,
    pub(super) rows_are_outbox: bool,
    pub(super) prev_rev: u64,
    pub(super) last_rev: u64,
    /// Keys whose answers change, and how.
    pub(super) bumps: Vec<(Key, Barrier)>,
}

/// How a write ended that was sent until its outcome is known.
pub(super) enum Committed {
    /// It is durable.
    Yes,
    /// It did not happen.
    No(ChangeError),
    /// It was in doubt; the callers were told, and now it is durable.
    Late,
    /// It was in doubt, and another owner had the scope meanwhile: what is in the database is what that owner found there.
    Superseded,
    /// The store is broken: nobody will ever know here.
    Never,
}

impl Sequencer {
    /// Sends a commit until its outcome is known. `settle` answers the callers, once or twice (first "not known", then nothing more);
    /// `apply` changes the state in the same step as the barrier, told whether the tail may be changed too.
    pub(super) async fn commit(
        &self,
        scope: &Scope,
        prepared: Prepared,
        pending: Pending,
        tenure: Tenure,
        mut settle: impl FnMut(Result<(), ChangeError>),
        mut apply: impl FnMut(&mut super::scope::ScopeState, bool),
    ) {
        let Prepared { rows, records, rows_are_outbox, prev_rev, last_rev, bumps } = prepared;
        if let Err(error) = self.note_active(scope).await {
            settle(Err(error));
            return;
        }
        scope.lock().in_hand = bumps.iter().map(|(key, _)| *key).collect();
        let outbox_rows = records.iter().map(|record| record.outbox.clone()).collect();
        let commit =
            Commit { scope_id: scope.id, rev: last_rev, rows, records: outbox_rows, rows_are_outbox };
        let in_doubt = || {
            if !armed(Seeded::DoubtLeavesMemoryOn) {
                self.doubt(scope, bumps.iter().map(|(key, _)| key));
            }
            settle(Err(ChangeError::OutcomeUnknown));
        };
        let committed = self.send(scope.id, tenure, in_doubt, || self.store.commit(commit.clone())).await;
        let resolved_late = match committed {
            Committed::Yes => false,
            Committed::Late => true,
            Committed::No(error) => {
                // Every outcome bumps (rule 6): whoever read during the attempt does not share.
                for (key, change) in &bumps {
                    self.generations.bump(key, *change);
                }
                drop(pending);
                settle(Err(error));
                return;
            }
            Committed::Superseded => {
                {
                    let mut state = scope.lock();
                    state.forget();
                    state.unresolved = false;
                    for (key, _) in &bumps {
                        self.generations.mark_resolved(key);
                    }
                }
                let is_channel = scope.kind == ScopeKind::Channel;
                self.outbox.leave_to_database(scope.id, is_channel, prev_rev, pending);
                return;
            }
            // The scope stays unresolved: nothing is served from memory and nothing written until the process is replaced.
            Committed::Never => {
                pending.leave();
                return;
            }
        };
        {
            let mut state = scope.lock();
            state.changed();
            apply(&mut state, !resolved_late);
            state.unresolved = false;
            // Under the lock: a read that seeds the tail compares the version and sees either both or neither.
            for (key, change) in &bumps {
                if armed(Seeded::CommitDoesNotBump) {
                    continue;
                }
                if resolved_late && !armed(Seeded::DoubtLeavesMemoryOn) {
                    self.generations.mark_resolved(key);
                } else {
                    self.generations.bump(key, *change);
                }
            }
        }
        let still = self.ownership.still(scope.id, tenure) || armed(Seeded::AcknowledgesWithoutTenure);
        if !still {
            // Another owner may have sealed the channel without this commit in sight: nobody is told that it holds. It will be found in the
            // history if it is there, and published from there by its owner.
            scope.lock().forget();
            settle(Err(ChangeError::OutcomeUnknown));
            self.outbox.leave_to_database(scope.id, scope.kind == ScopeKind::Channel, prev_rev, pending);
            return;
        }
        if !resolved_late {
            settle(Ok(()));
        }
        let is_channel = scope.kind == ScopeKind::Channel;
        self.outbox.publish(scope.id, is_channel, prev_rev, pending, records).await;
    }

    /// A write's outcome is not known: until it is, nothing of its keys is served from memory or kept there.
    pub(super) fn doubt<'a>(&self, scope: &Scope, keys: impl IntoIterator<Item = &'a Key>) {
        self.counters.in_doubt.inc();
        {
            let mut state = scope.lock();
            state.unresolved = true;
            state.tail = None;
            state.changed();
        }
        for key in keys {
            self.generations.mark_unresolved(key);
        }
    }

    /// Sends a write of a scope; repeats it with the same revisions while its outcome is not known (rule 2). `in_doubt` is called before the
    /// first repetition.
    pub(super) async fn send<F: Future<Output = Result<(), WriteError>>>(
        &self,
        scope_id: u64,
        tenure: Tenure,
        in_doubt: impl FnOnce(),
        write: impl Fn() -> F,
    ) -> Committed {
        self.counters.commits.inc();
        let mut pauses = Pauses::new();
        let mut doubt = Some(in_doubt);
        loop {
            match write().await {
                Ok(()) if doubt.is_none() => return Committed::Late,
                Ok(()) => return Committed::Yes,
                Err(WriteError::NotApplied { reason }) if doubt.is_some() => {
                    return Committed::No(Refused::Database(reason).into());
                }
                Err(WriteError::Halted(halt)) if doubt.is_some() => {
                    return Committed::No(Refused::Database(halt.to_string()).into());
                }
                // In doubt, and the store that knows what came of it is lost.
                Err(WriteError::Poisoned { reason } | WriteError::Halted(Halt::Lost { reason })) => {
                    tracing::error!(reason, "the store is poisoned");
                    if let Some(tell) = doubt.take() {
                        tell();
                    }
                    return Committed::Never;
                }
                // After a doubt, "not applied" speaks of this attempt only: the first may still have happened.
                Err(
                    error @ (WriteError::Unknown { .. }
                    | WriteError::NotApplied { .. }
                    | WriteError::Halted(_)),
                ) => {
                    if let Some(tell) = doubt.take() {
                        tracing::warn!(
                            scope = scope_id,
                            %error,
                            "a commit's outcome is not known; sending it again"
                        );
                        tell();
                    }
                    pauses.wait().await;
                    // A fenced owner writes nothing, not even what it has sent before: its successor's history must not change behind it.
                    // Once it owns again, and nobody else did in between, it finds out what came of the commit before it does anything else.
                    let now = loop {
                        match self.ownership.tenure(scope_id) {
                            Ok(now) => break now,
                            Err(_) if armed(Seeded::ResendsWithoutTenure) => break tenure,
                            Err(_) => sleep(OWNER_LOOK_EVERY).await,
                        }
                    };
                    if now.reign != tenure.reign && !armed(Seeded::ReignIgnored) {
                        return Committed::Superseded;
                    }
                }
            }
        }
    }

    /// Notes that the scope writes, so that a successor publishes what this process leaves unpublished.
    async fn note_active(&self, scope: &Scope) -> Result<(), ChangeError> {
        if self.outbox.committed_with_store() {
            return Ok(());
        }
        let now_us = self.clock.wall_us();
        if scope.lock().noted_at_us + NOTE_ACTIVE_EVERY_US > now_us {
            return Ok(());
        }
        let noted = self.store.note_active(scope.id, scope.kind == ScopeKind::Channel).await;
        noted.map_err(|error| Refused::Database(error.to_string()))?;
        scope.lock().noted_at_us = now_us;
        Ok(())
    }
}
