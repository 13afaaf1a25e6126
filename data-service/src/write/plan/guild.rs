//! The pure plan of a guild's change: the state before, the change and fresh ids give rows, records and the
//! state after.

use std::sync::Arc;

use weir_proto::{
    data::{Channel, CreateGuildRequest, Guild, GuildState, Member, Role},
    event::{GuildCreated, GuildDeleted, MemberChanged, MemberRemoved, RoleDeleted, record::Change},
    id::{ChannelId, GuildId, Snowflake, UserId},
};
use weir_store::RowChange;

use crate::{
    key::Key,
    write::{
        error::{CHANNELS_MAX, ChangeError, Maximum, OVERWRITES_MAX, ROLES_MAX},
        op::{GuildAnswer, GuildChange, MemberUpdate},
    },
};

/// Plan of a guild's change.
#[derive(Debug)]
pub(crate) struct GuildPlan {
    pub(crate) rows: Vec<RowChange>,
    /// Events, each of which becomes a record, with the users whose gateways must receive it.
    pub(crate) events: Vec<(Change, Vec<UserId>)>,
    /// State after the change; `None` if the guild is deleted.
    pub(crate) state: Option<Arc<GuildState>>,
    /// Keys whose rows changed.
    pub(crate) touched: Vec<Key>,
    pub(crate) answer: GuildAnswer,
}

/// Result of planning a change.
#[derive(Debug)]
pub(crate) enum Planned {
    /// The change must be committed.
    Change(GuildPlan),
    /// The guild already is as requested.
    Same(GuildAnswer),
}

/// Inputs of the plan beside the guild's state.
pub(crate) struct Facts {
    /// The member's present row, for member changes.
    pub(crate) member: Option<Member>,
    /// The user concerned, for member events.
    pub(crate) user: Option<weir_proto::data::User>,
    /// All member ids, for the deletion of a guild.
    pub(crate) member_ids: Vec<UserId>,
    /// The clock, in milliseconds since 1970-01-01T00:00Z: a revision may be ahead of it.
    pub(crate) now_ms: u64,
}

fn not_found(what: &'static str) -> ChangeError {
    ChangeError::NotFound(what)
}

