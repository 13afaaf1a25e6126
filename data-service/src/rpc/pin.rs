//! Pins of `weir.data.v1.MessageService`.

use weir_connect::{ConnectError, Context, Reply, Router};
use weir_proto::{
    data::{ListPinsRequest, ListPinsResponse, SetPinnedRequest, SetPinnedResponse},
    id::ChannelId,
};

use super::{
    alter::alter,
    call::{Paths, limit, options, refused, reply_headers, required},
};
use crate::{read::pins::PINS_PAGE_MAX, write::plan::pin::SetPinned};

/// Adds the methods to a router.
pub(super) fn methods(router: Router, paths: &Paths) -> Router {
    methods! { router, paths, "weir.data.v1.MessageService":
        "SetPinned" => set_pinned,
        "ListPins" => list_pins,
    }
}

async fn set_pinned(
    paths: Paths,
    context: Context,
    request: SetPinnedRequest,
) -> Result<Reply<SetPinnedResponse>, ConnectError> {
    let of = (request.channel_id, request.message_id, request.context);
    let done = alter(&paths, &context, of, SetPinned(request.pinned)).await?;
    let (message, changed) = (Some(done.outcome.message.clone()), done.outcome.changed);
    Ok(done.reply(SetPinnedResponse { message, changed }))
}

async fn list_pins(
    paths: Paths,
    context: Context,
    request: ListPinsRequest,
) -> Result<Reply<ListPinsResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let limit = limit(request.limit, PINS_PAGE_MAX, PINS_PAGE_MAX)?;
    let page = paths.reads.pins(channel_id, (request.before_ms, limit), options(&context)).await;
    let page = page.map_err(|failure| refused(&context, failure))?;
    let rev = page.messages.iter().map(|row| row.last_rev).max().unwrap_or(0);
    let headers = reply_headers(&paths, &context, channel_id, rev, &page.served);
    let mut reply = Reply::message(ListPinsResponse { messages: page.messages, has_more: page.has_more });
    reply.headers = headers;
    Ok(reply)
}
