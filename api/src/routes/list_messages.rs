//! `GET /channels/{channel_id}/messages`

use axum::response::Response;
use weir_discord::{permission::Permissions, validate::HistoryQuery};

use crate::{
    answer::{error::Refused, reply},
    flow::history::Page,
    permission::access::ChannelAccess,
    request::{input::Input, query::QueryPairs},
};

/// A page of history, newest first whatever the anchor. Without READ_MESSAGE_HISTORY the page is empty, and
/// the request is not refused.
pub(crate) async fn list_messages(
    Input { data, caller, ids, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let query = HistoryQuery::parse(query.iter())?;
    let access = ChannelAccess::find(&data, &caller, ids.channel()?).await?;
    access.require_messages()?;
    if !access.may(Permissions::READ_MESSAGE_HISTORY) {
        return Ok(reply::raw_json(http::StatusCode::OK, "[]"));
    }
    let page = Page::read(&data, &access, query).await?;
    Ok(reply::ok(&page.objects()))
}
