//! `/channels/{channel_id}/messages/{message_id}/reactions`

use axum::response::Response;
use weir_discord::{
    emoji::parse_emoji,
    error::ApiError,
    object::{UserObject, UserSource as _},
    permission::Permissions,
};
use weir_proto::{
    data::{AddReactionRequest, ClearReactionsRequest, Emoji, ListReactionsRequest, RemoveReactionRequest},
    id::{ChannelId, MessageId, UserId},
};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    permission::access::ChannelAccess,
    request::{input::Input, query::QueryPairs},
};

/// Users of a page if the client gives no number, and at most. Discord's.
const USERS_DEFAULT: u32 = 25;
const USERS_MAX: u32 = 100;

/// The message that a path names, and the caller's view of its channel, whose history the caller may read.
async fn find(input: &Input) -> Result<(ChannelAccess, ChannelId, MessageId), Refused> {
    let (channel_id, message_id) = (input.ids.channel()?, input.ids.message()?);
    let access = ChannelAccess::find(&input.data, &input.caller, channel_id).await?;
    access.require_messages()?;
    access.require(Permissions::READ_MESSAGE_HISTORY)?;
    Ok((access, channel_id, message_id))
}

fn emoji(input: &Input) -> Result<Emoji, Refused> {
    Ok(parse_emoji(input.ids.text("emoji"))?)
}

/// `PUT …/{emoji}/@me`: the first to use an emoji needs ADD_REACTIONS, and anybody else may join.
pub(crate) async fn react(input: Input) -> Result<Response, Refused> {
    let emoji = emoji(&input)?;
    let (access, channel_id, message_id) = find(&input).await?;
    let Input { data, caller, arrival, .. } = input;
    let request = AddReactionRequest {
        channel_id: channel_id.get(),
        message_id: message_id.get(),
        user_id: caller.id.get(),
        emoji: Some(emoji),
        only_join: !access.may(Permissions::ADD_REACTIONS),
        context: Some(access.event_context()),
    };
    data.add_reaction(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}

/// `DELETE …/{emoji}/@me`
pub(crate) async fn take_back(input: Input) -> Result<Response, Refused> {
    let emoji = emoji(&input)?;
    let (access, channel_id, message_id) = find(&input).await?;
    let user_id = input.caller.id;
    remove(input, &access, (channel_id, message_id, user_id), emoji).await
}

/// `DELETE …/{emoji}/{user_id}`: another's reaction with MANAGE_MESSAGES.
pub(crate) async fn remove_of_user(input: Input) -> Result<Response, Refused> {
    let (emoji, user_id) = (emoji(&input)?, input.ids.user_or_me(&input.caller)?);
    let (access, channel_id, message_id) = find(&input).await?;
    if user_id != input.caller.id {
        access.require(Permissions::MANAGE_MESSAGES)?;
    }
    remove(input, &access, (channel_id, message_id, user_id), emoji).await
}

async fn remove(
    Input { data, arrival, .. }: Input,
    access: &ChannelAccess,
    (channel_id, message_id, user_id): (ChannelId, MessageId, UserId),
    emoji: Emoji,
) -> Result<Response, Refused> {
    let request = RemoveReactionRequest {
        channel_id: channel_id.get(),
        message_id: message_id.get(),
        user_id: user_id.get(),
        emoji: Some(emoji),
        context: Some(access.event_context()),
    };
    data.remove_reaction(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}

/// `DELETE …/reactions`
pub(crate) async fn clear(input: Input) -> Result<Response, Refused> {
    clear_of(input, None).await
}

/// `DELETE …/reactions/{emoji}`
pub(crate) async fn clear_emoji(input: Input) -> Result<Response, Refused> {
    let emoji = emoji(&input)?;
    clear_of(input, Some(emoji)).await
}

async fn clear_of(input: Input, emoji: Option<Emoji>) -> Result<Response, Refused> {
    let (access, channel_id, message_id) = find(&input).await?;
    access.require(Permissions::MANAGE_MESSAGES)?;
    let Input { data, arrival, .. } = input;
    let request = ClearReactionsRequest {
        channel_id: channel_id.get(),
        message_id: message_id.get(),
        emoji,
        context: Some(access.event_context()),
    };
    data.clear_reactions(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}

/// `GET …/reactions/{emoji}`: the users, ascending. Nobody has paid for a reaction (`type=1`).
pub(crate) async fn list_users(input: Input, query: QueryPairs) -> Result<Response, Refused> {
    let emoji = emoji(&input)?;
    let limit = query.limit(USERS_DEFAULT, USERS_MAX)?;
    let (after, paid) = (query.id("after")?.unwrap_or(0), query.flag("type")?);
    let (_, channel_id, message_id) = find(&input).await?;
    let Input { data, .. } = input;
    let request = ListReactionsRequest {
        channel_id: channel_id.get(),
        message_id: message_id.get(),
        emoji: Some(emoji),
        after,
        limit,
    };
    let found = data.list_reactions(&request, &data.call()).await.found_or(ApiError::UnknownMessage)?;
    let ids = if paid { Vec::new() } else { found.user_ids };
    let users = data.users(ids.iter().copied().collect()).await?;
    let shown: Vec<UserObject<'_>> = ids.iter().map(|id| UserObject::of(*id, users.user(*id))).collect();
    Ok(reply::ok(&shown))
}
