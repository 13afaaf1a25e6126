//! Sends a message, from a valid form to the stored row, for Discord's route and for the short flow.
//!
//! This takes at most four data calls in this order: the channel's context (which the caller has read
//! already), the message replied to, the mentioned users that are not cached, the creation.

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
use weir_proto::data::{CreateMessageRequest, EventContext, Message, OwnReactions};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    cache::users::{UsersById, named},
    data::Data,
    flow::history,
    permission::access::{ChannelAccess, Extras},
    request::arrival::Arrival,
};

/// What the nonce of a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// It is only echoed, as Discord's route does without `enforce_nonce`.
    Echoed,
    /// If the author sent a message with this nonce in the last minutes, that message is returned and none is
    /// created.
    Enforced,
}

/// What the message needs of its channel besides the permission check: the roles that its text names.
pub(crate) fn needs(content: &str) -> Extras {
    Extras { role_ids: ParsedMentions::of(content).roles, ..Extras::default() }
}

/// Creates a message by the caller of `access`, and answers with it. `access` must have been read with what
/// the message [`needs`].
///
/// # Errors
/// 50008, 50013, 50006, 160002, the form error for an unknown message, and the errors of the data calls.
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
    // The service only says "not found" if an earlier request with this nonce created a message that was
    // deleted since. A repeated request does not bring it back.
    let created = reply.found_or(ApiError::UnknownMessage)?;
    let row = created.message.ok_or(ApiError::Internal)?;
    if created.deduplicated {
        // The first message may have another text than this request, so its users and its reply are looked up
        // anew.
        let referenced = history::replied_to(data, &row).await?;
        let users = data.users(named(std::iter::once(&row).chain(&referenced))).await?;
        return Ok(answer(&row, (access.channel.guild_id, None), referenced.as_ref(), &users, echo));
    }
    Ok(answer(&row, (context.guild_id, None), context.referenced.as_ref(), &context, echo))
}

/// Drops what Discord drops silently if the permission is missing: embeds and text-to-speech.
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

/// Reads the message that a reply names. `None` if it is not there and the client asked to send the reply
/// anyway.
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
        // A reply has to be in the channel of its message, so a message of another channel counts as unknown.
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

/// Resolves the mentions of a text. Also returns the users that the text and `shown` name, for rendering.
/// Makes at most one data call, for ids that are not cached.
///
/// # Errors
/// Those of the call.
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

/// What gateways need to render the event, so that they need not ask for it.
pub(crate) fn context(
    access: &ChannelAccess,
    row: &Message,
    referenced: Option<Message>,
    users: &UsersById,
) -> EventContext {
    let shown = row.mention_user_ids.iter().chain(referenced.iter().flat_map(|row| &row.mention_user_ids));
    let ids: BTreeSet<u64> = shown.copied().collect();
    let own = row.author_id == access.user.id;
    let caller = access.event_context();
    EventContext {
        // Of another's message, which a moderator changes, the author is shown and not the moderator.
        author: if own { caller.author } else { users.cloned(row.author_id) },
        member: caller.member.filter(|_| own),
        referenced_author: referenced.as_ref().and_then(|row| users.cloned(row.author_id)),
        mentions: ids.into_iter().filter_map(|id| users.cloned(id)).collect(),
        referenced,
        guild_id: caller.guild_id,
        ..EventContext::default()
    }
}

/// The answer that shows a message. If the message is a reply and `referenced` is `None`, the message that it
/// replies to was deleted.
///
/// `own` is what the viewer reacted to the message with. Without it no reactions are shown: it was not asked
/// for, or the message is new.
pub(crate) fn answer(
    row: &Message,
    (guild_id, own): (u64, Option<&[OwnReactions]>),
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
        own,
    }))
}
