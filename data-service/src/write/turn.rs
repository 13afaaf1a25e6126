//! One turn: who may act, where the scope stands, the plan, and the commit's answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::{
    bucket::Bucket,
    data::{Basis, EventContext, Message},
    event::record::Change,
};
use weir_store::ReadError;

use super::{
    Sequencer, change,
    commit::Prepared,
    create,
    guild::{self, Facts, Planned},
    op::{
        Answer, ChangeError, ChangeOp, CreateOp, Created, GuildChange, GuildOp, MessageChange, Op, Refused,
    },
    preconditions,
    record::{Audience, Origin},
    scope::{Scope, Standing, TailMessage, Work},
};
use crate::{
    key::Key,
    outbox::Pending,
    ownership::mint::MintError,
    ownership::{NotOwner, Tenure},
    seeded::{Seeded, armed},
};

impl From<MintError> for ChangeError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Ahead { .. } => Refused::ClockBehind(error).into(),
            MintError::LeaseEnded => Refused::NotOwner.into(),
        }
    }
}

impl From<NotOwner> for ChangeError {
    fn from(error: NotOwner) -> Self {
        match error {
            NotOwner::Elsewhere | NotOwner::Worker => Refused::NotOwner.into(),
            NotOwner::Clock { .. } | NotOwner::ClockJumped { .. } => Refused::ClockOff(error).into(),
        }
    }
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        Refused::Database(error.to_string()).into()
    }
}

impl Sequencer {
    pub(super) async fn turn(self: &Arc<Self>, scope: &Scope, work: Work) {
        match work {
            Work::Creates(creates) => self.create_turn(scope, creates).await,
            Work::One(Op::Change(op)) => self.change_turn(scope, *op).await,
            Work::One(Op::Bulk(op)) => self.bulk_turn(scope, *op).await,
            Work::Imports(imports) => self.import_turn(scope, imports).await,
            Work::One(Op::Import(op)) => self.import_turn(scope, vec![op]).await,
            Work::One(Op::Guild(op)) => self.guild_turn(scope, *op).await,
            Work::One(Op::Open(op)) => self.open_turn(scope, op).await,
            Work::One(Op::Make(op)) => self.make_turn(scope, *op).await,
            Work::One(Op::Create(op)) => self.create_turn(scope, vec![*op]).await,
        }
    }

    /// The tenure and the standing under it.
    pub(super) async fn begin(&self, scope: &Scope) -> Result<(Tenure, Standing), ChangeError> {
        let tenure = self.tenure_to_change(scope.id)?;
        let standing = self.warm(scope, tenure).await?;
        Ok((tenure, standing))
    }

    // ---- creates --------------------------------------------------------------------------------------------------

