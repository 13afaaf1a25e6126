//! The turn that removes several messages in one step: one commit, one revision and one record, so that nobody sees a half of it.

use std::collections::BTreeSet;

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::bucket::Bucket;
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::Prepared,
    op::{BulkOp, ChangeError, Removed},
    record::{Origin, deleted_together},
    scope::{Scope, Standing},
    turn::next_rev,
};
use crate::{key::Key, outbox::Pending, ownership::Tenure};

/// A removal that is ready: what it rests on, its revision, and the messages that are there.
struct Planned {
    tenure: Tenure,
    standing: Standing,
    pending: Pending,
    rev: u64,
    found: Vec<u64>,
}

impl Sequencer {
    pub(super) async fn bulk_turn(&self, scope: &Scope, op: BulkOp) {
        let BulkOp { message_ids, context, audience, accepted_at_us, deadline, answer } = op;
        let Planned { tenure, standing, pending, rev, found } =
            match self.plan_bulk(scope, &message_ids, deadline).await {
                Ok(Ok(planned)) => planned,
                Ok(Err(nothing)) => return drop(answer.send(Ok(nothing))),
                Err(error) => return drop(answer.send(Err(error))),
            };
        let remove = |&message_id| RowChange::DeleteMessage { channel_id: scope.id, message_id, rev };
        let buckets: BTreeSet<Bucket> = found.iter().map(|id| Bucket::of_raw(*id)).collect();
        let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us };
        let event = deleted_together(scope.id, found.clone());
        let prepared = Prepared {
            rows: found.iter().map(remove).collect(),
            records: vec![origin.record(rev, standing.told_rev, event)],
            rows_are_outbox: false,
            prev_rev: standing.last_rev,
            last_rev: rev,
            bumps: buckets.into_iter().map(|bucket| (Key::Rows(scope.id, bucket), Barrier::Mutate)).collect(),
        };
        let mut answer = Some(answer);
        self.commit(
            scope,
            prepared,
            pending,
            tenure,
            |outcome| {
                if let Some(answer) = answer.take() {
                    let removed = outcome.map(|()| Removed { rev, message_ids: found.clone() });
                    drop(answer.send(removed));
                }
            },
            |state, resolved| {
                if let (Some(tail), true) = (&mut state.tail, resolved) {
                    for message_id in &found {
                        tail.remove(*message_id);
                    }
                }
                state.standing =
                    Some(Standing { last_rev: rev, told_rev: rev, epoch: tenure.epoch, ..standing });
            },
        )
        .await;
    }

    /// What is to be done, or what to answer if no message is there.
    async fn plan_bulk(
        &self,
        scope: &Scope,
        message_ids: &[u64],
        deadline: Instant,
    ) -> Result<Result<Planned, Removed>, ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let (tenure, standing) = self.begin(scope).await?;
        let (mut found, mut above) = (Vec::with_capacity(message_ids.len()), standing.last_rev);
        for message_id in message_ids {
            if let Some(row) = self.row(scope, *message_id).await? {
                // Above the row's own too: an import gives rows revisions that the channel's tail need not show.
                above = above.max(row.last_rev);
                found.push(*message_id);
            }
        }
        if found.is_empty() {
            return Ok(Err(Removed { rev: standing.last_rev, message_ids: found }));
        }
        let pending = self.outbox.begin(scope.id);
        let rev = next_rev(pending.began_us(), Standing { last_rev: above, ..standing }, tenure)?;
        Ok(Ok(Planned { tenure, standing, pending, rev, found }))
    }
}
