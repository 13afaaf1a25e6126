//! `GET` and `POST /guilds/{guild_id}/channels`; `GET`, `PATCH` and `DELETE /channels/{channel_id}`

use axum::response::Response;
use serde_json::{Map, Value};
use weir_discord::{
    error::{ApiError, Leaf},
    object::ChannelObject,
    permission::{MEMBER_OVERWRITE, Permissions, ROLE_OVERWRITE, may_create_with, may_overwrite, merged},
    validate::{ChannelForm, parse_body},
};
use weir_proto::{
    data::{
        Channel, DeleteChannelRequest, GetGuildRequest, GuildState, ListMessagesRequest, Overwrite,
        PutChannelRequest,
    },
    id::{ChannelId, GuildId},
};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    data::Data,
    permission::{
        access::{ChannelAccess, Channels, Extras, GuildAccess, member_of, state_of},
        read_set::ReadSet,
        retry::retry_on_conflict,
    },
    request::{body::Payload, input::Input},
    routes::direct_channels,
};

/// Discord's type of categories.
const CATEGORY: u32 = 4;

/// Lists the guild's channels. Every member gets all of them, as at Discord: a member may know of a channel
/// that it cannot look into.
pub(crate) async fn list_channels(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let options = data.call();
    let request =
        GetGuildRequest { guild_id: guild_id.get(), with_last_messages: true, ..GetGuildRequest::default() };
    let (found, member) = tokio::join!(
        data.get_guild(&request, &options),
        member_of(&data, guild_id, caller.id.get(), &options)
    );
    let found = found.found_or(ApiError::UnknownGuild)?;
    member?.ok_or(ApiError::MissingAccess)?;
    let newest = found.last_message_ids.into_iter().chain(std::iter::repeat(0));
    let state = found.state.unwrap_or_default();
    let channels: Vec<_> =
        state.channels.iter().zip(newest).map(|(channel, last)| ChannelObject::new(channel, last)).collect();
    Ok(reply::ok(&channels))
}

/// Creates a channel, with MANAGE_CHANNELS.
pub(crate) async fn create_channel(input: Input, Payload(body): Payload) -> Result<Response, Refused> {
    let guild_id = input.ids.guild()?;
    let form = ChannelForm::parse_create(&parse_body(&body)?)?;
    retry_on_conflict(|| create(&input, guild_id, form.clone())).await
}

async fn create(input: &Input, guild_id: GuildId, form: ChannelForm) -> Result<Response, Refused> {
    let Input { data, caller, .. } = input;
    let category = form.parent_id.unwrap_or_default();
    let access = GuildAccess::find_with(data, caller, guild_id, Channels::Bare { whole: category }).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    check_parent(&access.state, &form, form.kind.unwrap_or(0))?;
    let position = form.position.unwrap_or_else(|| next_position(&access.state));
    // A channel starts with a copy of its category's overwrites, so that a channel in a hidden category is
    // hidden.
    let category = access.state.channels.iter().find(|channel| form.parent_id == Some(channel.id));
    let overwrites = category.map(|category| category.overwrites.clone()).unwrap_or_default();
    if let Some(wanted) = &form.overwrites {
        if !may_create_with(&access.state, &access.member, category, wanted) {
            return Err(ApiError::MissingPermissions.into());
        }
        check_subjects(&access.state, wanted)?;
    }
    let read = category.into_iter().fold(access.read_set(), ReadSet::channel);
    let mut channel = Channel { guild_id: guild_id.get(), position, overwrites, ..Channel::default() };
    form.apply(&mut channel);
    let channel = put(input, channel, read).await?;
    Ok(reply::created(&ChannelObject::new(&channel, 0)))
}

/// Shows a channel that the caller sees.
pub(crate) async fn get_channel(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let extras = Extras { all_overwrites: true, ..Extras::default() };
    let access = ChannelAccess::find_with(&data, &caller, ids.channel()?, extras).await?;
    let last_message_id = newest(&data, &access).await;
    if access.is_direct() {
        return direct_channels::object(&data, &caller, &access.channel, last_message_id).await;
    }
    Ok(reply::ok(&ChannelObject::new(&access.channel, last_message_id)))
}

/// The id of a channel's newest message. The owner knows it only of channels that were written since it
/// started; otherwise it is read from the history. 0 if there is none, and also if it cannot be read now,
/// because the channel is worth showing without it.
async fn newest(data: &Data, access: &ChannelAccess) -> u64 {
    if access.last_message_id != 0 {
        return access.last_message_id;
    }
    let request =
        ListMessagesRequest { channel_id: access.channel.id, limit: 1, ..ListMessagesRequest::default() };
    let page = data.list_messages(&request, &data.call()).await;
    page.ok().and_then(|page| page.message.messages.first().map(|row| row.id)).unwrap_or(0)
}

/// Changes a channel, with MANAGE_CHANNELS.
pub(crate) async fn edit_channel(input: Input, Payload(body): Payload) -> Result<Response, Refused> {
    let channel_id = input.ids.channel()?;
    let body = parse_body(&body)?;
    retry_on_conflict(|| edit(&input, channel_id, &body)).await
}

