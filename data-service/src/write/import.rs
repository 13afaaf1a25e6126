//! The turn of an import: rows with ids of the caller's, written as they are and told to nobody.

use weir_protect::Change as Barrier;
use weir_proto::{bucket::Bucket, data::Message};
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::Committed,
    op::{ChangeError, ImportOp, Refused},
    scope::{Scope, Standing},
    turn::next_rev,
};
use crate::key::Key;

impl Sequencer {
    pub(super) async fn import_turn(&self, scope: &Scope, imports: Vec<ImportOp>) {
        let mut rows = Vec::with_capacity(imports.iter().map(|op| op.messages.len()).sum());
        let mut answers = Vec::with_capacity(imports.len());
        for ImportOp { messages, answer } in imports {
            answers.push((u32::try_from(messages.len()).unwrap_or(u32::MAX), answer));
            rows.extend(messages);
        }
        let mut answers = Some(answers);
        let mut settle = |outcome: Result<(), ChangeError>| {
            for (count, answer) in answers.take().into_iter().flatten() {
                drop(answer.send(outcome.clone().map(|()| count)));
            }
        };
        let outcome = self.import(scope, rows, &mut settle).await;
        if outcome.is_err() {
            self.forget(scope);
        }
        settle(outcome);
    }

    /// Writes the rows; `settle` tells the callers if that is in doubt, until it is known.
    async fn import(
        &self,
        scope: &Scope,
        messages: Vec<Message>,
        settle: &mut (impl FnMut(Result<(), ChangeError>) + Send),
    ) -> Result<(), ChangeError> {
        let (tenure, standing) = self.begin(scope).await?;
        let mut rev = next_rev(self.clock.wall_us(), standing, tenure)?;
        let last_message_id = messages.iter().map(|message| message.id).max().unwrap_or(0);
        let mut buckets: Vec<Bucket> = messages.iter().map(|message| Bucket::of_raw(message.id)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let mut indexed = scope.lock().imported_bucket;
        for bucket in &buckets {
            if indexed != Some(*bucket) {
                let added = self.store.add_bucket(scope.id, *bucket).await;
                added.map_err(|error| Refused::Database(error.to_string()))?;
                indexed = Some(*bucket);
            }
        }
        let rows = messages.into_iter().map(|mut row| {
            (row.channel_id, row.rev, row.last_rev) = (scope.id, rev, rev);
            rev += 1;
            RowChange::PutMessage(row)
        });
        let rows: Vec<RowChange> = rows.collect();
        let keys: Vec<Key> = scope
            .kind
            .keys(scope.id)
            .into_iter()
            .chain(buckets.iter().map(|bucket| Key::Rows(scope.id, *bucket)))
            .collect();
        scope.lock().in_hand.clone_from(&keys);
        let in_doubt = || {
            self.doubt(scope, &keys);
            settle(Err(ChangeError::OutcomeUnknown));
        };
        let written = self.send(scope.id, tenure, in_doubt, || self.store.put_rows(rows.clone(), rev)).await;
        let known = matches!(written, Committed::Yes | Committed::No(_));
        if matches!(written, Committed::Never) {
            return Err(ChangeError::OutcomeUnknown);
        }
        {
            // Rows may lie anywhere below the tail: of what is remembered of the channel only its end holds.
            let mut state = scope.lock();
            state.changed();
            state.tail = None;
            state.unresolved = false;
            state.imported_bucket = indexed;
            state.standing = Some(Standing {
                epoch: tenure.epoch,
                last_rev: rev,
                // Imported rows are no events: the next record follows on the one before them.
                told_rev: standing.told_rev,
                last_message_id: standing.last_message_id.max(last_message_id),
                bucket: standing.bucket.max(buckets.last().copied()),
            });
            // Under the lock, as for a commit: a read that seeds the tail sees either both or neither.
            for key in &keys {
                if known {
                    self.generations.bump(key, Barrier::Both);
                } else {
                    self.generations.mark_resolved(key);
                }
            }
        }
        match written {
            // Idempotent by its ids: whatever the failure, the caller sends the same rows again.
            Committed::No(error) => Err(error),
            Committed::Yes if self.ownership.still(scope.id, tenure) => Ok(()),
            Committed::Yes | Committed::Late | Committed::Superseded | Committed::Never => {
                Err(ChangeError::OutcomeUnknown)
            }
        }
    }
}
