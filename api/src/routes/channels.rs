//! `GET` and `POST /guilds/{guild_id}/channels`; `GET`, `PATCH` and `DELETE /channels/{channel_id}`

use axum::{Extension, extract::State, response::Response};
use serde_json::{Map, Value};
use weir_discord::{
    error::{ApiError, Leaf},
    object::ChannelObject,
    permission::Permissions,
    validate::{ChannelForm, parse_body},
};
use weir_proto::{
    data::{Channel, DeleteChannelRequest, GuildState, ListMessagesRequest, Overwrite, PutChannelRequest},
    id::{ChannelId, GuildId},
};

use crate::{
    access::{ChannelAccess, GuildAccess},
    app::App,
    auth::Caller,
    basis::{Seen, settled},
    body::Payload,
    envelope::Arrival,
    error::Refused,
    path::PathIds,
    reply,
    routes::direct_channels,
};

/// Discord's type of categories.
const CATEGORY: u32 = 4;

/// The guild's channels. All of them, to every member, as at Discord: seeing that a channel exists is not seeing into it.
pub(crate) async fn list_channels(
    State(app): State<App>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let access = GuildAccess::find(&app, &caller, ids.guild()?).await?;
    // The newest message of each would be a read for each; null means "none known" to clients.
    let channels: Vec<_> =
        access.state.channels.iter().map(|channel| ChannelObject::new(channel, 0)).collect();
    Ok(reply::ok(&channels))
}

/// Creates a channel, with MANAGE_CHANNELS.
pub(crate) async fn create_channel(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let form = ChannelForm::parse_create(&parse_body(&body)?)?;
    settled(|| create(&app, &caller, guild_id, form.clone(), arrival)).await
}

async fn create(
    app: &App,
    caller: &Caller,
    guild_id: GuildId,
    form: ChannelForm,
    arrival: Arrival,
) -> Result<Response, Refused> {
    let access = GuildAccess::find(app, caller, guild_id).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    check(&access.state, access.permissions, &[], &form, form.kind.unwrap_or(0))?;
    let position = form.position.unwrap_or_else(|| next_position(&access.state));
    // A channel starts with its category's overwrites, so that what is made in a hidden category is hidden; it keeps them as its own.
    let category = access.state.channels.iter().find(|channel| form.parent_id == Some(channel.id));
    let overwrites = category.map(|category| category.overwrites.clone()).unwrap_or_default();
    let seen = category.into_iter().fold(access.seen(), Seen::channel);
    let mut channel = Channel { guild_id: guild_id.get(), position, overwrites, ..Channel::default() };
    form.apply(&mut channel);
    let channel = put(app, channel, seen, arrival).await?;
    Ok(reply::created(&ChannelObject::new(&channel, 0)))
}

/// A channel that the caller sees.
pub(crate) async fn get_channel(
    State(app): State<App>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let access = ChannelAccess::find(&app, &caller, ids.channel()?).await?;
    let last_message_id = newest(&app, &access).await;
    if access.is_direct() {
        return direct_channels::object(&app, &caller, &access.channel, last_message_id).await;
    }
    Ok(reply::ok(&ChannelObject::new(&access.channel, last_message_id)))
}

/// The id of a channel's newest message, read from its history if need be: the owner knows it only of channels that were written since it started. 0 if
/// there is none, or if it cannot be told now: then the channel is still worth showing.
async fn newest(app: &App, access: &ChannelAccess) -> u64 {
    if access.last_message_id != 0 {
        return access.last_message_id;
    }
    let request =
        ListMessagesRequest { channel_id: access.channel.id, limit: 1, ..ListMessagesRequest::default() };
    let page = app.data.list_messages(&request, &app.call()).await;
    page.ok().and_then(|page| page.message.messages.first().map(|row| row.id)).unwrap_or(0)
}

/// Changes a channel, with MANAGE_CHANNELS.
pub(crate) async fn edit_channel(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let body = parse_body(&body)?;
    settled(|| edit(&app, &caller, channel_id, &body, arrival)).await
}