async fn edit(input: &Input, channel_id: ChannelId, body: &Map<String, Value>) -> Result<Response, Refused> {
    let Input { data, caller, .. } = input;
    let extras = Extras { all_overwrites: true, ..Extras::default() };
    let access = ChannelAccess::find_with(data, caller, channel_id, extras).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    let kind = access.channel.r#type;
    let mut form = ChannelForm::parse_change(body, kind)?;
    let category = form.parent_id.unwrap_or_default();
    let guild = if category != 0 || form.overwrites.is_some() {
        surroundings(data, &access, Channels::Bare { whole: 0 }).await?
    } else {
        GuildState::default()
    };
    check_parent(&guild, &form, kind)?;
    if let (Some(wanted), Some(member)) = (&mut form.overwrites, access.member()) {
        let before = without_deleted_roles(&guild, &access.channel);
        // Clients send the list as they know it, with roles that were deleted since.
        wanted.retain(|one| {
            is_there(&guild, one) || !access.channel.overwrites.iter().any(|old| same_key(old, one))
        });
        if !may_overwrite(&access.state, member, &before, wanted) {
            return Err(ApiError::MissingPermissions.into());
        }
        check_subjects(&guild, wanted)?;
    }
    let read = access.read_set().channel_of(&guild, category);
    let mut channel = access.channel.clone();
    form.apply(&mut channel);
    let channel = put(input, channel, read).await?;
    Ok(reply::ok(&ChannelObject::new(&channel, newest(data, &access).await)))
}

/// Deletes a channel, with MANAGE_CHANNELS, and answers with its last state. The channels of a category stay,
/// outside of any category. Direct messages cannot be closed.
pub(crate) async fn delete_channel(input: Input) -> Result<Response, Refused> {
    let channel_id = input.ids.channel()?;
    retry_on_conflict(|| delete(&input, channel_id)).await
}

async fn delete(input: &Input, channel_id: ChannelId) -> Result<Response, Refused> {
    let Input { data, caller, .. } = input;
    let access = ChannelAccess::find(data, caller, channel_id).await?;
    access.require(Permissions::MANAGE_CHANNELS)?;
    let guild = if access.channel.r#type == CATEGORY {
        surroundings(data, &access, Channels::Whole).await?
    } else {
        GuildState::default()
    };
    // The children are moved first, so that no client ever sees one whose category is gone. This takes at
    // most 500 short calls. A failure in between leaves a smaller category, which can be deleted again.
    for child in guild.channels.iter().filter(|child| child.parent_id == channel_id.get()) {
        put(input, Channel { parent_id: 0, ..child.clone() }, access.read_set().channel(child)).await?;
    }
    let last_message_id = newest(data, &access).await;
    let request = DeleteChannelRequest { channel_id: channel_id.get(), basis: access.read_set().basis() };
    let channel =
        data.delete_channel(&request, &input.change()).await.found_or(ApiError::UnknownChannel)?.channel;
    let channel = channel.unwrap_or(access.channel);
    Ok(reply::ok(&ChannelObject::new(&channel, last_message_id)))
}

/// Reads the channel's guild beyond what concerns the caller; empty for direct messages.
async fn surroundings(
    data: &Data,
    access: &ChannelAccess,
    channels: Channels,
) -> Result<GuildState, Refused> {
    match GuildId::try_from(access.channel.guild_id) {
        Ok(guild_id) => state_of(data, guild_id, channels, &data.call()).await,
        Err(_) => Ok(GuildState::default()),
    }
}

async fn put(input: &Input, channel: Channel, read: ReadSet) -> Result<Channel, Refused> {
    // A row from before repeated overwrites were refused may hold some. They are merged into what they count
    // as.
    let channel = Channel { overwrites: merged(&channel.overwrites), ..channel };
    let request = PutChannelRequest { channel: Some(channel), basis: read.basis() };
    let channel =
        input.data.put_channel(&request, &input.change()).await.found_or(ApiError::UnknownChannel)?.channel;
    Ok(channel.ok_or(ApiError::Internal)?)
}

/// Checks the category that a form names.
///
/// # Errors
/// A form error if the form names a category that is none of the guild's, or puts a category into one.
fn check_parent(state: &GuildState, form: &ChannelForm, kind: u32) -> Result<(), Refused> {
    let category =
        |id: u64| state.channels.iter().any(|channel| channel.id == id && channel.r#type == CATEGORY);
    if form.parent_id.is_some_and(|id| id != 0 && (kind == CATEGORY || !category(id))) {
        return Err(Refused::field("parent_id", Leaf::Choices("the guild's categories")));
    }
    Ok(())
}

/// Checks that the overwrites for roles name roles of the guild, and that those for members name none.
/// Whether a user is a member is not checked: an overwrite may be set before its member joins.
///
/// # Errors
/// 50028 for a role that the guild does not have, and for a role that is called a member.
fn check_subjects(state: &GuildState, overwrites: &[Overwrite]) -> Result<(), Refused> {
    let is_role = |id: u64| state.roles.iter().any(|role| role.id == id);
    let wrong = |one: &Overwrite| is_role(one.id) == (one.r#type == MEMBER_OVERWRITE);
    if overwrites.iter().any(wrong) { Err(ApiError::InvalidRole.into()) } else { Ok(()) }
}

/// The channel without the overwrites of deleted roles, which have no effect.
fn without_deleted_roles(state: &GuildState, channel: &Channel) -> Channel {
    let mut channel = channel.clone();
    channel.overwrites.retain(|overwrite| is_there(state, overwrite));
    channel
}

/// True unless it is the overwrite of a role that the guild does not have.
fn is_there(state: &GuildState, overwrite: &Overwrite) -> bool {
    overwrite.r#type != ROLE_OVERWRITE || state.roles.iter().any(|role| role.id == overwrite.id)
}

fn same_key(one: &Overwrite, other: &Overwrite) -> bool {
    (one.id, one.r#type) == (other.id, other.r#type)
}

fn next_position(state: &GuildState) -> u32 {
    state.channels.iter().map(|channel| channel.position.saturating_add(1)).max().unwrap_or(0)
}
