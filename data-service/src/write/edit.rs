//! The turn that edits or removes one message.

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::{bucket::Bucket, data::Message};

use super::{
    Sequencer,
    commit::{Begun, Prepared},
    op::{Answer, ChangeError, ChangeOp, MessageChange, Refused},
    plan::edit,
};
use crate::{
    key::Key,
    live::{Effect, scope::Scope},
    outbox::{Pending, record::Origin},
};

/// Plan for a change of a message.
enum Planned {
    /// The change gets this revision. The row is the one after an edit; a removal has none.
    Commit(Pending, u64, Option<Box<Message>>),
    /// The edit leaves the row as it is.
    Same(Box<Message>),
}

impl Sequencer {
    pub(super) async fn edit_turn(&self, scope: &Scope, op: ChangeOp) {
        let ChangeOp { message_id, change, context, audience, accepted_at_us, deadline } = op;
        let (begun, pending, rev, row) = match self.plan_edit(scope, message_id, &change, deadline).await {
            Ok((begun, Planned::Commit(pending, rev, row))) => (begun, pending, rev, row),
            // There is nothing to commit, but the row that was found counts only under the tenure (rule 3).
            Ok((begun, Planned::Same(row))) => {
                let still = self.ownership.still(scope.id, begun.tenure);
                return match change {
                    MessageChange::Edit(_, answer) if still => drop(answer.send(Ok(*row))),
                    change => refuse(change, Refused::NotOwner.into()),
                };
            }
            Err(error) => return refuse(change, error),
        };
        let (row_change, event) = match &row {
            Some(row) => edit::edit_commit(row),
            None => edit::delete_commit(scope.id, message_id, rev),
        };
        let effect = match row.clone() {
            Some(row) => Effect::Edited(row),
            None => Effect::Removed(vec![message_id]),
        };
        let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us };
        let prepared = Prepared {
            rows: vec![row_change],
            records: vec![origin.record(rev, begun.head.recorded_rev, event)],
            rows_are_outbox: false,
            head: begun.head_at(rev),
            effect,
            barriers: vec![(Key::Rows(scope.id, Bucket::of_raw(message_id)), Barrier::Mutate)],
            pending,
        };
        let answer = |outcome: Result<(), ChangeError>| match (outcome, change) {
            (Ok(()), MessageChange::Edit(_, answer)) => {
                // An edit always has its row: it was planned from one.
                drop(answer.send(row.map(|row| *row).ok_or(ChangeError::NotFound("message"))));
            }
            (Ok(()), MessageChange::Delete(answer)) => drop(answer.send(Ok(rev))),
            (Err(error), change) => refuse(change, error),
        };
        self.commit(scope, begun, prepared, answer).await;
    }

    async fn plan_edit(
        &self,
        scope: &Scope,
        message_id: u64,
        change: &MessageChange,
        deadline: Instant,
    ) -> Result<(Begun, Planned), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
        let row = self.row(scope, message_id).await?.ok_or(ChangeError::NotFound("message"))?;
        let pending = self.outbox.begin(scope.id);
        // The revision must also exceed the row's own: an import gives rows revisions that the channel's tail
        // need not show.
        let rev = begun.next_rev(pending.began_us(), row.last_rev)?;
        let after = match change {
            MessageChange::Edit(request, _) => match edit::edited(&row, request, rev, pending.began_us()) {
                Some(after) => Some(Box::new(after)),
                None => return Ok((begun, Planned::Same(Box::new(row)))),
            },
            MessageChange::Delete(_) => None,
        };
        Ok((begun, Planned::Commit(pending, rev, after)))
    }
}

fn refuse(change: MessageChange, error: ChangeError) {
    fn send<T>(answer: Answer<T>, error: ChangeError) {
        drop(answer.send(Err(error)));
    }
    match change {
        MessageChange::Edit(_, answer) => send(answer, error),
        MessageChange::Delete(answer) => send(answer, error),
    }
}
