//! A commit is sent until its outcome is known; then come barrier, acknowledgement and publication.
//!
//! The order of the last steps is the barrier (rule 6): first the database has the change, then the
//! generations rise and the tail changes in one step, then the caller is answered, then the records are
//! published. The tenure is checked again after the commit: a process that was paused must not acknowledge a
//! change that another owner may not know.

use std::time::Duration;

use tokio::time::sleep;
use weir_protect::Change as Barrier;
use weir_proto::id::ScopeId;
use weir_store::{Commit, Halt, RowChange, WriteError};

use super::{
    Sequencer,
    error::{ChangeError, Refused},
    in_doubt::Pauses,
};
use crate::{
    key::Key,
    live::{
        Effect, Known,
        scope::{Head, Scope},
    },
    outbox::{Pending, record::Announced},
    ownership::Tenure,
};

/// A fenced owner with a write in doubt checks this often whether it owns the scope again.
const OWNER_LOOK_EVERY: Duration = Duration::from_secs(2);
/// The activity note of a scope that writes is renewed after this, well below the hour by which the note
/// outlives the changes.
const NOTE_ACTIVE_EVERY_US: u64 = 60 * 1_000_000;

/// Begin of a turn: the right to change the scope, and its present head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) tenure: Tenure,
    pub(super) head: Head,
}

/// A commit that is ready to be sent.
pub(super) struct Prepared {
    pub(super) rows: Vec<RowChange>,
    pub(super) records: Vec<Announced>,
    pub(super) rows_are_outbox: bool,
    /// Head after the commit.
    pub(super) head: Head,
    /// Other changes of the scope's state in memory.
    pub(super) effect: Effect,
    /// Keys whose answers change, and how they change.
    pub(super) barriers: Vec<(Key, Barrier)>,
    pub(super) pending: Pending,
}

/// Outcome of one attempt to write.
pub(super) enum Sent {
    /// The write is durable.
    Committed,
    /// The write did not happen.
    NotCommitted(ChangeError),
    /// The outcome is not known yet; the database can still answer.
    InDoubt,
    /// The store is broken: this process will never know the outcome.
    Lost,
}

/// Final outcome of a write in doubt.
pub(super) enum Resolved {
    /// The write is durable.
    Committed,
    /// Another owner had the scope meanwhile: the database holds what that owner found there.
    Superseded,
    /// The store is broken: this process will never know the outcome.
    Lost,
}

impl Sequencer {
    /// Sends a commit until its outcome is known. `answer` is called once, as soon as the callers can be
    /// answered: if the outcome is in doubt, that is before this function returns.
    pub(super) async fn commit(
        &self,
        scope: &Scope,
        begun: Begun,
        prepared: Prepared,
        answer: impl FnOnce(Result<(), ChangeError>) + Send,
    ) {
        let Begun { tenure, head: before } = begun;
        let Prepared { rows, records, rows_are_outbox, head, effect, mut barriers, pending } = prepared;
        // After any change, a request for the scope's changes must not join an earlier read.
        barriers.push((Key::Changes(scope.id.id()), Barrier::Append));
        if let Err(error) = self.note_active(scope).await {
            return answer(Err(error));
        }
        self.live.take_in_hand(scope, barriers.iter().map(|(key, _)| *key));
        let outbox_rows = records.iter().map(|record| record.outbox.clone()).collect();
        let rev = head.last_rev;
        let commit = Commit { scope_id: scope.id, rev, rows, records: outbox_rows, rows_are_outbox };
        let sent = self.send(scope.id, self.store.commit(commit.clone())).await;
        let lost = matches!(sent, Sent::Lost);
        match sent {
            Sent::Committed => {
                self.live.committed(scope, (head, effect), &barriers, Known::InTime);
                if self.still(scope, tenure) {
                    answer(Ok(()));
                    self.publish(scope, before, pending, records).await;
                } else {
                    answer(Err(ChangeError::OutcomeUnknown));
                    self.disown(scope, before, pending);
                }
            }
            Sent::NotCommitted(error) => {
                self.live.not_committed(&barriers);
                drop(pending);
                answer(Err(error));
            }
            Sent::InDoubt | Sent::Lost => {
                self.in_doubt(scope, &barriers);
                answer(Err(ChangeError::OutcomeUnknown));
                let resolved = match lost {
                    true => Resolved::Lost,
                    false => self.resolve(scope.id, tenure, || self.store.commit(commit.clone())).await,
                };
                match resolved {
                    Resolved::Committed => {
                        self.live.committed(scope, (head, effect), &barriers, Known::Late);
                        if self.still(scope, tenure) {
                            self.publish(scope, before, pending, records).await;
                        } else {
                            self.disown(scope, before, pending);
                        }
                    }
                    Resolved::Superseded => {
                        self.live.superseded(scope, &barriers);
                        self.leave_to_database(scope, before, pending);
                    }
                    // The scope stays in doubt: until the process is replaced, nothing is served from memory
                    // and nothing is written.
                    Resolved::Lost => pending.leave(),
                }
            }
        }
    }