/// Plans one change at revision `rev`; `mint` returns fresh ids.
pub(crate) fn plan(
    guild_id: GuildId,
    state: Option<&GuildState>,
    change: GuildChange,
    facts: Facts,
    rev: u64,
    mint: &mut dyn FnMut() -> Result<Snowflake, ChangeError>,
) -> Result<Planned, ChangeError> {
    if let GuildChange::Create(request) = change {
        return match state {
            Some(_) => Err(ChangeError::Invalid("the guild exists".to_owned())),
            None => create(guild_id, *request, (rev, facts.now_ms), mint).map(Planned::Change),
        };
    }
    let before = state.ok_or(not_found("guild"))?;
    let mut after = before.clone();
    after.rev = rev;
    let mut rows = Vec::new();
    let mut touched = vec![Key::Guild(guild_id)];
    let mut also = Vec::new();
    let (event, answer) = match change {
        GuildChange::Create(_) => unreachable!("answered above"),
        GuildChange::Delete => {
            let channel_ids =
                before.channels.iter().filter_map(|channel| ChannelId::try_from(channel.id).ok());
            let channel_ids: Vec<ChannelId> = channel_ids.collect();
            touched.extend(channel_ids.iter().map(|id| Key::Channel(*id)));
            touched.extend(
                facts.member_ids.iter().flat_map(|id| [Key::UserGuilds(*id), Key::Member(guild_id, *id)]),
            );
            touched.push(Key::Members(guild_id));
            also.clone_from(&facts.member_ids);
            rows.push(RowChange::DeleteGuild { guild_id, channel_ids, member_ids: facts.member_ids });
            let event = Change::GuildDeleted(GuildDeleted { guild_id: guild_id.get() });
            return Ok(Planned::Change(GuildPlan {
                rows,
                events: vec![(event, also)],
                state: None,
                touched,
                answer: GuildAnswer::Done,
            }));
        }
        GuildChange::PutChannel(mut channel) => {
            let given = ChannelId::try_from(channel.id).ok();
            let fresh = given.is_none();
            let channel_id = match given {
                Some(id) => id,
                None if after.channels.len() >= CHANNELS_MAX => return Err(Maximum::Channels.into()),
                None => ChannelId(mint()?),
            };
            (channel.id, channel.guild_id) = (channel_id.get(), guild_id.get());
            channel.recipient_ids.clear();
            channel.rev = rev;
            touched.push(Key::Channel(channel_id));
            match after.channels.iter_mut().find(|known| known.id == channel.id) {
                Some(known) if *known == (Channel { rev: known.rev, ..channel.clone() }) => {
                    return Ok(Planned::Same(GuildAnswer::Channel(known.clone())));
                }
                Some(known) => known.clone_from(&channel),
                None if fresh => after.channels.push(channel.clone()),
                None => return Err(not_found("channel")),
            }
            let many = overwrites(&after.channels);
            // A guild from before the bound may still remove overwrites.
            if many > OVERWRITES_MAX && many > overwrites(&before.channels) {
                return Err(Maximum::Overwrites.into());
            }
            rows.push(RowChange::PutChannel(channel.clone()));
            let event = if fresh { Change::ChannelCreated } else { Change::ChannelUpdated };
            (event(channel.clone()), GuildAnswer::Channel(channel))
        }
        GuildChange::DeleteChannel(channel_id) => {
            let index =
                after.channels.iter().position(|c| c.id == channel_id.get()).ok_or(not_found("channel"))?;
            let channel = after.channels.remove(index);
            touched.push(Key::Channel(channel_id));
            rows.push(RowChange::DeleteChannel { guild_id, channel_id });
            (Change::ChannelDeleted(channel.clone()), GuildAnswer::Channel(channel))
        }
        GuildChange::PutRole(mut role) => {
            let fresh = role.id == 0;
            if fresh {
                if after.roles.len() >= ROLES_MAX {
                    return Err(Maximum::Roles.into());
                }
                role.id = mint()?.get();
            }
            role.guild_id = guild_id.get();
            role.rev = rev;
            match after.roles.iter_mut().find(|known| known.id == role.id) {
                Some(known) if *known == (Role { rev: known.rev, ..role.clone() }) => {
                    return Ok(Planned::Same(GuildAnswer::Role(known.clone())));
                }
                Some(known) => known.clone_from(&role),
                None if fresh => after.roles.push(role.clone()),
                None => return Err(not_found("role")),
            }
            rows.push(RowChange::PutRole(role.clone()));
            let event = if fresh { Change::RoleCreated } else { Change::RoleUpdated };
            (event(role.clone()), GuildAnswer::Role(role))
        }
        GuildChange::DeleteRole(role_id) => {
            if role_id.0 == guild_id.0 {
                return Err(ChangeError::Invalid("the @everyone role stays".to_owned()));
            }
            let index = after.roles.iter().position(|r| r.id == role_id.get()).ok_or(not_found("role"))?;
            after.roles.remove(index);
            rows.push(RowChange::DeleteRole { guild_id, role_id });
            let deleted = RoleDeleted { guild_id: guild_id.get(), role_id: role_id.get() };
            (Change::RoleDeleted(deleted), GuildAnswer::Done)
        }
        GuildChange::PutMember(mut member) => {
            member.guild_id = guild_id.get();
            member.rev = rev;
            let user = facts.user.ok_or(not_found("user"))?;
            let user_id = UserId::try_from(member.user_id).map_err(|_| not_found("user"))?;
            if let Some(known) = &facts.member {
                member.joined_at_ms = known.joined_at_ms;
                if *known == (Member { rev: known.rev, ..member.clone() }) {
                    return Ok(Planned::Same(GuildAnswer::Member(known.clone(), Some(user))));
                }
            } else {
                after.member_count += 1;
                if member.joined_at_ms == 0 {
                    member.joined_at_ms = facts.now_ms;
                }
            }
            also.push(user_id);
            touched.extend([
                Key::Member(guild_id, user_id),
                Key::Members(guild_id),
                Key::UserGuilds(user_id),
            ]);
            rows.push(RowChange::PutMember(member.clone()));
            let event = if facts.member.is_some() { Change::MemberUpdated } else { Change::MemberAdded };
            let changed = MemberChanged { member: Some(member.clone()), user: Some(user.clone()) };
            (event(changed), GuildAnswer::Member(member, Some(user)))
        }
        GuildChange::UpdateMember(update) => {
            let known = facts.member.ok_or(not_found("member"))?;
            let there = |id: &u64| before.roles.iter().any(|role| role.id == *id);
            if !update.add_role_ids.iter().all(there) {
                return Err(not_found("role"));
            }
            let mut member = updated(known.clone(), &update, &before.roles);
            if member == known {
                return Ok(Planned::Same(GuildAnswer::Member(known, facts.user)));
            }
            member.rev = rev;
            also.push(update.user_id);
            touched.extend([Key::Member(guild_id, update.user_id), Key::Members(guild_id)]);
            rows.push(RowChange::PutMember(member.clone()));
            let changed = MemberChanged { member: Some(member.clone()), user: facts.user.clone() };
            (Change::MemberUpdated(changed), GuildAnswer::Member(member, facts.user))
        }
        GuildChange::DeleteMember(user_id) => {
            facts.member.as_ref().ok_or(not_found("member"))?;
            after.member_count = after.member_count.saturating_sub(1);
            also.push(user_id);
            touched.extend([
                Key::Member(guild_id, user_id),
                Key::Members(guild_id),
                Key::UserGuilds(user_id),
            ]);
            rows.push(RowChange::DeleteMember { guild_id, user_id });
            let user = facts
                .user
                .unwrap_or_else(|| weir_proto::data::User { id: user_id.get(), ..Default::default() });
            let removed = MemberRemoved { guild_id: guild_id.get(), user: Some(user) };
            (Change::MemberRemoved(removed), GuildAnswer::Done)
        }
    };
    let state = Some(Arc::new(after));
    Ok(Planned::Change(GuildPlan { rows, events: vec![(event, also)], state, touched, answer }))
}

