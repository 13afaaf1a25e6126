//! `POST /channels/{channel_id}/messages/bulk-delete`

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    permission::Permissions,
    validate::{parse_body, parse_bulk_delete},
};
use weir_proto::{data::DeleteMessagesRequest, id::unix_ms};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    permission::access::ChannelAccess,
    request::{body::Payload, input::Input},
};

/// Messages older than this are not deleted in bulk. This is Discord's bound.
const AGE_MAX_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

/// Deletes 2 to 100 messages, with MANAGE_MESSAGES. Ids that belong to no message are ignored. All messages
/// are deleted in one step, and clients get one MESSAGE_DELETE_BULK.
pub(crate) async fn bulk_delete(
    Input { data, caller, ids, arrival }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let message_ids = parse_bulk_delete(&parse_body(&body)?)?;
    let access = ChannelAccess::find(&data, &caller, channel_id).await?;
    access.require_messages()?;
    access.require(Permissions::MANAGE_MESSAGES)?;
    // As far as the ages are known beforehand, all messages are deleted or none: one that is too old fails
    // the whole request.
    if message_ids.iter().any(|id| unix_ms(*id) + AGE_MAX_MS <= arrival.unix_ms()) {
        return Err(ApiError::BulkDeleteTooOld.into());
    }
    let context = Some(access.event_context());
    let request = DeleteMessagesRequest { channel_id: channel_id.get(), message_ids, context };
    data.delete_messages(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}
