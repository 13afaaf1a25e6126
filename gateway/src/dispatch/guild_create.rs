//! GUILD_CREATE: a guild as one of its members is shown it.

use weir_discord::object::{Availability, GuildCreateEvent, GuildCreateParts, to_json};
use weir_proto::data::{Channel, Member, User};

use super::member_list::MemberList;
use crate::fanout::snapshot::Snapshot;

/// GUILD_CREATE's `d` for one member. Bots see all channels there, as at Discord; what happens in them is filtered.
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
    let newest = |channel: &Channel| snapshot.newest_message(channel.id);
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
