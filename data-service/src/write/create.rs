//! The turn of creates: creates that wait together become one commit.

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{ChannelId, MessageId},
};

use super::{
    Sequencer,
    commit::Prepared,
    error::{ChangeError, Refused},
    op::{CreateOp, Created},
    plan::create,
};
use crate::{
    key::Key,
    live::{
        Effect,
        scope::{Head, Scope},
    },
};

impl Sequencer {
    pub(super) async fn create_turn(&self, scope: &Scope, channel_id: ChannelId, creates: Vec<CreateOp>) {
        let now = Instant::now();
        let (creates, late): (Vec<_>, Vec<_>) = creates.into_iter().partition(|create| create.deadline > now);
        for create in late {
            drop(create.answer.send(Err(ChangeError::Deadline)));
        }
        let begun = match self.begin(scope).await {
            Ok(begun) => begun,
            Err(error) => {
                for create in creates {
                    drop(create.answer.send(Err(error.clone())));
                }
                return;
            }
        };
        // This comes before anything is minted: otherwise the outbox could take the time after it for
        // published.
        let pending = self.outbox.begin(scope.id);
        let now_us = pending.began_us();
        let mut plan = {
            let mut state = scope.lock();
            create::plan(
                creates,
                channel_id,
                &mut state.nonces,
                begun.head,
                &self.minter,
                begun.tenure,
                now_us,
            )
        };
        if !plan.later.is_empty() {
            self.mailboxes.put_back(scope.id, std::mem::take(&mut plan.later));
        }
        for (create, error) in plan.refused.drain(..) {
            drop(create.answer.send(Err(error.into())));
        }
        for (create, id) in std::mem::take(&mut plan.repeated) {
            let row = self.row(scope, channel_id, id).await;
            let answer = row.and_then(|row| row.ok_or(ChangeError::NotFound("message")));
            let answer = answer.map(|message| Created { message, deduplicated: true });
            drop(create.answer.send(answer));
        }
        let (Some(bucket), Some((_, last))) = (plan.bucket, plan.fresh.last()) else { return };
        let last_message_id = MessageId::try_from(last.id).ok();
        let head = Head { last_message_id, bucket: Some(bucket), ..begun.head_at(last.last_rev) };
        let known = begun.head.bucket;
        if let Err(error) = self.index_bucket(channel_id, known, bucket).await {
            return plan.fail(&error);
        }
        let (rows, records) = plan.commit(channel_id, begun.head.recorded_rev);
        let mut barriers = vec![(Key::Rows(channel_id, bucket), Barrier::Append)];
        if known != Some(bucket) {
            barriers.push((Key::Buckets(channel_id), Barrier::Append));
        }
        let fresh: Vec<Message> = plan.fresh.iter().map(|(_, row)| row.clone()).collect();
        let effect = Effect::Appended(fresh, now_us);
        let prepared = Prepared { rows, records, rows_are_outbox: true, head, effect, barriers, pending };
        let answer = |outcome: Result<(), ChangeError>| match outcome {
            Ok(()) => plan.acknowledge(),
            Err(error) => plan.fail(&error),
        };
        self.commit(scope, begun, prepared, answer).await;
        self.live.weigh(scope);
    }

    /// Writes the bucket into the channel's index before its first message, unless it is the newest one known
    /// in the index.
    async fn index_bucket(
        &self,
        channel_id: ChannelId,
        known: Option<Bucket>,
        bucket: Bucket,
    ) -> Result<(), ChangeError> {
        if known == Some(bucket) {
            return Ok(());
        }
        // The write is idempotent, and an index entry without messages is harmless, so an unknown outcome is
        // simply a refusal.
        self.store
            .add_bucket(channel_id, bucket)
            .await
            .map_err(|error| Refused::Database(error.to_string()).into())
    }
}
