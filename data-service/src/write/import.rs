//! The turn of an import: rows with ids of the caller's, written unchanged and without events.

use weir_protect::Change as Barrier;
use weir_proto::{bucket::Bucket, data::Message};
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::{Begun, Resolved, Sent},
    op::{ChangeError, ImportOp, Refused},
};
use crate::{
    key::Key,
    live::{
        Effect, Known,
        scope::{Head, Scope},
    },
};

/// An import that is ready to send.
struct Planned {
    begun: Begun,
    rows: Vec<RowChange>,
    /// Head after the import; its `last_rev` is the greatest revision of the rows.
    head: Head,
    barriers: Vec<(Key, Barrier)>,
}

impl Sequencer {
    pub(super) async fn import_turn(&self, scope: &Scope, imports: Vec<ImportOp>) {
        let mut messages = Vec::with_capacity(imports.iter().map(|op| op.messages.len()).sum());
        let mut answers = Vec::with_capacity(imports.len());
        for op in imports {
            answers.push((u32::try_from(op.messages.len()).unwrap_or(u32::MAX), op.answer));
            messages.extend(op.messages);
        }
        let answer = |outcome: Result<(), ChangeError>| {
            for (count, answer) in answers {
                drop(answer.send(outcome.clone().map(|()| count)));
            }
        };
        match self.plan_import(scope, messages).await {
            Ok(planned) => self.write_import(scope, planned, answer).await,
            Err(error) => {
                self.live.forget(scope);
                answer(Err(error));
            }
        }
    }

    async fn plan_import(&self, scope: &Scope, messages: Vec<Message>) -> Result<Planned, ChangeError> {
        let begun = self.begin(scope).await?;
        let mut rev = begun.next_rev(self.clock.wall_us(), 0)?;
        let last_message_id = messages.iter().map(|message| message.id).max().unwrap_or(0);
        let mut buckets: Vec<Bucket> = messages.iter().map(|message| Bucket::of_raw(message.id)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        self.index_buckets(scope, &buckets).await?;
        let rows = messages.into_iter().map(|mut row| {
            (row.channel_id, row.rev, row.last_rev) = (scope.id, rev, rev);
            rev += 1;
            RowChange::PutMessage(row)
        });
        let rows = rows.collect();
        let keys = scope.kind.keys(scope.id).into_iter();
        let keys = keys.chain(buckets.iter().map(|bucket| Key::Rows(scope.id, *bucket)));
        let head = Head {
            epoch: begun.tenure.epoch,
            last_rev: rev,
            // Imported rows are not events: the next record follows the record before them.
            recorded_rev: begun.head.recorded_rev,
            last_message_id: begun.head.last_message_id.max(last_message_id),
            bucket: begun.head.bucket.max(buckets.last().copied()),
        };
        Ok(Planned { begun, rows, head, barriers: keys.map(|key| (key, Barrier::Both)).collect() })
    }

    /// Writes buckets into the channel's index, except one that the previous import wrote: imports are in the
    /// order of their buckets.
    async fn index_buckets(&self, scope: &Scope, buckets: &[Bucket]) -> Result<(), ChangeError> {
        let mut indexed = scope.lock().imported_bucket;
        for bucket in buckets {
            if indexed != Some(*bucket) {
                let added = self.store.add_bucket(scope.id, *bucket).await;
                added.map_err(|error| Refused::Database(error.to_string()))?;
                indexed = Some(*bucket);
            }
        }
        scope.lock().imported_bucket = indexed;
        Ok(())
    }

    /// Sends the rows until their outcome is known. An import is idempotent by its ids: after any failure the
    /// caller sends the same rows again.
    async fn write_import(
        &self,
        scope: &Scope,
        planned: Planned,
        answer: impl FnOnce(Result<(), ChangeError>) + Send,
    ) {
        let Planned { begun: Begun { tenure, .. }, rows, head, barriers } = planned;
        self.live.take_in_hand(scope, barriers.iter().map(|(key, _)| *key));
        let write = || self.store.put_rows(rows.clone(), head.last_rev);
        let sent = self.send(scope.id, write()).await;
        let lost = matches!(sent, Sent::Lost);
        match sent {
            Sent::Committed => {
                self.live.committed(scope, (head, Effect::Imported), &barriers, Known::InTime);
                if self.ownership.still(scope.id, tenure) {
                    answer(Ok(()));
                } else {
                    self.live.forget(scope);
                    answer(Err(ChangeError::OutcomeUnknown));
                }
            }
            Sent::NotCommitted(error) => {
                self.live.not_committed(&barriers);
                self.live.forget(scope);
                answer(Err(error));
            }
            Sent::InDoubt | Sent::Lost => {
                self.in_doubt(scope, &barriers);
                answer(Err(ChangeError::OutcomeUnknown));
                let resolved =
                    if lost { Resolved::Lost } else { self.resolve(scope.id, tenure, write).await };
                match resolved {
                    Resolved::Committed => {
                        self.live.committed(scope, (head, Effect::Imported), &barriers, Known::Late);
                    }
                    Resolved::Superseded => self.live.superseded(scope, &barriers),
                    Resolved::Lost => {}
                }
                self.live.forget(scope);
            }
        }
    }
}