    async fn create_turn(&self, scope: &Scope, creates: Vec<CreateOp>) {
        let now = Instant::now();
        let (creates, late): (Vec<_>, Vec<_>) = creates.into_iter().partition(|create| create.deadline > now);
        for create in late {
            drop(create.answer.send(Err(ChangeError::Deadline)));
        }
        let begun = self.begin(scope).await;
        let (tenure, standing) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                for create in creates {
                    drop(create.answer.send(Err(error.clone())));
                }
                return;
            }
        };
        // Before anything is minted: the outbox must not take the time after it for published.
        let pending = self.outbox.begin(scope.id);
        let now_us = pending.began_us();
        let mut plan = {
            let mut state = scope.lock();
            create::plan(creates, scope.id, &mut state, standing, &self.minter, tenure, now_us)
        };
        if !plan.later.is_empty() {
            scope.put_back(std::mem::take(&mut plan.later));
        }
        for (create, error) in plan.refused.drain(..) {
            drop(create.answer.send(Err(error.into())));
        }
        for (create, id) in std::mem::take(&mut plan.repeated) {
            let answer =
                self.row(scope, id).await.and_then(|row| row.ok_or(ChangeError::NotFound("message")));
            let answer = answer.map(|message| Created { message, deduplicated: true });
            drop(create.answer.send(answer));
        }
        let (Some(bucket), Some((_, last))) = (plan.bucket, plan.fresh.last()) else { return };
        let (last_rev, last_id) = (last.last_rev, last.id);
        if !armed(Seeded::BucketAfterCommit)
            && let Err(error) = self.index_bucket(scope, standing, bucket).await
        {
            plan.fail(&error);
            return;
        }
        let (rows, records) = plan.commit(scope.id, standing.told_rev);
        let mut bumps = vec![(Key::Rows(scope.id, bucket), Barrier::Append)];
        if standing.bucket != Some(bucket) {
            bumps.push((Key::Buckets(scope.id), Barrier::Append));
        }
        let prepared =
            Prepared { rows, records, rows_are_outbox: true, prev_rev: standing.last_rev, last_rev, bumps };
        let fresh: Vec<Message> = plan.fresh.iter().map(|(_, row)| row.clone()).collect();
        let mut plan = Some(plan);
        self.commit(
            scope,
            prepared,
            pending,
            tenure,
            |outcome| match (outcome, plan.take()) {
                (Ok(()), Some(plan)) => plan.acknowledge(),
                (Err(error), Some(plan)) => plan.fail(&error),
                (_, None) => {}
            },
            |state, resolved| {
                for row in &fresh {
                    state.nonces.insert(row.author_id, &row.nonce, row.id, now_us);
                }
                if let (Some(tail), true) = (&mut state.tail, resolved) {
                    let mut rows = fresh.iter().map(|row| std::sync::Arc::new(TailMessage(row.clone())));
                    if rows.any(|row| tail.append(row).is_err()) {
                        debug_assert!(false, "the turn minted an id at or below the tail's last");
                        state.tail = None;
                    }
                }
                state.standing = Some(Standing {
                    last_rev,
                    told_rev: last_rev,
                    last_message_id: last_id,
                    bucket: Some(bucket),
                    epoch: tenure.epoch,
                });
            },
        )
        .await;
        if armed(Seeded::BucketAfterCommit) {
            drop(self.index_bucket(scope, standing, bucket).await);
        }
        self.scopes.trim(scope);
    }

    /// Writes the bucket into the channel's index before its first message.
    async fn index_bucket(
        &self,
        scope: &Scope,
        standing: Standing,
        bucket: Bucket,
    ) -> Result<(), ChangeError> {
        if standing.bucket == Some(bucket) {
            return Ok(());
        }
        // Idempotent and harmless if it is there without messages, so an unknown outcome is simply a refusal.
        self.store
            .add_bucket(scope.id, bucket)
            .await
            .map_err(|error| Refused::Database(error.to_string()).into())
    }

    /// A row as the owner sees it: from the tail, else from the store.
    pub(super) async fn row(&self, scope: &Scope, message_id: u64) -> Result<Option<Message>, ChangeError> {
        {
            let state = scope.lock();
            if let Some(row) = state.tail.as_ref().and_then(|tail| tail.get(message_id)) {
                return Ok(Some(row.0.clone()));
            }
        }
        Ok(self.store.read_message(scope.id, message_id).await?)
    }

    // ---- edits and removals ---------------------------------------------------------------------------------------

    async fn change_turn(&self, scope: &Scope, op: ChangeOp) {
        let ChangeOp { message_id, change, context, audience, accepted_at_us, deadline } = op;
        let planned = self.plan_change(scope, message_id, &change, deadline).await;
        let (tenure, standing, pending, rev, row) = match planned {
            Ok((tenure, standing, PlannedChange::Commit(pending, rev, row))) => {
                (tenure, standing, pending, rev, row)
            }
            // Nothing to commit; but what was found counts only under the tenure (rule 3).
            Ok((tenure, _, PlannedChange::Same(row))) => {
                let still = self.ownership.still(scope.id, tenure);
                return match change {
                    MessageChange::Edit(_, answer) if still => drop(answer.send(Ok(*row))),
                    change => refuse_change(change, Refused::NotOwner.into()),
                };
            }
            Err(error) => return refuse_change(change, error),
        };
        let (row_change, event) = match &row {
            Some(row) => change::edit_commit(row),
            None => change::delete_commit(scope.id, message_id, rev),
        };
        let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us };
        let prepared = Prepared {
            rows: vec![row_change],
            records: vec![origin.record(rev, standing.told_rev, event)],
            rows_are_outbox: false,
            prev_rev: standing.last_rev,
            last_rev: rev,
            bumps: vec![(Key::Rows(scope.id, Bucket::of_raw(message_id)), Barrier::Mutate)],
        };
        let mut change = Some(change);
        let answer_row = row.clone();
        self.commit(
            scope,
            prepared,
            pending,
            tenure,
            |outcome| match (outcome, change.take()) {
                (Ok(()), Some(MessageChange::Edit(_, answer))) => {
                    // An edit always has its row: it was planned from one.
                    drop(
                        answer
                            .send(answer_row.clone().map(|row| *row).ok_or(ChangeError::NotFound("message"))),
                    );
                }
                (Ok(()), Some(MessageChange::Delete(answer))) => drop(answer.send(Ok(rev))),
                (Err(error), Some(change)) => refuse_change(change, error),
                (_, None) => {}
            },
            |state, resolved| {
                if let (Some(tail), true) = (&mut state.tail, resolved) {
                    match row.clone() {
                        Some(row) => tail.replace(std::sync::Arc::new(TailMessage(*row))),
                        None => tail.remove(message_id),
                    };
                }
                state.standing =
                    Some(Standing { last_rev: rev, told_rev: rev, epoch: tenure.epoch, ..standing });
            },
        )
        .await;
    }

    /// Tenure, standing, and what the change comes to.
    async fn plan_change(
        &self,
        scope: &Scope,
        message_id: u64,
        change: &MessageChange,
        deadline: Instant,
    ) -> Result<(Tenure, Standing, PlannedChange), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let (tenure, standing) = self.begin(scope).await?;
        let row = self.row(scope, message_id).await?.ok_or(ChangeError::NotFound("message"))?;
        let pending = self.outbox.begin(scope.id);
        // Above the row's own too: an import gives rows revisions that the channel's tail need not show.
        let above = Standing { last_rev: standing.last_rev.max(row.last_rev), ..standing };
        let rev = next_rev(pending.began_us(), above, tenure)?;
        let after = match change {
            MessageChange::Edit(request, _) => match change::edited(&row, request, rev, pending.began_us()) {
                Some(after) => Some(Box::new(after)),
                None => return Ok((tenure, standing, PlannedChange::Same(Box::new(row)))),
            },
            MessageChange::Delete(_) => None,
        };
        Ok((tenure, standing, PlannedChange::Commit(pending, rev, after)))
    }

    // ---- guilds ---------------------------------------------------------------------------------------------------

    async fn guild_turn(&self, scope: &Scope, op: GuildOp) {
        let GuildOp { change, basis, last_message_id, deadline, answer } = op;
        let planned = self.plan_guild(scope, change, &basis, deadline).await;
        let (tenure, standing, plan, pending, rev) = match planned {
            Ok((tenure, standing, Planned::Change(plan), pending, rev)) => {
                (tenure, standing, plan, pending, rev)
            }
            // Nothing to commit; but what was found counts only under the tenure (rule 3).
            Ok((tenure, _, Planned::Same(found), ..)) => {
                let still = self.ownership.still(scope.id, tenure);
                return drop(answer.send(if still { Ok(found) } else { Err(Refused::NotOwner.into()) }));
            }
            Err(error) => return drop(answer.send(Err(error))),
        };
        let mut prev_rev = standing.told_rev;
        let mut records = Vec::new();
        for (event, also) in plan.events {
            let audience = Audience::guild(scope.id);
            let context = match &event {
                Change::ChannelUpdated(row) | Change::ChannelDeleted(row) => {
                    // What was posted since it was read is known here.
                    let last_message_id = last_message_id.max(self.last_message_id(row.id));
                    Some(EventContext { last_message_id, ..EventContext::default() })
                }
                _ => None,
            };
            let origin = Origin { scope_id: scope.id, audience, context, ..Origin::default() };
            let mut record = origin.record(rev, prev_rev, event);
            record.topics.extend(also);
            records.push(record);
            prev_rev = rev;
        }
        let prepared = Prepared {
            rows: plan.rows,
            records,
            rows_are_outbox: false,
            prev_rev: standing.last_rev,
            last_rev: rev,
            bumps: plan.touched.into_iter().map(|key| (key, Barrier::Both)).collect(),
        };
        let mut answer = Some((answer, plan.answer));
        let after = plan.state;
        self.commit(
            scope,
            prepared,
            pending,
            tenure,
            |outcome| {
                if let Some((answer, value)) = answer.take() {
                    drop(answer.send(outcome.map(|()| value)));
                }
            },
            |state, _| {
                state.guild = after.clone();
                state.standing =
                    Some(Standing { last_rev: rev, told_rev: rev, epoch: tenure.epoch, ..standing });
            },
        )
        .await;
    }

    async fn plan_guild(
        &self,
        scope: &Scope,
        change: GuildChange,
        basis: &Basis,
        deadline: Instant,
    ) -> Result<(Tenure, Standing, Planned, Pending, u64), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let (tenure, standing) = self.begin(scope).await?;
        let mut facts = Facts { member: None, user: None, member_ids: Vec::new(), now_ms: 0 };
        let ids: BTreeSet<u64> = basis.members.iter().map(|seen| seen.id).chain(change.member_id()).collect();
        let mut members = BTreeMap::new();
        for id in ids {
            if let Some(member) = self.store.read_member(scope.id, id).await? {
                members.insert(id, member);
            }
        }
        preconditions::holds(basis, scope.lock().guild.as_deref(), &members)?;
        match &change {
            GuildChange::PutMember(_) | GuildChange::UpdateMember(_) | GuildChange::DeleteMember(_) => {
                let user_id = change.member_id().unwrap_or_default();
                facts.member = members.remove(&user_id);
                facts.user = self.store.read_users(&[user_id]).await?.pop();
            }
            GuildChange::Delete => {
                let mut after = 0;
                loop {
                    let page = self.store.read_members(scope.id, after, 1_000).await?;
                    let Some(last) = page.last() else { break };
                    after = last.user_id;
                    facts.member_ids.extend(page.into_iter().map(|member| member.user_id));
                }
            }
            GuildChange::Create(_)
            | GuildChange::PutChannel(_)
            | GuildChange::DeleteChannel(_)
            | GuildChange::PutRole(_)
            | GuildChange::DeleteRole(_) => {}
        }
        let pending = self.outbox.begin(scope.id);
        let now_us = pending.began_us();
        facts.now_ms = now_us / 1_000;
        let rev = next_rev(now_us, standing, tenure)?;
        let state = scope.lock().guild.clone();
        let mut mint = || Ok(self.minter.mint(now_us, 0, tenure)?.get());
        let plan = guild::plan(scope.id, state.as_deref(), change, facts, rev, &mut mint)?;
        Ok((tenure, standing, plan, pending, rev))
    }
}

/// What a change of a message is found to be.
enum PlannedChange {
    /// At this revision; with the row after an edit, none for a removal.
    Commit(Pending, u64, Option<Box<Message>>),
    /// An edit after which the row is as it is.
    Same(Box<Message>),
}

/// The revision of a scope's next change: the clock's, or the one after the last.
pub(super) fn next_rev(now_us: u64, standing: Standing, tenure: Tenure) -> Result<u64, ChangeError> {
    if armed(Seeded::RevIsTheClock) {
        return Ok(now_us);
    }
    let rev = now_us.max(standing.last_rev.max(tenure.mint_above_us) + 1);
    let ended = rev >= tenure.mint_until_us && !armed(Seeded::MintsPastLease);
    if ended { Err(Refused::NotOwner.into()) } else { Ok(rev) }
}

fn refuse_change(change: MessageChange, error: ChangeError) {
    fn refuse<T>(answer: Answer<T>, error: ChangeError) {
        drop(answer.send(Err(error)));
    }
    match change {
        MessageChange::Edit(_, answer) => refuse(answer, error),
        MessageChange::Delete(answer) => refuse(answer, error),
    }
}
