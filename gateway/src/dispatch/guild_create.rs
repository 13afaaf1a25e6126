//! GUILD_CREATE: a guild as one of its members sees it.

use weir_discord::object::{Availability, GuildCreateEvent, GuildCreateParts, to_json};
use weir_proto::{
    data::{Channel, Member, User},
    id::{ChannelId, MessageId},
};

use super::member_list::MemberList;
use crate::fanout::snapshot::Snapshot;

/// GUILD_CREATE's `d` for one member; `None` if the state has no guild row. As at Discord, bots get all
/// channels there; what happens in a channel is filtered.
pub(crate) fn guild_create(
    snapshot: &Snapshot,
    (member, user): (Member, &User),
    list: MemberList,
    availability: Availability,
) -> Option<String> {
    let state = snapshot.state();
    let joined_at_ms = member.joined_at_ms;
    let mut members = vec![(member, user.clone())];
    members.extend(list.others);
    let newest = |channel: &Channel| {
        let newest = ChannelId::try_from(channel.id).ok().and_then(|id| snapshot.newest_message(id));
        newest.map_or(0, MessageId::get)
    };
    let channels: Vec<(&Channel, u64)> =
        state.channels.iter().map(|channel| (channel, newest(channel))).collect();
    let event = GuildCreateEvent::new(&GuildCreateParts {
        state: &state,
        availability,
        joined_at_ms,
        members: &members,
        channels: &channels,
    })?;
    Some(to_json(&event.with_large(list.large)))
}
