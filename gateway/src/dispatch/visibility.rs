//! Decides what an entry means for one session. It does no I/O.

use std::{collections::HashMap, sync::Arc};

use weir_discord::{
    dispatch::{DispatchedEvent, Visibility},
    intent::Intents,
};
use weir_proto::{
    data::Member,
    event::record::Change,
    id::{ChannelId, GuildId},
};

use crate::fanout::{
    entry::{Body, Entry},
    snapshot::Snapshot,
    subscriber::Subscriber,
};

/// The session that an entry may be sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipient<'a> {
    pub(crate) subscriber: &'a Subscriber,
    pub(crate) intents: Intents,
    /// True for a bot. It is not told of the channels of its direct messages: Discord's bots have not been
    /// since v8.
    pub(crate) bot: bool,
    /// The session's guilds and its user's membership of each.
    pub(crate) guilds: &'a HashMap<GuildId, Member>,
}

/// What to do about an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    /// Send nothing.
    Skip,
    /// Send this dispatch.
    Send { name: &'static str, d: &'a str },
    /// The session's user joined this guild: send GUILD_CREATE.
    Join(GuildId),
    /// The session's user left this guild, or it was deleted: send GUILD_DELETE.
    Leave(GuildId),
    /// Records that might concern the session were lost.
    Lost,
}

/// Decides what to do about an entry. `present` returns a guild's current state, for entries that carry none.
pub(crate) fn decide<'a>(
    recipient: Recipient<'_>,
    entry: &'a Entry,
    present: impl FnOnce(GuildId) -> Option<Arc<Snapshot>>,
) -> Action<'a> {
    let member = entry.guild_id.and_then(|guild_id| recipient.guilds.get(&guild_id));
    let change = match &entry.body {
        Body::LostAnywhere => return Action::Lost,
        Body::LostInGuild => return if member.is_some() { Action::Lost } else { Action::Skip },
        Body::LostInDirect(_) => {
            return if is_own_direct(recipient, entry) { Action::Lost } else { Action::Skip };
        }
        Body::Change(publication) => publication.record.change.as_ref(),
    };
    let Some(change) = change else { return Action::Skip };
    let user_id = recipient.subscriber.user_id.get();
    if let Some(guild_id) = entry.guild_id
        && recipient.subscriber.has_guild(guild_id)
    {
        match change {
            Change::GuildCreated(created) if created.member_ids.contains(&user_id) => {
                return Action::Join(guild_id);
            }
            Change::MemberAdded(added) if added.member.as_ref().is_some_and(|row| row.user_id == user_id) => {
                return Action::Join(guild_id);
            }
            Change::MemberRemoved(removed) if removed.user.as_ref().is_some_and(|row| row.id == user_id) => {
                return Action::Leave(guild_id);
            }
            Change::GuildDeleted(_) if member.is_some() => return Action::Leave(guild_id),
            _ => {}
        }
    }
    if is_own_direct(recipient, entry) {
        if recipient.bot && matches!(change, Change::ChannelCreated(_)) {
            return Action::Skip;
        }
        return match entry.dispatch().filter(|dispatch| dispatch.passes(user_id, recipient.intents)) {
            Some(dispatch) => {
                Action::Send { name: dispatch.name(), d: dispatch.data_for(user_id, recipient.intents) }
            }
            None => Action::Skip,
        };
    }
    let Some(member) = member else { return Action::Skip };
    let Some(dispatch) = entry.dispatch() else { return Action::Skip };
    if dispatch.passes(user_id, recipient.intents) && visible(dispatch, entry, member, present) {
        Action::Send { name: dispatch.name(), d: dispatch.data_for(user_id, recipient.intents) }
    } else {
        Action::Skip
    }
}

/// True if an entry belongs to a direct message of the session's user and the session is the one for direct
/// messages. Nothing else is checked: a direct message has no guild, no roles and no state.
fn is_own_direct(recipient: Recipient<'_>, entry: &Entry) -> bool {
    recipient.subscriber.has_direct() && entry.is_direct_of(recipient.subscriber.user_id)
}

fn visible(
    dispatch: &DispatchedEvent,
    entry: &Entry,
    member: &Member,
    present: impl FnOnce(GuildId) -> Option<Arc<Snapshot>>,
) -> bool {
    match &dispatch.needs {
        Visibility::Guild(_) => true,
        Visibility::Users(users) => users.binary_search(&member.user_id).is_ok(),
        Visibility::Channel(channel_id) => {
            let Ok(channel_id) = ChannelId::try_from(*channel_id) else { return false };
            let state = entry.state().or_else(|| entry.guild_id.and_then(present));
            state.is_some_and(|state| state.sees(member, channel_id))
        }
    }
}
