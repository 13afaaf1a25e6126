//! Creates a guild, for Discord's route and for the short flow.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use weir_discord::{
    error::{ApiError, Leaf},
    object::UserSource as _,
    permission::Permissions,
};
use weir_proto::{
    data::{Channel, CreateGuildRequest, Guild, GuildState, Member, Role},
    id::UserId,
};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    app::App,
    config::AddMembers,
    flow::memberships::{AddedBy, require_room},
    request::{arrival::Arrival, caller::Caller},
};

/// Name of the first text channel, as Discord names it.
const FIRST_CHANNEL: &str = "general";
/// The name by which the data service knows the role that has the guild's id.
const EVERYONE: &str = "@everyone";
/// Most members that a guild is created with, its owner included. This is the data service's bound for one
/// commit.
pub(crate) const MEMBERS_MAX: usize = 500;

/// How many members' guilds are counted at once. This is a choice: a guild with all its members takes 63
/// round trips, and one caller does not fill the data service.
const LOOKS_AT_ONCE: usize = 8;

/// What everyone may do in a new guild: take part, and change nothing that belongs to others.
const EVERYONE_MAY: &[Permissions] = &[
    Permissions::CREATE_INSTANT_INVITE,
    Permissions::ADD_REACTIONS,
    Permissions::STREAM,
    Permissions::VIEW_CHANNEL,
    Permissions::SEND_MESSAGES,
    Permissions::EMBED_LINKS,
    Permissions::ATTACH_FILES,
    Permissions::READ_MESSAGE_HISTORY,
    Permissions::MENTION_EVERYONE,
    Permissions::USE_EXTERNAL_EMOJIS,
    Permissions::CONNECT,
    Permissions::SPEAK,
    Permissions::USE_VAD,
    Permissions::CHANGE_NICKNAME,
    Permissions::USE_APPLICATION_COMMANDS,
    Permissions::REQUEST_TO_SPEAK,
    Permissions::CREATE_PUBLIC_THREADS,
    Permissions::CREATE_PRIVATE_THREADS,
    Permissions::USE_EXTERNAL_STICKERS,
    Permissions::SEND_MESSAGES_IN_THREADS,
    Permissions::USE_EMBEDDED_ACTIVITIES,
    Permissions::USE_SOUNDBOARD,
    Permissions::USE_EXTERNAL_SOUNDS,
    Permissions::SEND_VOICE_MESSAGES,
    Permissions::SEND_POLLS,
];

/// A guild that is to be created.
pub(crate) struct NewGuild {
    pub(crate) name: String,
    /// Users besides the owner, at most [`MEMBERS_MAX`].
    pub(crate) members: Vec<u64>,
}

/// Creates a guild that the caller owns. No member is brought into more guilds than it has room for: while
/// the turns of all members are held, the guilds of each are counted first.
///
/// # Errors
/// A form error for members that do not exist, 50025 for any member where members must consent, 30001 if one
/// of them is in as many guilds as it may be, and the errors of the data calls.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    new: NewGuild,
    arrival: Arrival,
) -> Result<GuildState, Refused> {
    let mut ids: BTreeSet<u64> = new.members.into_iter().collect();
    ids.remove(&caller.id.get());
    let known = app.data.users(ids.clone()).await?;
    if ids.iter().any(|id| known.user(*id).is_none()) {
        return Err(Refused::field("members", Leaf::Choices("users that exist")));
    }
    if !ids.is_empty() && app.config.add_members == AddMembers::Consent {
        // Each member would have to show its token, so members are added one by one afterwards.
        return Err(ApiError::ConsentNeeded.into());
    }
    let turn = app.turns.take(std::iter::once(caller.id.get()).chain(ids.iter().copied())).await?;
    let data = &app.data;
    require_room(data, caller.id, AddedBy::Itself).await?;
    let others: Vec<UserId> = ids.iter().filter_map(|id| UserId::try_from(*id).ok()).collect();
    let looks = others.into_iter().map(|id| require_room(data, id, AddedBy::Others));
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect::<()>().await?;
    let permissions = EVERYONE_MAY.iter().fold(Permissions::NONE, |all, one| all | *one).0;
    let request = CreateGuildRequest {
        guild: Some(Guild { name: new.name, owner_id: caller.id.get(), ..Guild::default() }),
        roles: vec![Role { name: EVERYONE.to_owned(), permissions, ..Role::default() }],
        channels: vec![Channel { name: FIRST_CHANNEL.to_owned(), ..Channel::default() }],
        members: std::iter::once(caller.id.get())
            .chain(ids)
            .map(|user_id| Member { user_id, joined_at_ms: arrival.unix_ms(), ..Member::default() })
            .collect(),
    };
    let data = data.clone();
    let call = data.change(arrival);
    let create = async move {
        let state = data.create_guild(&request, &call).await.found_or(ApiError::UnknownUser)?.state;
        Ok(state.ok_or(ApiError::Internal)?)
    };
    turn.make(create).await
}
