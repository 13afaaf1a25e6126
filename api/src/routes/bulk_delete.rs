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

/// Messages older than this are not deleted in bulk; Discord's.
const AGE_MAX_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

/// Deletes 2 to 100 messages, with MANAGE_MESSAGES. Ids of no message are ignored. All go in one step, of which clients
/// see one MESSAGE_DELETE_BULK.
pub(crate) async fn bulk_delete(
    Input { data, caller, ids, arrival }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let message_ids = parse_bulk_delete(&parse_body(&body)?)?;
    let access = ChannelAccess::find(&data, &caller, channel_id).await?;
    access.require_messages()?;
    access.require(Permissions::MANAGE_MESSAGES)?;
    // All or nothing as far as it can be known before: the whole request fails on one that is too old.
    if message_ids.iter().any(|id| unix_ms(*id) + AGE_MAX_MS <= arrival.unix_ms()) {
        return Err(ApiError::BulkDeleteTooOld.into());
    }
    let context = Some(access.event_context());
    let request = DeleteMessagesRequest { channel_id: channel_id.get(), message_ids, context };
    data.delete_messages(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    Ok(reply::no_content())
}
