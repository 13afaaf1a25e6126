//! The turn that changes or removes one message.

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
    error::{ChangeError, Refused},
    op::{AlterOp, Altered},
    plan::{Alteration, At, Planned},
};
use crate::{
    key::Key,
    live::{Effect, scope::Scope},
    outbox::{Pending, record::Origin},
};

/// What the turn found: the right to change, the row before, and what to commit if something changes.
struct Found {
    begun: Begun,
    before: Message,
    change: Option<(Pending, u64, Planned)>,
}

impl Sequencer {
    pub(super) async fn alter_turn(&self, scope: &Scope, channel_id: ChannelId, op: AlterOp) {
        let AlterOp { message_id, plan, context, audience, accepted_at_us, deadline, answer } = op;
        let found = self.plan_alteration(scope, (channel_id, message_id), &*plan, deadline).await;
        let Found { begun, before, change } = match found {
            Ok(found) => found,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Some((pending, rev, planned)) = change else {
            // There is nothing to commit, but the row that was found counts only under the tenure (rule 3).
            let same = Altered { rev: before.last_rev, message: before, changed: false };
            let still = self.ownership.still(Some(scope.id), begun.tenure);
            return drop(answer.send(if still { Ok(same) } else { Err(Refused::NotOwner.into()) }));
        };
        let Planned { row, rows, events, stale } = planned;
        let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us };
        let (mut last, mut recorded) = (rev, begun.head.recorded_rev);
        let mut records = Vec::with_capacity(events.len());
        for (event, rev) in events.into_iter().zip(rev..) {
            records.push(origin.clone().record(rev, recorded, event));
            (last, recorded) = (rev, rev);
        }
        let effect = match row.clone() {
            Some(row) => Effect::Edited(row),
            None => Effect::Removed(vec![message_id]),
        };
        let changed = Key::Rows(channel_id, Bucket::of(message_id.0));
        let prepared = Prepared {
            rows,
            records,
            rows_are_outbox: false,
            head: begun.head_at(last),
            effect,
            barriers: std::iter::once(changed).chain(stale).map(|key| (key, Barrier::Mutate)).collect(),
            pending,
        };
        let altered = Altered { message: row.map_or(before, |row| *row), rev: last, changed: true };
        let answer = |outcome: Result<(), ChangeError>| drop(answer.send(outcome.map(|()| altered)));
        self.commit(scope, begun, prepared, answer).await;
    }

    async fn plan_alteration(
        &self,
        scope: &Scope,
        (channel_id, message_id): (ChannelId, MessageId),
        plan: &dyn Alteration,
        deadline: Instant,
    ) -> Result<Found, ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
        let before =
            self.row(scope, channel_id, message_id).await?.ok_or(ChangeError::NotFound("message"))?;
        let pending = self.outbox.begin(scope.id);
        let now_us = pending.began_us();
        // The revision must also exceed the row's own: an import gives rows revisions that the channel's tail
        // need not show.
        let rev = begun.next_revs(now_us, before.last_rev, plan.events())?;
        let planned = plan.plan(&*self.store, &before, At { channel_id, message_id, rev, now_us }).await?;
        Ok(Found { begun, before, change: planned.map(|planned| (pending, rev, planned)) })
    }
}
