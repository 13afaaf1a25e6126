//! The short flows, without a version in their paths: a message in three requests and no client library.
//!
//! - `POST /servers {name, members?}` → 201 `{server_id, channel_id, name}`
//! - `POST /messages {channel | server | user, content, nonce?}` → 200, Discord's message object. Always
//!   deduplicates by nonce. To a `user` it is a direct message.
//! - `GET /history?channel=&before=&limit=` → `{messages: [newest first], next}`; `next` is the `before` of
//!   the next page, or null.
//!
//! Authentication, limits and error bodies are those of Discord's routes.

use axum::{extract::State, response::Response};
use serde::Serialize;
use weir_discord::{
    error::{ApiError, Leaf},
    object::MessageObject,
    permission::Permissions,
    validate::{
        Anchor, CreateMessageForm, GuildForm, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, HistoryQuery,
        parse_body, parse_fields,
    },
    wire::Id,
};
use weir_proto::{
    data::{Channel, GuildState},
    id::{ChannelId, GuildId},
};

use crate::{
    answer::{error::Refused, reply},
    app::App,
    data::Data,
    flow::{
        create_guild::{self, MEMBERS_MAX, NewGuild},
        history::ViewedPage,
        open_direct,
        send_message::{self, Nonce},
    },
    permission::access::{ChannelAccess, Channels, GuildAccess},
    request::{body::Payload, caller::Caller, input::Input, query::QueryPairs},
};

/// Discord's type of text channels.
const TEXT: u32 = 0;

#[derive(Serialize)]
struct Server<'a> {
    server_id: Id,
    channel_id: Id,
    name: &'a str,
}

#[derive(Serialize)]
struct History<'a> {
    messages: Vec<MessageObject<'a>>,
    next: Option<Id>,
}

/// `POST /servers`
pub(crate) async fn create_server(
    State(app): State<App>,
    Input { caller, arrival, .. }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let body = parse_body(&body)?;
    let members = parse_fields(&body, |fields| fields.ids("members", MEMBERS_MAX - 1))?.unwrap_or_default();
    let name = GuildForm::parse_create(&body)?.name.unwrap_or_default();
    let state = create_guild::create(&app, &caller, NewGuild { name, members }, arrival).await?;
    let guild = state.guild.as_ref().ok_or(ApiError::Internal)?;
    let channel = first_text_channel(&state).ok_or(ApiError::Internal)?;
    let server = Server { server_id: Id(guild.id), channel_id: Id(channel.id), name: &guild.name };
    Ok(reply::created(&server))
}

/// `POST /messages`
pub(crate) async fn create_message(
    Input { data, caller, arrival, .. }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let body = parse_body(&body)?;
    let ids = ["channel", "server", "user"];
    let target = parse_fields(&body, |fields| {
        let target = (fields.id("channel"), fields.id("server"), fields.id("user"));
        match target {
            // If a field is there but is no id, reading it has noted that error already.
            (None, None, None) if ids.iter().all(|name| fields.value(name).is_none()) => {
                fields.fail("channel", Leaf::Required);
            }
            (None, None, None) | (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => {}
            _ => fields.fail("channel", Leaf::Exclusive("channel, server, user")),
        }
        target
    })?;
    let form = CreateMessageForm::parse(&body)?;
    let channel_id = match target {
        (Some(channel_id), ..) => channel_id,
        (None, Some(server_id), _) => text_channel_of(&data, &caller, server_id).await?,
        (_, _, Some(user_id)) => open_direct::open(&data, &caller, user_id, arrival).await?.channel.id,
        (None, None, None) => return Err(ApiError::Internal.into()),
    };
    let channel_id = ChannelId::try_from(channel_id).map_err(|_| ApiError::UnknownChannel)?;
    let access =
        ChannelAccess::find_with(&data, &caller, channel_id, send_message::needs(&form.content)).await?;
    send_message::send(&data, &access, form, Nonce::Enforced, arrival).await
}

async fn text_channel_of(data: &Data, caller: &Caller, server_id: u64) -> Result<u64, Refused> {
    let server_id = GuildId::try_from(server_id).map_err(|_| ApiError::UnknownGuild)?;
    let access = GuildAccess::find_with(data, caller, server_id, Channels::Bare { whole: 0 }).await?;
    Ok(first_text_channel(&access.state).ok_or(ApiError::UnknownChannel)?.id)
}

/// The uppermost text channel; the oldest one if several have the same position.
fn first_text_channel(state: &GuildState) -> Option<&Channel> {
    let text = state.channels.iter().filter(|channel| channel.r#type == TEXT);
    text.min_by_key(|channel| (channel.position, channel.id))
}

/// `GET /history`
pub(crate) async fn get_history(
    Input { data, caller, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let limit = query.limit(HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX)?;
    let anchor = query.id("before")?.map_or(Anchor::Newest, Anchor::Before);
    let channel_id = query.id("channel")?.ok_or_else(|| Refused::field("channel", Leaf::Required))?;
    let channel_id = ChannelId::try_from(channel_id).map_err(|_| ApiError::UnknownChannel)?;
    let page = ViewedPage::read(&data, &caller, channel_id, HistoryQuery { anchor, limit }).await?;
    page.access.require_messages()?;
    page.access.require(Permissions::READ_MESSAGE_HISTORY)?;
    let page = page.rows(&data).await?;
    // A full page may be the last one. Then the next page is empty and ends the walk.
    let full = page.rows.len() == limit as usize;
    let next = page.rows.last().filter(|_| full).map(|row| Id(row.id));
    Ok(reply::ok(&History { messages: page.objects(), next }))
}
