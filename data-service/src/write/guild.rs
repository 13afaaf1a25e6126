//! The turn of a guild: every change of the guild and of its channels, roles and members.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use weir_bus::Topic;
use weir_protect::Change as Barrier;
use weir_proto::{
    data::{Basis, EventContext},
    event::record::Change,
    id::{ChannelId, GuildId, MessageId, UserId},
};

use super::{
    Sequencer,
    commit::{Begun, Prepared},
    error::{ChangeError, Refused},
    op::{GuildChange, GuildOp},
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
    pub(super) async fn guild_turn(&self, scope: &Scope, guild_id: GuildId, op: GuildOp) {
        let GuildOp { change, basis, last_message_id, deadline, answer } = op;
        let planned = self.plan_guild(scope, guild_id, change, &basis, deadline).await;
        let (begun, plan, pending, rev) = match planned {
            Ok((begun, Planned::Change(plan), pending, rev)) => (begun, plan, pending, rev),
            // There is nothing to commit, but what was found counts only under the tenure (rule 3).
            Ok((begun, Planned::Same(found), ..)) => {
                let still = self.ownership.still(Some(scope.id), begun.tenure);
                return drop(answer.send(if still { Ok(found) } else { Err(Refused::NotOwner.into()) }));
            }
            Err(error) => return drop(answer.send(Err(error))),
        };
        let mut prev_rev = begun.head.recorded_rev;
        let mut records = Vec::new();
        for (event, also) in plan.events {
            let audience = Audience::Guild(guild_id);
            let context = match &event {
                Change::ChannelUpdated(row) | Change::ChannelDeleted(row) => {
                    // Messages posted since the caller read it are known here.
                    let id = ChannelId::try_from(row.id).ok();
                    let newest = last_message_id.max(id.and_then(|id| self.live.last_message_id(id)));
                    let last_message_id = newest.map_or(0, MessageId::get);
                    Some(EventContext { last_message_id, ..EventContext::default() })
                }
                _ => None,
            };
            let origin = Origin { scope_id: scope.id, audience, context, accepted_at_us: 0 };
            let mut record = origin.record(rev, prev_rev, event);
            record.topics.extend(also.into_iter().map(Topic::User));
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
        guild_id: GuildId,
        change: GuildChange,
        basis: &Basis,
        deadline: Instant,
    ) -> Result<(Begun, Planned, Pending, u64), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
        let mut facts = Facts { member: None, user: None, member_ids: Vec::new(), now_ms: 0 };
        // 0 is nobody's id, and so no member.
        let named = basis.members.iter().filter_map(|seen| UserId::try_from(seen.id).ok());
        let ids: BTreeSet<UserId> = named.chain(change.member_id()).collect();
        let mut members = BTreeMap::new();
        for id in ids {
            if let Some(member) = self.store.read_member(guild_id, id).await? {
                members.insert(id.get(), member);
            }
        }
        preconditions::holds(basis, scope.lock().guild.as_deref(), &members)?;
        match &change {
            GuildChange::PutMember(_) | GuildChange::UpdateMember(_) | GuildChange::DeleteMember(_) => {
                if let Some(user_id) = change.member_id() {
                    facts.member = members.remove(&user_id.get());
                    facts.user = self.store.read_users(&[user_id]).await?.pop();
                }
            }
            GuildChange::Delete => {
                let mut after = None;
                loop {
                    let page = self.store.read_members(guild_id, after, 1_000).await?;
                    let before = facts.member_ids.len();
                    let ids = page.iter().filter_map(|member| UserId::try_from(member.user_id).ok());
                    facts.member_ids.extend(ids);
                    if facts.member_ids.len() == before {
                        break;
                    }
                    after = facts.member_ids.last().copied();
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
        let mut mint = || Ok(self.minter.mint(now_us, None, begun.tenure)?);
        let plan = guild::plan(guild_id, state.as_deref(), change, facts, rev, &mut mint)?;
        Ok((begun, plan, pending, rev))
    }
}
