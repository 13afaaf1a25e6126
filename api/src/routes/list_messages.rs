//! `GET /channels/{channel_id}/messages`

use axum::response::Response;
use weir_discord::{permission::Permissions, validate::HistoryQuery};

use crate::{
    answer::{error::Refused, reply},
    flow::history::ViewedPage,
    request::{input::Input, query::QueryPairs},
};

/// A page of history, newest first whatever the anchor. Without READ_MESSAGE_HISTORY the page is empty, and
/// the request is not refused.
pub(crate) async fn list_messages(
    Input { data, caller, ids, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let query = HistoryQuery::parse(query.iter())?;
    let page = ViewedPage::read(&data, &caller, ids.channel()?, query).await?;
    page.access.require_messages()?;
    if !page.access.may(Permissions::READ_MESSAGE_HISTORY) {
        return Ok(reply::raw_json(http::StatusCode::OK, "[]"));
    }
    Ok(reply::raw_json(http::StatusCode::OK, page.json(&data).await?))
}
