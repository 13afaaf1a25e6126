//! Writes rows that pass no turn (users and tokens), with their barrier.
//!
//! Both run in a task of their own, so a caller that leaves skips neither. A write in doubt is sent again
//! with the same revision until its outcome is known (rule 2); until then its keys are neither served from
//! memory nor cached.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use weir_protect::{Change, Generations};
use weir_store::{Halt, RowChange, WriteError};

use super::{
    Sequencer,
    error::{ChangeError, Refused},
    in_doubt::Pauses,
};
use crate::{key::Key, ownership::Tenure};

/// Writer of rows that pass no turn.
#[derive(Debug, Clone)]
pub(crate) struct RowWriter {
    /// One permit for each write whose outcome is not known, so that a hanging database cannot make tasks
    /// pile up.
    free: Arc<Semaphore>,
}

/// One write and what it needs.
struct Write {
    rows: Vec<RowChange>,
    rev: u64,
    barrier: Barrier,
    tenure: Tenure,
    /// Held until the outcome is known.
    _permit: OwnedSemaphorePermit,
}

impl RowWriter {
    /// Allows at most `writes_max` writes under way or in doubt at once; more are refused.
    pub(crate) fn new(writes_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(writes_max)) }
    }

    /// Writes rows with one revision; `touched` are the keys whose answers change.
    ///
    /// # Errors
    /// [`ChangeError`]. After [`ChangeError::OutcomeUnknown`] the write goes on.
    ///
    /// The write runs in a task of its own: a caller that leaves neither stops it nor skips a step. The task
    /// ends when the outcome is known, when another owner came in between, or with the service.
    pub(crate) async fn write(
        &self,
        sequencer: &Arc<Sequencer>,
        tenure: Tenure,
        rows: Vec<RowChange>,
        rev: u64,
        touched: Vec<Key>,
    ) -> Result<(), ChangeError> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| Refused::Overloaded)?;
        let barrier = Barrier::new(Arc::clone(&sequencer.generations), touched);
        let write = Write { rows, rev, barrier, tenure, _permit: permit };
        let (answer, answered) = oneshot::channel();
        sequencer.home.spawn(run(Arc::clone(sequencer), write, answer));
        // Only a task that panicked drops the sender: it is not known what it had done by then.
        answered.await.unwrap_or(Err(ChangeError::OutcomeUnknown))
    }
}

async fn run(sequencer: Arc<Sequencer>, mut write: Write, answer: oneshot::Sender<Result<(), ChangeError>>) {
    let written = sequencer.store.put_rows(write.rows.clone(), write.rev).await;
    if let Err(WriteError::Unknown { .. } | WriteError::Poisoned { .. }) = written {
        write.barrier.doubt();
    } else {
        write.barrier.raise();
    }
    let told = match &written {
        // A process that was paused must not acknowledge a row that another owner may remember as absent
        // (rule 3).
        Ok(()) if sequencer.ownership.still(None, write.tenure) => Ok(()),
        Err(WriteError::NotApplied { reason }) => Err(Refused::Database(reason.clone()).into()),
        Err(WriteError::Halted(halt)) => Err(Refused::Database(halt.to_string()).into()),
        Ok(()) | Err(WriteError::Unknown { .. } | WriteError::Poisoned { .. }) => {
            Err(ChangeError::OutcomeUnknown)
        }
    };
    // The caller may have left.
    drop(answer.send(told));
    match written {
        Err(WriteError::Unknown { reason }) => {
            tracing::warn!(reason, "the outcome of a write of rows is not known; sending it again");
            resolve(sequencer, write).await;
        }
        // This process will never know the outcome: the keys stay out of memory until it is replaced.
        Err(WriteError::Poisoned { reason }) => tracing::error!(reason, "the store is poisoned"),
        Ok(()) | Err(WriteError::NotApplied { .. } | WriteError::Halted(_)) => {}
    }
}

/// Sends a write in doubt until its outcome is known.
async fn resolve(sequencer: Arc<Sequencer>, mut write: Write) {
    // It is not held during the pauses: a write in doubt must not keep the service and its store alive.
    let service = Arc::downgrade(&sequencer);
    drop(sequencer);
    let mut pauses = Pauses::new();
    loop {
        pauses.wait().await;
        let Some(sequencer) = service.upgrade() else { return };
        // A fenced owner writes nothing, not even what it has sent before.
        let Ok(now) = sequencer.ownership.tenure(None) else { continue };
        if now.reign != write.tenure.reign {
            break;
        }
        match sequencer.store.put_rows(write.rows.clone(), write.rev).await {
            Ok(()) => break,
            Err(WriteError::Poisoned { reason } | WriteError::Halted(Halt::Lost { reason })) => {
                tracing::error!(reason, "the store is poisoned");
                return;
            }
            // "Not applied" concerns only this attempt: the first one may still have happened.
            Err(WriteError::Unknown { .. } | WriteError::NotApplied { .. } | WriteError::Halted(_)) => {}
        }
    }
    write.barrier.resolve();
}

/// Guard that bumps the keys' generations on every outcome, also on a panic.
struct Barrier {
    generations: Arc<Generations>,
    touched: Vec<Key>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    Doubted,
    Settled,
}

impl Barrier {
    fn new(generations: Arc<Generations>, touched: Vec<Key>) -> Self {
        Self { generations, touched, state: State::Sent }
    }

    fn raise(&mut self) {
        self.state = State::Settled;
        for key in &self.touched {
            self.generations.bump(key, Change::Both);
        }
    }

    fn doubt(&mut self) {
        self.state = State::Doubted;
        for key in &self.touched {
            self.generations.mark_unresolved(key);
        }
    }

    fn resolve(&mut self) {
        debug_assert_eq!(self.state, State::Doubted, "only a doubt is resolved");
        self.state = State::Settled;
        for key in &self.touched {
            self.generations.mark_resolved(key);
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        // The write was sent, then came a panic: its effect is not known, and nobody will repeat it. (In
        // doubt it stays unresolved.)
        if self.state == State::Sent {
            self.doubt();
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::id::UserId;

    use super::*;

    #[test]
    fn every_end_of_a_write_bumps_and_only_a_doubt_keeps_its_keys_out_of_memory() {
        let generations = Arc::new(Generations::new(1 << 10));
        let key = Key::User(UserId::try_from(7).expect("not 0"));
        type End = fn(&mut Barrier);
        let ends: [(End, bool); 4] = [
            (Barrier::raise, false),
            (Barrier::doubt, true),
            (
                |barrier| {
                    barrier.doubt();
                    barrier.resolve();
                },
                false,
            ),
            // A panic came before the outcome.
            (|_| {}, true),
        ];
        for (index, (end, unresolved)) in ends.into_iter().enumerate() {
            let before = generations.snapshot(&key);
            let mut barrier = Barrier::new(Arc::clone(&generations), vec![key]);
            end(&mut barrier);
            drop(barrier);
            assert_ne!(generations.snapshot(&key), before, "end {index}");
            assert_eq!(generations.is_unresolved(&key), unresolved, "end {index}");
            if unresolved {
                generations.mark_resolved(&key);
            }
        }
    }
}
