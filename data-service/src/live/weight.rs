//! Weights of rows in memory, in bytes: for the bounds of tails, pages and scopes.

use weir_proto::data::{Channel, GuildState, Member, Message, ReactionCount, Role};

/// Bytes of a message that is held behind an `Arc`.
pub(crate) fn message_bytes(message: &Message) -> usize {
    let text = message.content.len() + message.embeds_json.len() + message.nonce.len();
    let mentions = message.mention_user_ids.len() + message.mention_role_ids.len();
    let reaction =
        |row: &ReactionCount| size_of_val(row) + row.emoji.as_ref().map_or(0, |emoji| emoji.name.len());
    let reactions = message.reactions.iter().map(reaction).sum::<usize>();
    size_of::<Message>() + 2 * size_of::<usize>() + text + mentions * size_of::<u64>() + reactions
}

/// Approximate bytes of a guild that is held behind an `Arc`.
pub(crate) fn guild_bytes(state: &GuildState) -> usize {
    let channel = |row: &Channel| 50 + channel_bytes(row);
    let role = |row: &Role| 120 + row.name.len();
    let roles = state.roles.iter().map(role).sum::<usize>();
    200 + roles + state.channels.iter().map(channel).sum::<usize>()
}

/// Approximate bytes of a channel.
pub(crate) fn channel_bytes(row: &Channel) -> usize {
    200 + row.overwrites.len() * 32 + row.topic.len() + row.name.len()
}

/// Approximate bytes of a member.
pub(crate) fn member_bytes(row: &Member) -> usize {
    80 + row.role_ids.len() * 8 + row.nick.len()
}
