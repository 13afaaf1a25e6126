//! `/channels/{channel_id}/messages/pins`, and the older `/channels/{channel_id}/pins`

use axum::response::Response;
use serde::Serialize;
use weir_discord::{
    error::ApiError,
    object::{MessageObject, TYPE_PIN},
    permission::Permissions,
    wire::Timestamp,
};
use weir_proto::data::{CreateMessageRequest, ListPinsRequest, ListPinsResponse, Message, SetPinnedRequest};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    cache::users::named,
    data::Data,
    flow::{
        history::{self, Page},
        send_message,
    },
    permission::access::ChannelAccess,
    request::{arrival::Arrival, input::Input, query::QueryPairs},
    routes::delete_message::is_system,
};

/// Pins of a page at most, and if the client gives no number. Discord's.
const PINS_MAX: u32 = 50;

#[derive(Serialize)]
struct Pin<'a> {
    pinned_at: Timestamp,
    message: MessageObject<'a>,
}

#[derive(Serialize)]
struct Pins<'a> {
    items: Vec<Pin<'a>>,
    has_more: bool,
}

/// `GET /channels/{channel_id}/messages/pins`: the last one pinned first.
pub(crate) async fn list_pins(input: Input, query: QueryPairs) -> Result<Response, Refused> {
    let limit = query.limit(PINS_MAX, PINS_MAX)?;
    // To the data service 0 is no bound. Nothing was pinned in the first millisecond of 1970 either.
    let before_ms = query.timestamp("before")?.map_or(0, |at| at.max(1));
    let (page, has_more) = read(&input, before_ms, limit).await?;
    let pinned_at = page.rows.iter().map(|row| Timestamp(row.pinned_at_ms));
    let items = pinned_at.zip(page.objects()).map(|(pinned_at, message)| Pin { pinned_at, message });
    Ok(reply::ok(&Pins { items: items.collect(), has_more }))
}

/// `GET /channels/{channel_id}/pins`: the messages alone, and only the first page of them.
pub(crate) async fn list_pinned_messages(input: Input) -> Result<Response, Refused> {
    let (page, _) = read(&input, 0, PINS_MAX).await?;
    Ok(reply::ok(&page.objects()))
}

/// A page of pins. Without READ_MESSAGE_HISTORY it is empty, and the request is not refused.
async fn read(input: &Input, before_ms: u64, limit: u32) -> Result<(Page, bool), Refused> {
    let (data, channel_id) = (&input.data, input.ids.channel()?);
    let access = ChannelAccess::find(data, &input.caller, channel_id).await?;
    access.require_messages()?;
    let found = if access.may(Permissions::READ_MESSAGE_HISTORY) {
        let request = ListPinsRequest { channel_id: channel_id.get(), before_ms, limit };
        data.list_pins(&request, &data.call()).await.found_or(ApiError::UnknownChannel)?
    } else {
        ListPinsResponse::default()
    };
    Ok((Page::of(data, access.channel.guild_id, found.messages).await?, found.has_more))
}

/// `PUT /channels/{channel_id}/messages/pins/{message_id}`
pub(crate) async fn pin(input: Input) -> Result<Response, Refused> {
    set(input, true).await
}

/// `DELETE /channels/{channel_id}/messages/pins/{message_id}`
pub(crate) async fn unpin(input: Input) -> Result<Response, Refused> {
    set(input, false).await
}

/// Pins or unpins a message. MANAGE_MESSAGES counts as PIN_MESSAGES, as in Discord before the two were split.
async fn set(Input { data, caller, ids, arrival }: Input, pinned: bool) -> Result<Response, Refused> {
    let (channel_id, message_id) = (ids.channel()?, ids.message()?);
    let access = ChannelAccess::find(&data, &caller, channel_id).await?;
    access.require_messages()?;
    if !access.is_direct() && !access.may(Permissions::PIN_MESSAGES) {
        access.require(Permissions::MANAGE_MESSAGES)?;
    }
    let row = history::message(&data, channel_id.get(), message_id.get()).await?;
    if pinned && is_system(&row) {
        return Err(ApiError::CannotActOnSystemMessage.into());
    }
    let referenced = history::replied_to(&data, &row).await?;
    let users = data.users(named(std::iter::once(&row).chain(&referenced))).await?;
    let request = SetPinnedRequest {
        channel_id: row.channel_id,
        message_id: row.id,
        pinned,
        context: Some(send_message::context(&access, &row, referenced, &users)),
    };
    let set = data.set_pinned(&request, &data.change(arrival)).await.found_or(ApiError::UnknownMessage)?;
    if pinned && set.changed {
        tell(&data, &access, row.id, arrival).await;
    }
    Ok(reply::no_content())
}

/// Writes the message that tells of a pin. The message is pinned whether or not this succeeds, so a failure
/// is nobody's error.
async fn tell(data: &Data, access: &ChannelAccess, message_id: u64, arrival: Arrival) {
    let message = Message {
        channel_id: access.channel.id,
        author_id: access.user.id,
        r#type: TYPE_PIN,
        reply_to: message_id,
        ..Message::default()
    };
    let context = Some(access.event_context());
    let request = CreateMessageRequest { message: Some(message), allow_duplicate_nonce: true, context };
    if let Err(error) = data.create_message(&request, &data.change(arrival)).await {
        tracing::warn!(%error, channel_id = access.channel.id, "a pin is not told of in its channel");
    }
}