async fn edit(
    app: &App,
    caller: &Caller,
    channel_id: ChannelId,
    body: &Map<String, Value>,
    arrival: Arrival,
) -> Result<Response, Refused> {
    let access = ChannelAccess::find(app, caller, channel_id).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    let kind = access.channel.r#type;
    let form = ChannelForm::parse_change(body, kind)?;
    check(&access.state, access.permissions, &access.channel.overwrites, &form, kind)?;
    let category = form.parent_id.unwrap_or_default();
    let seen = access.seen().channel_of(&access.state, category);
    let mut channel = access.channel.clone();
    form.apply(&mut channel);
    let channel = put(app, channel, seen, arrival).await?;
    Ok(reply::ok(&ChannelObject::new(&channel, newest(app, &access).await)))
}

/// Deletes a channel, with MANAGE_CHANNELS, and answers with what it was. A category's channels stay, outside of any. Direct messages are
/// not closed.
pub(crate) async fn delete_channel(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    settled(|| delete(&app, &caller, channel_id, arrival)).await
}

async fn delete(
    app: &App,
    caller: &Caller,
    channel_id: ChannelId,
    arrival: Arrival,
) -> Result<Response, Refused> {
    let access = ChannelAccess::find(app, caller, channel_id).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    // First the children, so that no client ever sees one whose category is gone. At most 500 short calls, and a failure in between
    // leaves a smaller category that can be deleted again.
    for child in access.state.channels.iter().filter(|child| child.parent_id == channel_id.get()) {
        put(app, Channel { parent_id: 0, ..child.clone() }, access.seen().channel(child), arrival).await?;
    }
    let last_message_id = newest(app, &access).await;
    let request = DeleteChannelRequest { channel_id: channel_id.get(), basis: access.seen().basis() };
    let reply = app.data.delete_channel(&request, &app.change(arrival)).await;
    let channel = reply.map_err(|error| Refused::from_data(error, ApiError::UnknownChannel))?.message.channel;
    let channel = channel.unwrap_or(access.channel);
    Ok(reply::ok(&ChannelObject::new(&channel, last_message_id)))
}

async fn put(app: &App, channel: Channel, seen: Seen, arrival: Arrival) -> Result<Channel, Refused> {
    let request = PutChannelRequest { channel: Some(channel), basis: seen.basis() };
    let reply = app.data.put_channel(&request, &app.change(arrival)).await;
    let channel = reply.map_err(|error| Refused::from_data(error, ApiError::UnknownChannel))?.message.channel;
    Ok(channel.ok_or(ApiError::Internal)?)
}

/// What the form's own reading cannot know: whether its category and roles exist, and whether the caller may hand out its overwrites.
fn check(
    state: &GuildState,
    held: Permissions,
    before: &[Overwrite],
    form: &ChannelForm,
    kind: u32,
) -> Result<(), Refused> {
    let category =
        |id: u64| state.channels.iter().any(|channel| channel.id == id && channel.r#type == CATEGORY);
    if form.parent_id.is_some_and(|id| id != 0 && (kind == CATEGORY || !category(id))) {
        return Err(Refused::field("parent_id", Leaf::Choices("the guild's categories")));
    }
    let Some(overwrites) = &form.overwrites else { return Ok(()) };
    let changed = changed_bits(before, overwrites);
    // Whoever clears a list takes away what it denied, so an empty list is an act like any other.
    let needed =
        if before == overwrites.as_slice() { Permissions::NONE } else { Permissions::MANAGE_ROLES | changed };
    if !held.contains(needed & Permissions::ALL) {
        return Err(ApiError::MissingPermissions.into());
    }
    let role = |id: u64| state.roles.iter().any(|role| role.id == id);
    if overwrites.iter().any(|overwrite| overwrite.r#type == 0 && !role(overwrite.id)) {
        return Err(ApiError::InvalidRole.into());
    }
    Ok(())
}

/// Every bit that some overwrite allows or denies before and not after, or the other way round.
fn changed_bits(before: &[Overwrite], after: &[Overwrite]) -> Permissions {
    let of = |list: &[Overwrite], id: u64| {
        list.iter()
            .find(|overwrite| overwrite.id == id)
            .map_or((0, 0), |overwrite| (overwrite.allow, overwrite.deny))
    };
    before.iter().chain(after).fold(Permissions::NONE, |changed, overwrite| {
        let ((old_allow, old_deny), (new_allow, new_deny)) =
            (of(before, overwrite.id), of(after, overwrite.id));
        changed | Permissions(old_allow ^ new_allow | old_deny ^ new_deny)
    })
}

fn next_position(state: &GuildState) -> u32 {
    state.channels.iter().map(|channel| channel.position.saturating_add(1)).max().unwrap_or(0)
}
