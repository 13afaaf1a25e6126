//! `GET /channels/{channel_id}/messages/{message_id}`

use axum::{extract::State, response::Response};
use weir_discord::{object::NonceEcho, permission::Permissions};

use crate::{access::ChannelAccess, app::App, auth::Caller, error::Refused, history, path::PathIds, posting};

/// One message.
pub(crate) async fn get_message(
    State(app): State<App>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let (channel_id, message_id) = (ids.channel()?, ids.message()?);
    let access = ChannelAccess::find(&app, &caller, channel_id).await?;
    access.require(Permissions::READ_MESSAGE_HISTORY)?;
    let row = history::message(&app, channel_id.get(), message_id.get()).await?;
    let referenced = history::replied_to(&app, &row).await?;
    let users = history::users_of(&app, std::iter::once(&row).chain(&referenced), &app.call()).await?;
    Ok(posting::answer(&row, access.channel.guild_id, referenced.as_ref(), &users, NonceEcho::Omit))
}
