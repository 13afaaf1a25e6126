//! `GET /channels/{channel_id}/messages/{message_id}`

use axum::response::Response;
use weir_discord::{object::NonceEcho, permission::Permissions};

use crate::{
    answer::error::Refused,
    cache::users::named,
    flow::{history, send_message},
    permission::access::ChannelAccess,
    request::input::Input,
};

/// One message.
pub(crate) async fn get_message(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let (channel_id, message_id) = (ids.channel()?, ids.message()?);
    let access = ChannelAccess::find(&data, &caller, channel_id).await?;
    access.require(Permissions::READ_MESSAGE_HISTORY)?;
    let viewer = Some(caller.id);
    let (row, own) = history::viewed_message(&data, channel_id.get(), message_id.get(), viewer).await?;
    let referenced = history::replied_to(&data, &row).await?;
    let users = data.users(named(std::iter::once(&row).chain(&referenced))).await?;
    Ok(send_message::answer(
        &row,
        (access.channel.guild_id, Some(own.as_slice())),
        referenced.as_ref(),
        &users,
        NonceEcho::Omit,
    ))
}