    /// True if the commit's tenure is still the present one, so that the change may be acknowledged.
    fn still(&self, scope: &Scope, tenure: Tenure) -> bool {
        self.ownership.still(Some(scope.id), tenure)
    }

    async fn publish(&self, scope: &Scope, before: Head, pending: Pending, records: Vec<Announced>) {
        self.outbox.publish(scope.id, before.last_rev, pending, records).await;
    }

    /// Another owner may have sealed the scope without seeing this commit, so the change is not acknowledged.
    /// If the commit is in the history, the new owner finds it there and publishes it.
    fn disown(&self, scope: &Scope, before: Head, pending: Pending) {
        scope.lock().forget();
        self.leave_to_database(scope, before, pending);
    }

    fn leave_to_database(&self, scope: &Scope, before: Head, pending: Pending) {
        self.outbox.leave_to_database(scope.id, before.last_rev, pending);
    }

    /// Marks a write as in doubt: until its outcome is known, its keys are neither served from memory nor
    /// cached.
    pub(super) fn in_doubt(&self, scope: &Scope, barriers: &[(Key, Barrier)]) {
        self.counters.in_doubt.inc();
        self.live.in_doubt(scope, barriers);
    }

    /// Sends a write for the first time and waits for its outcome.
    pub(super) async fn send(
        &self,
        scope_id: ScopeId,
        write: impl Future<Output = Result<(), WriteError>> + Send,
    ) -> Sent {
        self.counters.commits.inc();
        match write.await {
            Ok(()) => Sent::Committed,
            Err(WriteError::NotApplied { reason }) => Sent::NotCommitted(Refused::Database(reason).into()),
            Err(WriteError::Halted(halt)) => Sent::NotCommitted(Refused::Database(halt.to_string()).into()),
            Err(WriteError::Unknown { reason }) => {
                tracing::warn!(
                    scope = scope_id.get(),
                    reason,
                    "a commit's outcome is not known; sending it again"
                );
                Sent::InDoubt
            }
            Err(WriteError::Poisoned { reason }) => {
                tracing::error!(scope = scope_id.get(), reason, "the store is poisoned");
                Sent::Lost
            }
        }
    }

    /// Repeats a write in doubt with the same revisions until its outcome is known (rule 2).
    pub(super) async fn resolve<F: Future<Output = Result<(), WriteError>> + Send>(
        &self,
        scope_id: ScopeId,
        tenure: Tenure,
        write: impl Fn() -> F + Send,
    ) -> Resolved {
        let mut pauses = Pauses::new();
        loop {
            pauses.wait().await;
            // A fenced owner writes nothing, not even what it has sent before: its successor's history must
            // not change behind it. If it owns the scope again, and nobody else did in between, it first
            // finds out what came of the commit.
            let now = loop {
                match self.ownership.tenure(Some(scope_id)) {
                    Ok(now) => break now,
                    Err(_) => sleep(OWNER_LOOK_EVERY).await,
                }
            };
            if now.reign != tenure.reign {
                return Resolved::Superseded;
            }
            match write().await {
                Ok(()) => return Resolved::Committed,
                Err(WriteError::Poisoned { reason } | WriteError::Halted(Halt::Lost { reason })) => {
                    tracing::error!(reason, "the store is poisoned");
                    return Resolved::Lost;
                }
                // For a write in doubt, "not applied" concerns only this attempt: the first one may still
                // have happened.
                Err(WriteError::Unknown { .. } | WriteError::NotApplied { .. } | WriteError::Halted(_)) => {}
            }
        }
    }

    /// Notes that the scope writes, so that a successor publishes the records that this process leaves
    /// unpublished.
    async fn note_active(&self, scope: &Scope) -> Result<(), ChangeError> {
        if self.outbox.committed_with_store() {
            return Ok(());
        }
        let now_us = self.clock.wall_us();
        if scope.lock().noted_at_us + NOTE_ACTIVE_EVERY_US > now_us {
            return Ok(());
        }
        let noted = self.store.note_active(scope.id).await;
        noted.map_err(|error| Refused::Database(error.to_string()))?;
        scope.lock().noted_at_us = now_us;
        Ok(())
    }
}
