//! `POST /channels/{channel_id}/typing`

use axum::response::Response;
use weir_discord::{error::ApiError, permission::Permissions};
use weir_proto::data::TypingRequest;

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    permission::access::ChannelAccess,
    request::input::Input,
};

/// Shows that the caller is typing. Nothing is stored.
pub(crate) async fn typing(Input { data, caller, ids, arrival }: Input) -> Result<Response, Refused> {
    let access = ChannelAccess::find(&data, &caller, ids.channel()?).await?;
    access.require_messages()?;
    access.require(Permissions::SEND_MESSAGES)?;
    let request = TypingRequest {
        channel_id: access.channel.id,
        user_id: caller.id.get(),
        timestamp_ms: arrival.unix_ms(),
        context: Some(access.event_context()),
    };
    data.typing(&request, &data.change(arrival)).await.found_or(ApiError::UnknownChannel)?;
    Ok(reply::no_content())
}
