//! The turn of an import: rows with ids of the caller's, written unchanged and without events.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use weir_protect::Change as Barrier;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, GuildState, Member, Message, Role, User},
    id::{ChannelId, GuildId, MessageId, UserId},
};
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::{Begun, Resolved, Sent},
    error::{ChangeError, Refused},
    op::{ImportGuildOp, ImportOp},
};
use crate::{
    key::Key,
    live::{
        Effect, Known,
        scope::{Head, Scope, keys_of},
    },
};

/// Members read at once.
const MEMBERS_PAGE: usize = 1_000;

/// An import that is ready to send.
struct Planned {
    begun: Begun,
    rows: Vec<RowChange>,
    /// Head after the import; its `last_rev` is at or above the revisions of the rows.
    head: Head,
    /// What else changes in memory.
    effect: Effect,
    barriers: Vec<(Key, Barrier)>,
}

impl Sequencer {
    pub(super) async fn import_turn(&self, scope: &Scope, channel_id: ChannelId, imports: Vec<ImportOp>) {
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
        match self.plan_import(scope, channel_id, messages).await {
            Ok(planned) => self.write_import(scope, planned, answer).await,
            Err(error) => {
                self.live.forget(scope);
                answer(Err(error));
            }
        }
    }

    async fn plan_import(
        &self,
        scope: &Scope,
        channel_id: ChannelId,
        messages: Vec<Message>,
    ) -> Result<Planned, ChangeError> {
        let begun = self.begin(scope).await?;
        let mut rev = begun.next_rev(self.clock.wall_us(), 0)?;
        let last_message_id = messages.iter().filter_map(|row| MessageId::try_from(row.id).ok()).max();
        let mut buckets: Vec<Bucket> = messages.iter().map(|message| Bucket::of_raw(message.id)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        self.index_buckets(scope, channel_id, &buckets).await?;
        let rows = messages.into_iter().map(|mut row| {
            (row.channel_id, row.rev, row.last_rev) = (channel_id.get(), rev, rev);
            row.pinned_at_ms = 0;
            row.reactions.clear();
            rev += 1;
            RowChange::PutMessage(row)
        });
        let rows = rows.collect();
        let keys = keys_of(scope.id).into_iter();
        let keys = keys.chain(buckets.iter().map(|bucket| Key::Rows(channel_id, *bucket)));
        let head = Head {
            epoch: begun.tenure.epoch,
            last_rev: rev,
            // Imported rows are not events: the next record follows the record before them.
            recorded_rev: begun.head.recorded_rev,
            last_message_id: begun.head.last_message_id.max(last_message_id),
            bucket: begun.head.bucket.max(buckets.last().copied()),
        };
        Ok(Planned {
            begun,
            rows,
            head,
            effect: Effect::Imported,
            barriers: keys.map(|key| (key, Barrier::Both)).collect(),
        })
    }

    /// Writes buckets into the channel's index, except one that the previous import wrote: imports are in the
    /// order of their buckets.
    async fn index_buckets(
        &self,
        scope: &Scope,
        channel_id: ChannelId,
        buckets: &[Bucket],
    ) -> Result<(), ChangeError> {
        let mut indexed = scope.lock().imported_bucket;
        for bucket in buckets {
            if indexed != Some(*bucket) {
                let added = self.store.add_bucket(channel_id, *bucket).await;
                added.map_err(|error| Refused::Database(error.to_string()))?;
                indexed = Some(*bucket);
            }
        }
        scope.lock().imported_bucket = indexed;
        Ok(())
    }

    /// The turn of a guild that an import makes, or adds authors to. A job that begins again repeats it. Rows
    /// that exist are written again as they are now, because a load that was interrupted may have left a part
    /// of what belongs to them; rows that were removed since are made again.
    pub(super) async fn import_guild_turn(&self, scope: &Scope, guild_id: GuildId, op: ImportGuildOp) {
        let ImportGuildOp { founding, authors, deadline, answer } = op;
        let answer = |outcome| drop(answer.send(outcome));
        if deadline <= Instant::now() {
            return answer(Err(ChangeError::Deadline));
        }
        match self.plan_import_guild(scope, guild_id, founding, authors).await {
            // What was found counts only under the tenure (rule 3).
            Ok(planned) if planned.rows.is_empty() => {
                let still = self.ownership.still(Some(scope.id), planned.begun.tenure);
                answer(if still { Ok(()) } else { Err(Refused::NotOwner.into()) });
            }
            Ok(planned) => self.write_import(scope, planned, answer).await,
            Err(error) => answer(Err(error)),
        }
    }

    async fn plan_import_guild(
        &self,
        scope: &Scope,
        guild_id: GuildId,
        founding: Option<(Guild, Role, Vec<Channel>)>,
        authors: Vec<(User, Member)>,
    ) -> Result<Planned, ChangeError> {
        let begun = self.begin(scope).await?;
        let rev = begun.next_rev(self.clock.wall_us(), 0)?;
        let before = scope.lock().guild.clone();
        let members = self.members_among(guild_id, &authors).await?;
        let mut state = match (before, &founding) {
            (Some(state), _) => GuildState::clone(&state),
            (None, Some((guild, ..))) => GuildState {
                guild: Some(guild.clone()),
                member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
                ..GuildState::default()
            },
            // It was deleted while the job ran.
            (None, None) => return Err(ChangeError::NotFound("guild")),
        };
        state.rev = rev;
        let (mut rows, mut keys) = (Vec::new(), vec![Key::Guild(guild_id), Key::Members(guild_id)]);
        if let Some((_, role, channels)) = founding {
            rows.extend(state.guild.clone().map(RowChange::PutGuild));
            if !state.roles.iter().any(|row| row.id == role.id) {
                state.roles.push(role);
            }
            for channel in channels {
                if !state.channels.iter().any(|row| row.id == channel.id) {
                    state.channels.push(channel);
                }
            }
            rows.extend(state.roles.iter().cloned().map(RowChange::PutRole));
            let channels = state.channels.iter().filter_map(|channel| ChannelId::try_from(channel.id).ok());
            keys.extend(channels.map(Key::Channel));
            rows.extend(state.channels.iter().cloned().map(RowChange::PutChannel));
        }
        for (user, member) in authors {
            if let Ok(id) = UserId::try_from(user.id) {
                keys.extend([Key::User(id), Key::Member(guild_id, id), Key::UserGuilds(id)]);
            }
            let there = members.get(&user.id).cloned();
            state.member_count += u32::from(there.is_none());
            // Nothing changes a user, so it is the same row again.
            rows.extend([RowChange::PutUser(user), RowChange::PutMember(there.unwrap_or(member))]);
        }
        let head = Head { last_rev: rev, epoch: begun.tenure.epoch, ..begun.head };
        let effect = Effect::Guild(Some(Arc::new(state)));
        Ok(Planned {
            begun,
            rows,
            head,
            effect,
            barriers: keys.into_iter().map(|key| (key, Barrier::Both)).collect(),
        })
    }

    /// The memberships that the authors, who have rising ids, have already.
    async fn members_among(
        &self,
        guild_id: GuildId,
        authors: &[(User, Member)],
    ) -> Result<BTreeMap<u64, Member>, ChangeError> {
        let (Some((first, _)), Some((last, _))) = (authors.first(), authors.last()) else {
            return Ok(BTreeMap::new());
        };
        let (mut there, mut after) = (BTreeMap::new(), UserId::try_from(first.id.saturating_sub(1)).ok());
        loop {
            let page = self.store.read_members(guild_id, after, MEMBERS_PAGE).await?;
            let next = page.last().map(|member| member.user_id);
            let full = page.len() == MEMBERS_PAGE;
            there.extend(page.into_iter().map(|member| (member.user_id, member)));
            match next {
                Some(id) if full && id < last.id => after = UserId::try_from(id).ok(),
                Some(_) | None => {
                    there.retain(|id, _| *id <= last.id);
                    return Ok(there);
                }
            }
        }
    }

    /// Sends the rows until their outcome is known. An import is idempotent by its ids: after any failure the
    /// caller sends the same rows again.
    async fn write_import(
        &self,
        scope: &Scope,
        planned: Planned,
        answer: impl FnOnce(Result<(), ChangeError>) + Send,
    ) {
        let Planned { begun: Begun { tenure, .. }, rows, head, effect, barriers } = planned;
        self.live.take_in_hand(scope, barriers.iter().map(|(key, _)| *key));
        let write = || self.store.put_rows(rows.clone(), head.last_rev);
        let sent = self.send(scope.id, write()).await;
        let lost = matches!(sent, Sent::Lost);
        match sent {
            Sent::Committed => {
                self.live.committed(scope, (head, effect), &barriers, Known::InTime);
                if self.ownership.still(Some(scope.id), tenure) {
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
                        self.live.committed(scope, (head, effect), &barriers, Known::Late);
                    }
                    Resolved::Superseded => self.live.superseded(scope, &barriers),
                    Resolved::Lost => {}
                }
                self.live.forget(scope);
            }
        }
    }
}
