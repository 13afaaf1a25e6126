//! `GET` and `POST /users/@me/channels`

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    object::DirectChannelObject,
    validate::{parse_body, parse_fields},
};
use weir_proto::data::Channel;

use crate::{
    answer::{error::Refused, reply},
    data::Data,
    flow::open_direct,
    request::{body::Payload, caller::Caller, input::Input},
};

/// Answers with an empty list: at Discord bots see no channels here, and user accounts have no such list yet.
pub(crate) async fn list_direct_channels(_: Caller) -> Response {
    reply::raw_json(http::StatusCode::OK, "[]")
}

/// Opens direct messages with a user, or returns the channel if they are open. Groups are not served.
pub(crate) async fn open_direct_channel(
    Input { data, caller, arrival, .. }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let recipient_id = parse_fields(&parse_body(&body)?, |fields| {
        for group in ["recipients", "access_tokens"] {
            fields.refuse_unsupported(group);
        }
        fields.require("recipient_id");
        fields.id("recipient_id")
    })?;
    let recipient_id = recipient_id.ok_or(ApiError::Internal)?;
    let opened = open_direct::open(&data, &caller, recipient_id, arrival).await?;
    object(&data, &caller, &opened.channel, opened.last_message_id).await
}

/// The answer that shows a channel of the caller's direct messages. Makes one data call if the other user is
/// not cached.
pub(crate) async fn object(
    data: &Data,
    caller: &Caller,
    channel: &Channel,
    last_message_id: u64,
) -> Result<Response, Refused> {
    let viewer = caller.id.get();
    let others = channel.recipient_ids.iter().copied().filter(|id| *id != viewer).collect();
    let users = data.users(others).await?;
    Ok(reply::ok(&DirectChannelObject::new(channel, viewer, &users, last_message_id)))
}