/// Number of overwrites of these channels together.
fn overwrites(channels: &[Channel]) -> usize {
    channels.iter().map(|channel| channel.overwrites.len()).sum()
}

/// The member with roles added and removed; roles that stay keep their order.
fn updated(mut member: Member, update: &MemberUpdate, roles: &[Role]) -> Member {
    for role_id in &update.add_role_ids {
        if !member.role_ids.contains(role_id) {
            member.role_ids.push(*role_id);
        }
    }
    member.role_ids.retain(|role_id| !update.remove_role_ids.contains(role_id));
    // Ids of deleted roles stay until the member has too many roles.
    if member.role_ids.len() > ROLES_MAX {
        member.role_ids.retain(|role_id| roles.iter().any(|role| role.id == *role_id));
    }
    member
}

fn create(
    guild_id: GuildId,
    request: CreateGuildRequest,
    (rev, now_ms): (u64, u64),
    mint: &mut dyn FnMut() -> Result<Snowflake, ChangeError>,
) -> Result<GuildPlan, ChangeError> {
    let CreateGuildRequest { guild, roles, channels, members } = request;
    let guild = guild.ok_or_else(|| ChangeError::Invalid("guild is missing".to_owned()))?;
    if channels.len() > CHANNELS_MAX || roles.len() > ROLES_MAX || members.len() > CHANNELS_MAX {
        return Err(ChangeError::Invalid(format!(
            "a guild is created with at most {CHANNELS_MAX} channels, {ROLES_MAX} roles and {CHANNELS_MAX} members"
        )));
    }
    if overwrites(&channels) > OVERWRITES_MAX {
        return Err(Maximum::Overwrites.into());
    }
    let guild = Guild { id: guild_id.get(), rev, ..guild };
    let mut rows = vec![RowChange::PutGuild(guild.clone())];
    let mut touched = vec![Key::Guild(guild_id), Key::Members(guild_id)];
    let mut state = GuildState { rev, ..GuildState::default() };
    for (index, mut role) in roles.into_iter().enumerate() {
        // The first role is @everyone if it has that name; its id is the guild's.
        if index == 0 && role.id == 0 && role.name == "@everyone" {
            role.id = guild_id.get();
        } else if role.id != guild_id.get() {
            role.id = mint()?.get();
        }
        if state.roles.iter().any(|known| known.id == role.id) {
            return Err(ChangeError::Invalid("two roles have the guild's id".to_owned()));
        }
        (role.guild_id, role.rev) = (guild_id.get(), rev);
        rows.push(RowChange::PutRole(role.clone()));
        state.roles.push(role);
    }
    if !state.roles.iter().any(|role| role.id == guild_id.get()) {
        let id = guild_id.get();
        let everyone = Role { id, guild_id: id, name: "@everyone".into(), rev, ..Role::default() };
        rows.push(RowChange::PutRole(everyone.clone()));
        state.roles.insert(0, everyone);
    }
    let ids = channels.iter().map(|_| mint().map(ChannelId)).collect::<Result<Vec<ChannelId>, _>>()?;
    for (mut channel, id) in channels.into_iter().zip(&ids) {
        (channel.id, channel.guild_id, channel.rev) = (id.get(), guild_id.get(), rev);
        channel.recipient_ids.clear();
        channel.parent_id = match usize::try_from(channel.parent_id) {
            Ok(0) | Err(_) => 0,
            Ok(index) => {
                let parent = ids.get(index - 1);
                parent.ok_or_else(|| ChangeError::Invalid(format!("no channel {index}")))?.get()
            }
        };
        touched.push(Key::Channel(*id));
        rows.push(RowChange::PutChannel(channel.clone()));
        state.channels.push(channel);
    }
    let member = |member: Member| Member { guild_id: guild_id.get(), rev, joined_at_ms: now_ms, ..member };
    let members: Vec<Member> = members.into_iter().map(member).collect();
    let mut also = Vec::with_capacity(members.len());
    for member in &members {
        if let Ok(user_id) = UserId::try_from(member.user_id) {
            touched.extend([Key::Member(guild_id, user_id), Key::UserGuilds(user_id)]);
            also.push(user_id);
        }
        rows.push(RowChange::PutMember(member.clone()));
    }
    state.member_count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    state.guild = Some(guild);
    let member_ids: Vec<u64> = members.iter().map(|member| member.user_id).collect();
    let event = Change::GuildCreated(GuildCreated { state: Some(state.clone()), member_ids });
    Ok(GuildPlan {
        rows,
        events: vec![(event, also)],
        state: Some(Arc::new(state.clone())),
        touched,
        answer: GuildAnswer::Created { state, members },
    })
}

