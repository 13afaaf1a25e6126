//! The turn that removes several messages in one step: one commit, one revision and one record, so that
//! nobody sees a part of it.

use std::collections::HashSet;

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{ChannelId, MessageId},
};

use super::{
    Sequencer,
    commit::{Begun, Prepared},
    error::ChangeError,
    op::{BulkOp, Removed},
    plan::delete::removal,
};
use crate::{
    key::Key,
    live::{Effect, scope::Scope},
    outbox::{
        Pending,
        record::{Origin, deleted_together},
    },
};

/// A planned removal: its preconditions, its revision, and the messages that exist.
struct Planned {
    begun: Begun,
    pending: Pending,
    rev: u64,
    found: Vec<(MessageId, Message)>,
}

impl Sequencer {
    pub(super) async fn bulk_turn(&self, scope: &Scope, channel_id: ChannelId, op: BulkOp) {
        let BulkOp { message_ids, context, audience, accepted_at_us, deadline, answer } = op;
        let planned = self.plan_bulk(scope, channel_id, &message_ids, deadline).await;
        let Planned { begun, pending, rev, found } = match planned {
            Ok(Ok(planned)) => planned,
            Ok(Err(nothing)) => return drop(answer.send(Ok(nothing))),
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (mut rows, mut stale) = (Vec::with_capacity(found.len()), HashSet::new());
        for (id, row) in &found {
            let (removed, keys) = removal((channel_id, *id), row, rev);
            rows.extend(removed);
            stale.insert(Key::Rows(channel_id, Bucket::of(id.0)));
            stale.extend(keys);
        }
        let found: Vec<MessageId> = found.iter().map(|(id, _)| *id).collect();
        let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us };
        let event = deleted_together(channel_id, &found);
        let prepared = Prepared {
            rows,
            records: vec![origin.record(rev, begun.head.recorded_rev, event)],
            rows_are_outbox: false,
            head: begun.head_at(rev),
            effect: Effect::Removed(found.clone()),
            barriers: stale.into_iter().map(|key| (key, Barrier::Mutate)).collect(),
            pending,
        };
        let answer = |outcome: Result<(), ChangeError>| {
            drop(answer.send(outcome.map(|()| Removed { rev, message_ids: found })));
        };
        self.commit(scope, begun, prepared, answer).await;
    }

    /// Plans the removal, or answers if none of the messages exists.
    async fn plan_bulk(
        &self,
        scope: &Scope,
        channel_id: ChannelId,
        message_ids: &[MessageId],
        deadline: Instant,
    ) -> Result<Result<Planned, Removed>, ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
        let (mut found, mut above) = (Vec::with_capacity(message_ids.len()), 0);
        for message_id in message_ids {
            if let Some(row) = self.row(scope, channel_id, *message_id).await? {
                // The revision must also exceed the row's own: an import gives rows revisions that the
                // channel's tail need not show.
                above = above.max(row.last_rev);
                found.push((*message_id, row));
            }
        }
        if found.is_empty() {
            return Ok(Err(Removed { rev: begun.head.last_rev, message_ids: Vec::new() }));
        }
        let pending = self.outbox.begin(scope.id);
        let rev = begun.next_rev(pending.began_us(), above)?;
        Ok(Ok(Planned { begun, pending, rev, found }))
    }
}
