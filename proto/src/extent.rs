//! The parts of a guild that each extent of the contract keeps. A guild's state is large, and most callers
//! need little of it.

use crate::{
    data::{
        Channel, GetChannelContextRequest, GetGuildRequest, GuildExtent, GuildState, Member, Overwrite, Role,
    },
    overwrite,
};

/// Returns the parts of the state that a request asks for.
#[must_use]
pub fn of_guild(state: &GuildState, request: &GetGuildRequest) -> GuildState {
    let with = |channels: Vec<Channel>| GuildState {
        guild: state.guild.clone(),
        roles: state.roles.clone(),
        channels,
        member_count: state.member_count,
        rev: state.rev,
    };
    match request.extent() {
        GuildExtent::Unspecified => state.clone(),
        GuildExtent::WithoutChannels => with(Vec::new()),
        GuildExtent::BareChannels => {
            let row = |channel: &Channel| match channel.id == request.whole_channel_id {
                true => channel.clone(),
                false => bare(channel),
            };
            with(state.channels.iter().map(row).collect())
        }
    }
}

/// The rows on which a member's permissions in a channel depend, and the channel as it is shown with them, as
/// `GetChannelContextRequest.concerned_only` says. Nothing else of `state` is copied.
#[must_use]
pub fn concerning(
    state: &GuildState,
    channel: &Channel,
    member: Option<&Member>,
    request: &GetChannelContextRequest,
) -> (GuildState, Channel) {
    let guild_id = channel.guild_id;
    let shown = |row: &Channel| {
        let concerning =
            |one: &&Overwrite| member.is_some_and(|member| overwrite::concerns(one, guild_id, member));
        Channel { overwrites: row.overwrites.iter().filter(concerning).copied().collect(), ..bare(row) }
    };
    let is_wanted = |role: &&Role| {
        let id = role.id;
        id == guild_id
            || member.is_some_and(|member| member.role_ids.contains(&id))
            || request.role_ids.contains(&id)
    };
    let parent = state.channels.iter().filter(|row| channel.parent_id != 0 && row.id == channel.parent_id);
    let concerned = GuildState {
        guild: state.guild.clone(),
        roles: state.roles.iter().filter(is_wanted).cloned().collect(),
        channels: parent.map(shown).collect(),
        member_count: state.member_count,
        rev: state.rev,
    };
    let channel = match request.whole_channel {
        true => channel.clone(),
        false => Channel { topic: channel.topic.clone(), ..shown(channel) },
    };
    (concerned, channel)
}

/// A channel without the fields that make it large.
fn bare(channel: &Channel) -> Channel {
    Channel {
        id: channel.id,
        guild_id: channel.guild_id,
        r#type: channel.r#type,
        name: channel.name.clone(),
        topic: String::new(),
        position: channel.position,
        parent_id: channel.parent_id,
        nsfw: channel.nsfw,
        rate_limit_per_user: channel.rate_limit_per_user,
        overwrites: Vec::new(),
        rev: channel.rev,
        recipient_ids: channel.recipient_ids.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Guild;

    fn row(id: u64, parent_id: u64) -> Channel {
        let one = |id, r#type| Overwrite { id, r#type, allow: 1, deny: 2 };
        // Of @everyone, the member's role and another role; of the member and another; of a role with the
        // member's id; of an unknown type.
        let overwrites = vec![one(1, 0), one(2, 0), one(3, 0), one(7, 1), one(8, 1), one(7, 0), one(7, 2)];
        Channel { id, guild_id: 1, parent_id, topic: "t".into(), overwrites, rev: id, ..Channel::default() }
    }

    fn state() -> GuildState {
        let role = |id| Role { id, guild_id: 1, ..Role::default() };
        GuildState {
            guild: Some(Guild { id: 1, ..Guild::default() }),
            roles: [1, 2, 3, 4].map(role).to_vec(),
            channels: vec![row(20, 0), row(21, 20), row(22, 20)],
            member_count: 5,
            rev: 9,
        }
    }

    #[test]
    fn only_what_concerns_the_member_is_left_and_the_rest_is_as_it_was() {
        let state = state();
        let member = Member { guild_id: 1, user_id: 7, role_ids: vec![2, 99], ..Member::default() };
        let mut request = GetChannelContextRequest { role_ids: vec![4], ..Default::default() };
        let (left, channel) = concerning(&state, &state.channels[1], Some(&member), &request);
        let ids: Vec<u64> = left.roles.iter().map(|role| role.id).collect();
        assert_eq!(ids, [1, 2, 4]);
        let concerned = [(1, 0), (2, 0), (7, 1)];
        let keys = |row: &Channel| row.overwrites.iter().map(overwrite::key).collect::<Vec<_>>();
        assert_eq!((left.channels.len(), left.channels[0].id), (1, 20), "the parent and no other");
        assert_eq!((keys(&left.channels[0]), keys(&channel)), (concerned.to_vec(), concerned.to_vec()));
        assert_eq!((channel.topic.as_str(), channel.rev, left.rev, left.member_count), ("t", 21, 9, 5));
        request.whole_channel = true;
        let (_, whole) = concerning(&state, &state.channels[1], Some(&member), &request);
        assert_eq!(whole, state.channels[1]);
        let (left, stranger) = concerning(&state, &state.channels[0], None, &Default::default());
        assert!(stranger.overwrites.is_empty() && left.channels.is_empty());
    }

    #[test]
    fn a_guild_is_left_whole_bare_or_without_channels() {
        let state = state();
        let asked = |extent: GuildExtent, whole_channel_id| {
            of_guild(
                &state,
                &GetGuildRequest { extent: extent.into(), whole_channel_id, ..GetGuildRequest::default() },
            )
        };
        assert_eq!(asked(GuildExtent::Unspecified, 0), state);
        let none = asked(GuildExtent::WithoutChannels, 0);
        assert_eq!(GuildState { channels: state.channels.clone(), ..none }, state);
        let bare = asked(GuildExtent::BareChannels, 21);
        assert_eq!(bare.channels[1], state.channels[1]);
        assert!(bare.channels[2].overwrites.is_empty() && bare.channels[2].topic.is_empty());
        assert_eq!((bare.channels[2].parent_id, bare.channels[2].rev), (20, 22));
    }
}
