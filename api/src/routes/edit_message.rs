//! `PATCH /channels/{channel_id}/messages/{message_id}`

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    object::NonceEcho,
    permission::Permissions,
    validate::{EditMessageForm, ParsedMentions, parse_body},
};
use weir_proto::data::{EditMessageRequest, Message};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    cache::users::named,
    flow::{history, send_message},
    permission::access::ChannelAccess,
    request::{body::Payload, input::Input},
    routes::delete_message::is_system,
};

/// Changes a message: the caller's own, or with MANAGE_MESSAGES only the flags of another's.
pub(crate) async fn edit_message(
    Input { data, caller, ids, arrival }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let (channel_id, message_id) = (ids.channel()?, ids.message()?);
    let mut form = EditMessageForm::parse(&parse_body(&body)?)?;
    let named_in = send_message::needs(form.content.as_deref().unwrap_or_default());
    let access = ChannelAccess::find_with(&data, &caller, channel_id, named_in).await?;
    let viewer = Some(caller.id);
    let (row, own) = history::viewed_message(&data, channel_id.get(), message_id.get(), viewer).await?;
    authorize(&access, &row, &form)?;
    if !access.may(Permissions::EMBED_LINKS) {
        form.embeds_json = form.embeds_json.map(|_dropped| String::new());
    }
    if form.leaves_empty(&row) {
        return Err(ApiError::EmptyMessage.into());
    }
    let referenced = history::replied_to(&data, &row).await?;
    // If the author of the message replied to was pinged before, it stays among the mentioned users. An edit
    // does not ping it anew.
    let replied_author =
        referenced.as_ref().map(|replied| replied.author_id).filter(|id| row.mention_user_ids.contains(id));
    let parsed = ParsedMentions::of(form.content.as_deref().unwrap_or_default());
    let shown = named(std::iter::once(&row).chain(&referenced));
    let (mentions, users) = send_message::resolve_mentions(
        &data,
        &access,
        &parsed,
        &form.allowed_mentions,
        replied_author,
        shown,
    )
    .await?;
    let mut edited = Message { flags: form.flags_after(row.flags), ..row };
    if form.content.is_some() {
        edited.mention_user_ids = mentions.users;
        edited.mention_role_ids = mentions.roles;
        edited.mention_everyone = mentions.everyone;
    }
    let context = send_message::context(&access, &edited, referenced, &users);
    let request = EditMessageRequest {
        channel_id: edited.channel_id,
        message_id: edited.id,
        flags: form.flags.map(|_| edited.flags),
        mentions_set: form.content.is_some(),
        mention_user_ids: edited.mention_user_ids,
        mention_role_ids: edited.mention_role_ids,
        mention_everyone: edited.mention_everyone,
        content: form.content,
        embeds_json: form.embeds_json,
        context: Some(context.clone()),
    };
    let row =
        data.edit_message(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?.message;
    let row = row.ok_or(ApiError::Internal)?;
    Ok(send_message::answer(
        &row,
        (context.guild_id, Some(own.as_slice())),
        context.referenced.as_ref(),
        &users,
        NonceEcho::Omit,
    ))
}

fn authorize(access: &ChannelAccess, row: &Message, form: &EditMessageForm) -> Result<(), Refused> {
    if is_system(row) {
        return Err(ApiError::CannotActOnSystemMessage.into());
    }
    if row.author_id == access.user.id {
        return Ok(());
    }
    if form.content.is_some() || form.embeds_json.is_some() {
        return Err(ApiError::EditOtherUser.into());
    }
    access.require(Permissions::MANAGE_MESSAGES)
}
