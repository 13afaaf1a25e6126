//! `POST /channels/{channel_id}/messages/bulk-delete`

use axum::{Extension, extract::State, response::Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use weir_data_client::DataError;
use weir_discord::{
    error::ApiError,
    permission::Permissions,
    validate::{parse_body, parse_bulk_delete},
};
use weir_proto::{data::DeleteMessageRequest, id::unix_ms};

use crate::{
    access::ChannelAccess, app::App, auth::Caller, body::Payload, envelope::Arrival, error::Refused,
    path::PathIds, reply,
};

/// Messages older than this are not deleted in bulk; Discord's.
const AGE_MAX_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// Deletions under way at once. A choice: the channel's owner makes them one after another anyway, so more would only queue there.
const AT_ONCE: usize = 8;

/// Deletes 2 to 100 messages, with MANAGE_MESSAGES. Ids of no message are ignored. Not atomic: each message goes on its own, and clients
/// see as many MESSAGE_DELETE as there were messages.
pub(crate) async fn bulk_delete(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let message_ids = parse_bulk_delete(&parse_body(&body)?)?;
    let access = ChannelAccess::find(&app, &caller, channel_id).await?;
    access.require_messages()?;
    access.require(Permissions::MANAGE_MESSAGES)?;
    // All or nothing as far as it can be known before: the whole request fails on one that is too old.
    if message_ids.iter().any(|id| unix_ms(*id) + AGE_MAX_MS <= arrival.unix_ms()) {
        return Err(ApiError::BulkDeleteTooOld.into());
    }
    let options = app.change(arrival);
    let deletions = message_ids.into_iter().map(|message_id| {
        let context = Some(access.event_context());
        let request = DeleteMessageRequest { channel_id: channel_id.get(), message_id, context };
        let (app, options) = (&app, &options);
        async move {
            match app.data.delete_message(&request, options).await {
                Ok(_) | Err(DataError::NotFound { .. }) => Ok(()),
                Err(error) => Err(Refused::from_data(error, ApiError::UnknownMessage)),
            }
        }
    });
    let () = stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(reply::no_content())
}
