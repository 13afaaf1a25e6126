//! The turn of a guild: every change of the guild and of its channels, roles and members.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use weir_protect::Change as Barrier;
use weir_proto::{
    data::{Basis, EventContext},
    event::record::Change,
};

use super::{
    Sequencer,
    commit::{Begun, Prepared},
    op::{ChangeError, GuildChange, GuildOp, Refused},
    plan::guild::{self, Facts, Planned},
    preconditions,
};
use crate::{
    live::{Effect, scope::Scope},
    outbox::{
        Pending,
        record::{Audience, Origin},
    },
};

impl Sequencer {
    pub(super) async fn guild_turn(&self, scope: &Scope, op: GuildOp) {
        let GuildOp { change, basis, last_message_id, deadline, answer } = op;
        let (begun, plan, pending, rev) = match self.plan_guild(scope, change, &basis, deadline).await {
            Ok((begun, Planned::Change(plan), pending, rev)) => (begun, plan, pending, rev),
            // There is nothing to commit, but what was found counts only under the tenure (rule 3).
            Ok((begun, Planned::Same(found), ..)) => {
                let still = self.ownership.still(scope.id, begun.tenure);
                return drop(answer.send(if still { Ok(found) } else { Err(Refused::NotOwner.into()) }));
            }
            Err(error) => return drop(answer.send(Err(error))),
        };
        let mut prev_rev = begun.head.recorded_rev;
        let mut records = Vec::new();
        for (event, also) in plan.events {
            let audience = Audience::guild(scope.id);
            let context = match &event {
                Change::ChannelUpdated(row) | Change::ChannelDeleted(row) => {
                    // Messages posted since the caller read it are known here.
                    let last_message_id = last_message_id.max(self.live.last_message_id(row.id));
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
            head: begun.head_at(rev),
            effect: Effect::Guild(plan.state),
            barriers: plan.touched.into_iter().map(|key| (key, Barrier::Both)).collect(),
            pending,
        };
        let found = plan.answer;
        self.commit(scope, begun, prepared, |outcome| drop(answer.send(outcome.map(|()| found)))).await;
    }

    async fn plan_guild(
        &self,
        scope: &Scope,
        change: GuildChange,
        basis: &Basis,
        deadline: Instant,
    ) -> Result<(Begun, Planned, Pending, u64), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
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
        let rev = begun.next_rev(now_us, 0)?;
        let state = scope.lock().guild.clone();
        let mut mint = || Ok(self.minter.mint(now_us, 0, begun.tenure)?.get());
        let plan = guild::plan(scope.id, state.as_deref(), change, facts, rev, &mut mint)?;
        Ok((begun, plan, pending, rev))
    }
}