#[cfg(test)]
mod tests {
    use weir_proto::{data::Overwrite, id::RoleId};

    use super::*;

    fn guild_id() -> GuildId {
        GuildId::try_from(7).expect("not 0")
    }

    fn channel(id: u64) -> ChannelId {
        ChannelId::try_from(id).expect("not 0")
    }

    fn role(id: u64) -> RoleId {
        RoleId::try_from(id).expect("not 0")
    }

    fn user(id: u64) -> UserId {
        UserId::try_from(id).expect("not 0")
    }

    fn facts() -> Facts {
        Facts { member: None, user: None, member_ids: Vec::new(), now_ms: 0 }
    }

    fn ids() -> impl FnMut() -> Result<Snowflake, ChangeError> {
        let mut next = 1_000;
        move || {
            next += 1;
            Ok(Snowflake::try_from(next).expect("not 0"))
        }
    }

    fn guild() -> GuildState {
        let request = CreateGuildRequest {
            guild: Some(Guild { name: "g".into(), owner_id: 5, ..Guild::default() }),
            channels: vec![Channel { name: "c".into(), ..Channel::default() }],
            members: vec![Member { user_id: 5, ..Member::default() }],
            ..CreateGuildRequest::default()
        };
        let create = GuildChange::Create(Box::new(request));
        let Ok(Planned::Change(plan)) = plan(guild_id(), None, create, facts(), 10, &mut ids()) else {
            panic!("a fresh guild can be made");
        };
        (*plan.state.expect("exists")).clone()
    }

    #[test]
    fn a_created_guild_has_everyone_and_counts_its_members() {
        let state = guild();
        assert_eq!(state.roles[0].id, 7);
        assert_eq!((state.member_count, state.channels.len()), (1, 1));
    }

    #[test]
    fn what_is_not_there_is_not_found_and_changes_nothing() {
        let state = guild();
        for change in [
            GuildChange::DeleteChannel(channel(1)),
            GuildChange::DeleteRole(role(1)),
            GuildChange::DeleteMember(user(1)),
            GuildChange::PutChannel(Channel { id: 1, ..Channel::default() }),
            GuildChange::PutRole(Role { id: 1, ..Role::default() }),
            GuildChange::PutMember(Member { user_id: 99, ..Member::default() }),
            update(&[7], &[]),
        ] {
            let outcome = plan(guild_id(), Some(&state), change.clone(), facts(), 11, &mut ids());
            assert!(matches!(outcome, Err(ChangeError::NotFound(_))), "{change:?}");
        }
        assert!(matches!(
            plan(guild_id(), None, GuildChange::Delete, facts(), 11, &mut ids()),
            Err(ChangeError::NotFound(_))
        ));
    }

