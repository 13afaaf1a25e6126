//! Sends a message, from a valid form to the stored row, for Discord's route and for the short flow.
//!
//! At most four data calls, in this order: the channel's context (the caller made it), the message replied to, the users that are
//! mentioned and not cached, the creation.

use std::collections::BTreeSet;

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    object::{
        ContentAccess, MessageObject, MessageParts, NonceEcho, Referenced, TYPE_DEFAULT, TYPE_REPLY,
        UserSource,
    },
    permission::Permissions,
    validate::{AllowedMentions, CreateMessageForm, MentionRules, Mentions, ParsedMentions, ReplyTo},
};
use weir_proto::data::{CreateMessageRequest, EventContext, Message};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    cache::users::{UsersById, named},
    data::Data,
    flow::history,
    permission::access::{ChannelAccess, Extras},
    request::arrival::Arrival,
};

/// Whether an earlier message with the same nonce answers for this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// Only echoed: Discord's route without `enforce_nonce`.
    Echoed,
    /// The author's message of the last minutes with this nonce is returned, and none is made.
    Enforced,
}

/// What a message needs of its channel beside the check: the roles that its text names.
pub(crate) fn needs(content: &str) -> Extras {
    Extras { role_ids: ParsedMentions::of(content).roles, ..Extras::default() }
}

/// Creates a message by the caller of `access`, which was found with what it [`needs`], and answers with it.
///
/// # Errors
/// 50008, 50013, 50006, 160002, the unknown-message form error, and those of the data calls.
pub(crate) async fn send(
    data: &Data,
    access: &ChannelAccess,
    form: CreateMessageForm,
    nonce: Nonce,
    arrival: Arrival,
) -> Result<Response, Refused> {
    access.require_messages()?;
    access.require(Permissions::SEND_MESSAGES)?;
    let form = without_forbidden(access, form)?;
    let referenced = match &form.reply {
        None => None,
        Some(reply) => referenced(data, access, reply).await?,
    };
    let echo = NonceEcho::show(form.nonce_is_integer);
    let parsed = ParsedMentions::of(&form.content);
    let replied_author = referenced.as_ref().map(|row| row.author_id);
    let (mentions, users) =
        resolve_mentions(data, access, &parsed, &form.allowed_mentions, replied_author, named(&referenced))
            .await?;
    let message = Message {
        channel_id: access.channel.id,
        author_id: access.user.id,
        content: form.content,
        nonce: form.nonce.unwrap_or_default(),
        r#type: if referenced.is_some() { TYPE_REPLY } else { TYPE_DEFAULT },
        flags: form.flags,
        reply_to: referenced.as_ref().map_or(0, |row| row.id),
        mention_user_ids: mentions.users,
        mention_role_ids: mentions.roles,
        mention_everyone: mentions.everyone,
        embeds_json: form.embeds_json,
        tts: form.tts,
        ..Message::default()
    };
    let context = EventContext {
        nonce_is_integer: form.nonce_is_integer,
        ..context(access, &message, referenced, &users)
    };
    let request = CreateMessageRequest {
        message: Some(message),
        allow_duplicate_nonce: nonce == Nonce::Echoed,
        context: Some(context.clone()),
    };
    let reply = data.create_message(&request, &data.change(arrival)).await;
    // Not found is only the message that an earlier request with this nonce made: it was deleted, and a repetition does not bring it back.
    let created = reply.found_or(ApiError::UnknownMessage)?;
    let row = created.message.ok_or(ApiError::Internal)?;
    if created.deduplicated {
        // The first message may say something else than this request: what it names is looked up anew.
        let referenced = history::replied_to(data, &row).await?;
        let users = data.users(named(std::iter::once(&row).chain(&referenced))).await?;
        return Ok(answer(&row, access.channel.guild_id, referenced.as_ref(), &users, echo));
    }
    Ok(answer(&row, context.guild_id, context.referenced.as_ref(), &context, echo))
}

/// Drops what Discord drops in silence without the permission: embeds and the reading aloud.
fn without_forbidden(
    access: &ChannelAccess,
    mut form: CreateMessageForm,
) -> Result<CreateMessageForm, Refused> {
    form.tts &= access.may(Permissions::SEND_TTS_MESSAGES);
    if !access.may(Permissions::EMBED_LINKS) {
        form.embeds_json.clear();
        if form.content.trim().is_empty() {
            return Err(ApiError::EmptyMessage.into());
        }
    }
    Ok(form)
}

/// The message that a reply names; `None` if it is not there and the client said to send anyway.
async fn referenced(
    data: &Data,
    access: &ChannelAccess,
    reply: &ReplyTo,
) -> Result<Option<Message>, Refused> {
    if !access.may(Permissions::READ_MESSAGE_HISTORY) {
        return Err(ApiError::ReplyWithoutHistory.into());
    }
    let here = reply.channel_id.is_none_or(|channel_id| channel_id == access.channel.id);
    let found = if here {
        history::message(data, access.channel.id, reply.message_id).await
    } else {
        // A reply cannot leave its channel, so there the message is as good as unknown.
        Err(ApiError::UnknownMessage.into())
    };
    match found {
        Ok(message) => Ok(Some(message)),
        Err(refused) if refused.is(&ApiError::UnknownMessage) => {
            if reply.fail_if_not_exists {
                Err(ReplyTo::unknown_message().into())
            } else {
                Ok(None)
            }
        }
        Err(refused) => Err(refused),
    }
}

/// What the text pings; and the users that it names together with those of `shown`, for rendering. One data call at most for ids that are
/// not cached.
pub(crate) async fn resolve_mentions(
    data: &Data,
    access: &ChannelAccess,
    parsed: &ParsedMentions,
    allowed: &AllowedMentions,
    replied_author: Option<u64>,
    mut shown: BTreeSet<u64>,
) -> Result<(Mentions, UsersById), Refused> {
    shown.extend(&parsed.users);
    let users = data.users(shown).await?;
    let roles = &access.state.roles;
    let rules = MentionRules {
        replied_author,
        may_mention_everyone: access.may(Permissions::MENTION_EVERYONE),
        user_exists: &|id| users.contains(id),
        role_mentionable: &|id| roles.iter().find(|role| role.id == id).map(|role| role.mentionable),
    };
    let mentions = Mentions::resolve(parsed, allowed, &rules);
    Ok((mentions, users))
}

/// What gateways are told so that they need not ask.
pub(crate) fn context(
    access: &ChannelAccess,
    row: &Message,
    referenced: Option<Message>,
    users: &UsersById,
) -> EventContext {
    let shown = row.mention_user_ids.iter().chain(referenced.iter().flat_map(|row| &row.mention_user_ids));
    let ids: BTreeSet<u64> = shown.copied().collect();
    EventContext {
        referenced_author: referenced.as_ref().and_then(|row| users.cloned(row.author_id)),
        mentions: ids.into_iter().filter_map(|id| users.cloned(id)).collect(),
        referenced,
        ..access.event_context()
    }
}

/// The answer that shows a message. A reply whose target was not `referenced` answers one that was deleted.
pub(crate) fn answer(
    row: &Message,
    guild_id: u64,
    referenced: Option<&Message>,
    users: &dyn UserSource,
    nonce: NonceEcho,
) -> Response {
    reply::ok(&MessageObject::new(&MessageParts {
        row,
        users,
        guild_id,
        referenced: referenced.map_or(Referenced::Deleted, Referenced::Found),
        nonce,
        access: ContentAccess::Full,
    }))
}
