//! `DELETE /channels/{channel_id}/messages/{message_id}`

use axum::response::Response;
use weir_discord::{error::ApiError, permission::Permissions};
use weir_proto::data::{DeleteMessageRequest, Message};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    flow::history,
    permission::access::ChannelAccess,
    request::input::Input,
};

/// Deletes a message: the caller's own, or anybody's with MANAGE_MESSAGES.
pub(crate) async fn delete_message(Input { data, caller, ids, arrival }: Input) -> Result<Response, Refused> {
    let (channel_id, message_id) = (ids.channel()?, ids.message()?);
    let access = ChannelAccess::find(&data, &caller, channel_id).await?;
    let row = history::message(&data, channel_id.get(), message_id.get()).await?;
    if row.author_id != caller.id.get() {
        access.require(Permissions::MANAGE_MESSAGES)?;
    }
    if is_undeletable(&row) {
        return Err(ApiError::CannotActOnSystemMessage.into());
    }
    let request = DeleteMessageRequest {
        channel_id: channel_id.get(),
        message_id: message_id.get(),
        context: Some(access.event_context()),
    };
    data.delete_message(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}

/// True for message types that Discord never deletes: changes of recipients, calls, renames of groups,
/// starters of threads.
fn is_undeletable(row: &Message) -> bool {
    matches!(row.r#type, 1..=5 | 21)
}

/// True for message types that people do not write. Imported histories hold them.
pub(crate) fn is_system(row: &Message) -> bool {
    !matches!(row.r#type, 0 | 19 | 20 | 23)
}