    fn update(add: &[u64], remove: &[u64]) -> GuildChange {
        let (add_role_ids, remove_role_ids) = (add.to_vec(), remove.to_vec());
        GuildChange::UpdateMember(MemberUpdate { user_id: user(5), add_role_ids, remove_role_ids })
    }

    #[test]
    fn an_update_is_a_set_operation_on_the_row_that_is_there() {
        let mut state = guild();
        state.roles.extend([1, 2, 3].map(|id| Role { id, ..Role::default() }));
        let member = Member { guild_id: 7, user_id: 5, role_ids: vec![9, 1], rev: 4, ..Member::default() };
        let facts = || Facts { member: Some(member.clone()), ..facts() };
        let outcome = plan(guild_id(), Some(&state), update(&[2, 1], &[9, 3]), facts(), 11, &mut ids());
        let Ok(Planned::Change(changed)) = outcome else { panic!("{outcome:?}") };
        let GuildAnswer::Member(row, _) = changed.answer else { panic!("{:?}", changed.answer) };
        assert_eq!((row.role_ids, row.rev), (vec![1, 2], 11));
        assert_eq!(changed.state.expect("still there").member_count, state.member_count);

        let outcome = plan(guild_id(), Some(&state), update(&[1], &[3]), facts(), 11, &mut ids());
        let Ok(Planned::Same(GuildAnswer::Member(row, _))) = outcome else { panic!("{outcome:?}") };
        assert_eq!(row, member, "nothing to change, nothing to tell");

        let outcome = plan(guild_id(), Some(&state), update(&[4], &[]), facts(), 11, &mut ids());
        assert!(matches!(outcome, Err(ChangeError::NotFound("role"))), "{outcome:?}");
    }

    #[test]
    fn a_full_guild_takes_no_more_and_says_what_it_is_full_of() {
        let mut state = guild();
        state.channels = (1..=CHANNELS_MAX as u64).map(|id| Channel { id, ..Channel::default() }).collect();
        state.roles = (1..=ROLES_MAX as u64).map(|id| Role { id, ..Role::default() }).collect();
        for (change, full) in [
            (GuildChange::PutChannel(Channel::default()), Maximum::Channels),
            (GuildChange::PutRole(Role::default()), Maximum::Roles),
        ] {
            let outcome = plan(guild_id(), Some(&state), change, facts(), 11, &mut ids());
            assert!(matches!(outcome, Err(ChangeError::Maximum(what)) if what == full), "{outcome:?}");
        }
        let known = GuildChange::PutChannel(Channel { id: 1, ..Channel::default() });
        assert!(plan(guild_id(), Some(&state), known, facts(), 11, &mut ids()).is_ok());
    }

    #[test]
    fn the_overwrites_of_a_guild_are_bounded_as_a_whole() {
        let with = |id, many: usize| {
            let overwrites = (1..=many as u64).map(|id| Overwrite { id, ..Overwrite::default() }).collect();
            Channel { id, overwrites, ..Channel::default() }
        };
        let full = |outcome: Result<Planned, ChangeError>| {
            matches!(outcome, Err(ChangeError::Maximum(Maximum::Overwrites)))
        };
        let mut state = guild();
        state.channels =
            (1..=11).map(|id| with(id, if id == 11 { 0 } else { OVERWRITES_MAX / 10 })).collect();
        let put = |state: &GuildState, channel| {
            plan(guild_id(), Some(state), GuildChange::PutChannel(channel), facts(), 11, &mut ids())
        };
        assert!(full(put(&state, with(11, 1))) && full(put(&state, with(0, 1))));
        assert!(put(&state, with(10, OVERWRITES_MAX / 10)).is_ok() && put(&state, with(0, 0)).is_ok());
        state.channels.push(with(12, 5));
        assert!(put(&state, with(12, 4)).is_ok() && put(&state, with(12, 5)).is_ok(), "one from before");
        assert!(full(put(&state, with(12, 6))));
        let channels = vec![with(0, OVERWRITES_MAX), with(0, 1)];
        let request = CreateGuildRequest { guild: Some(Guild::default()), channels, ..Default::default() };
        let create = GuildChange::Create(Box::new(request));
        assert!(full(plan(guild_id(), None, create, facts(), 11, &mut ids())));
    }

    #[test]
    fn everyone_cannot_be_removed() {
        let outcome =
            plan(guild_id(), Some(&guild()), GuildChange::DeleteRole(role(7)), facts(), 11, &mut ids());
        assert!(matches!(outcome, Err(ChangeError::Invalid(_))));
    }
}
