//! `weir.data.v1.GuildService`.

use weir_connect::{ConnectError, Context, Reply, Router};
use weir_proto::{
    data::{
        self, Basis, CreateGuildResponse, DeleteChannelResponse, DeleteGuildResponse, DeleteMemberResponse,
        DeleteRoleResponse, GetChannelContextResponse, GetGuildResponse, GetMemberResponse,
        ListMembersResponse, ListUserGuildsResponse, PutChannelResponse, PutMemberResponse, PutRoleResponse,
        UpdateMemberResponse,
    },
    extent,
    id::{ChannelId, GuildId, MessageId, RoleId, ScopeId, UserId},
    page::ViewedPage,
};

use super::{
    call::{
        Paths, change_headers, deadline, limit, optional, options, refused, reply_headers, required, within,
    },
    form,
    message::page_of,
    owned,
};
use crate::{
    key::Key,
    read::{Reading, directory::ChannelContext},
    rpc::error,
    write::{
        error::{ChangeError, ROLES_MAX},
        op::{GuildAnswer, GuildChange, GuildOp, MemberUpdate, Op},
        preconditions,
    },
};

/// Members in one reply.
const MEMBERS_MAX: usize = 1_000;
/// Guild ids in one reply.
const GUILDS_MAX: usize = 200;

/// The service's methods.
pub(super) fn router(paths: &Paths) -> Router {
    methods! { Router::new(weir_proto::contract()), paths, "weir.data.v1.GuildService":
        "CreateGuild" => create,
        "GetGuild" => get,
        "DeleteGuild" => delete,
        "ListUserGuilds" => list_user_guilds,
        "PutChannel" => put_channel,
        "DeleteChannel" => delete_channel,
        "PutRole" => put_role,
        "DeleteRole" => delete_role,
        "PutMember" => put_member,
        "UpdateMember" => update_member,
        "DeleteMember" => delete_member,
        "ListMembers" => list_members,
        "GetMember" => get_member,
        "GetChannelContext" => channel_context,
        "ViewPage" => view_page,
    }
}

/// Passes a change through the guild's turn.
async fn change(
    paths: &Paths,
    context: &Context,
    guild_id: GuildId,
    basis: Option<Basis>,
    change: GuildChange,
) -> Result<GuildAnswer, ConnectError> {
    let answer = async {
        let basis = admit(paths, basis).await?;
        submit(paths, context, guild_id, basis, change, None).await
    };
    answer.await.map_err(|error| error::of_change(&error))
}

/// Passes a change of a channel through its guild's turn, with the channel's newest message for the record's
/// receivers.
async fn change_channel(
    paths: &Paths,
    context: &Context,
    (guild_id, channel): (GuildId, &data::Channel),
    basis: Option<Basis>,
    change: GuildChange,
) -> Result<GuildAnswer, ConnectError> {
    let answer = async {
        let basis = admit(paths, basis).await?;
        let last_message_id = match channel.id {
            0 => None,
            _ => paths.reads.newest_of(channel, within(context)).await,
        };
        submit(paths, context, guild_id, basis, change, last_message_id).await
    };
    answer.await.map_err(|error| error::of_change(&error))
}

/// Admits a change: before this, nothing is read or written for it that its caller could not request anyway.
async fn admit(paths: &Paths, basis: Option<Basis>) -> Result<Basis, ChangeError> {
    let basis = basis.unwrap_or_default();
    preconditions::check(&basis)?;
    paths.charge_write(None).await?;
    paths.observer.on_write("Guild", None);
    Ok(basis)
}

async fn submit(
    paths: &Paths,
    context: &Context,
    guild_id: GuildId,
    basis: Basis,
    change: GuildChange,
    last_message_id: Option<MessageId>,
) -> Result<GuildAnswer, ChangeError> {
    let deadline = deadline(context);
    let answer = paths.sequencer.submit(ScopeId::Guild(guild_id), |answer| {
        Op::Guild(Box::new(GuildOp { change, basis, last_message_id, deadline, answer }))
    });
    answer.await
}

/// The reply to a change of a guild, with a token so that later reads show the change.
fn changed<Res>(paths: &Paths, guild_id: GuildId, message: Res) -> Reply<Res> {
    let mut reply = Reply::message(message);
    reply.headers = change_headers(guild_id, paths.live.resolved_rev(guild_id));
    reply
}

/// The reply to a read of a guild, which shows everything up to `rev`.
fn shown<Res>(
    paths: &Paths,
    context: &Context,
    guild_id: GuildId,
    rev: u64,
    reading: &Reading,
    message: Res,
) -> Reply<Res> {
    let mut reply = Reply::message(message);
    reply.headers = reply_headers(paths, context, guild_id, rev, &reading.served);
    reply
}

fn unexpected() -> ConnectError {
    ConnectError::internal("the guild's turn answered another question")
}

async fn create(
    paths: Paths,
    context: Context,
    mut request: data::CreateGuildRequest,
) -> Result<Reply<CreateGuildResponse>, ConnectError> {
    let guild = request.guild.as_mut().ok_or_else(|| ConnectError::invalid_argument("guild is missing"))?;
    form::check_guild(guild)?;
    let owner_id: UserId = required("guild.owner_id", guild.owner_id)?;
    let given: Option<GuildId> = optional(guild.id);
    request.channels.iter_mut().try_for_each(form::check_channel)?;
    form::check_roles(&mut request.roles)?;
    form::check_members(&request.members)?;
    let sequencer = &paths.sequencer;
    let tenure = sequencer
        .tenure_to_change(given.map(ScopeId::Guild))
        .map_err(|error| error::of_change(&error.into()))?;
    let guild_id = match given {
        Some(guild_id) => guild_id,
        None => GuildId(sequencer.mint(tenure).map_err(|error| error::of_change(&error))?),
    };
    let founded = async {
        let basis = admit(&paths, None).await?;
        // Held until the guild is made: another one of the same owner is counted after it.
        let noted = owned::note(&paths, owner_id, guild_id, deadline(&context)).await?;
        let creation = GuildChange::Create(Box::new(request));
        let founded = submit(&paths, &context, guild_id, basis, creation, None).await;
        if founded.as_ref().is_err_and(ChangeError::is_certain) {
            noted.take_back(&paths).await;
        }
        founded
    };
    match founded.await.map_err(|error| error::of_change(&error))? {
        GuildAnswer::Created { state, members } => {
            Ok(changed(&paths, guild_id, CreateGuildResponse { state: Some(state), members }))
        }
        _ => Err(unexpected()),
    }
}

async fn get(
    paths: Paths,
    context: Context,
    request: data::GetGuildRequest,
) -> Result<Reply<GetGuildResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    // Taken before the read, which therefore shows everything up to here.
    let as_of_us = paths.settled_us(ScopeId::Guild(guild_id));
    let mut reading = paths.reads.admit(Key::Guild(guild_id), options(&context)).map_err(error::of_read)?;
    let state = paths.reads.guild_part(&mut reading, guild_id).await.map_err(error::of_read)?;
    let state = state.ok_or_else(|| ConnectError::not_found("guild not found"))?;
    let shown_state = extent::of_guild(&state, &request);
    let last_message_ids = if request.with_last_messages {
        let newest = paths.reads.newest_ids(&shown_state.channels, within(&context)).await;
        newest.into_iter().map(|id| id.map_or(0, MessageId::get)).collect()
    } else {
        Vec::new()
    };
    let response = GetGuildResponse { state: Some(shown_state), as_of_us, last_message_ids };
    Ok(shown(&paths, &context, guild_id, state.rev, &reading, response))
}

async fn delete(
    paths: Paths,
    context: Context,
    request: data::DeleteGuildRequest,
) -> Result<Reply<DeleteGuildResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let owner_id = owned::owner_of(&paths, guild_id).await.map_err(error::of_read)?;
    change(&paths, &context, guild_id, None, GuildChange::Delete).await?;
    owned::forget(&paths, owner_id, guild_id).await;
    Ok(changed(&paths, guild_id, DeleteGuildResponse {}))
}

async fn list_user_guilds(
    paths: Paths,
    context: Context,
    request: data::ListUserGuildsRequest,
) -> Result<Reply<ListUserGuildsResponse>, ConnectError> {
    let user_id: UserId = required("user_id", request.user_id)?;
    let limit = limit(request.limit, GUILDS_MAX, GUILDS_MAX)?;
    let as_of_us = paths.settled_us(ScopeId::User(user_id));
    let mut reading =
        paths.reads.admit(Key::UserGuilds(user_id), options(&context)).map_err(error::of_read)?;
    let after = optional(request.after);
    let guilds = paths.reads.user_guilds_part(&mut reading, user_id, after, limit).await;
    let guild_ids = guilds.map_err(error::of_read)?.iter().map(|id| id.get()).collect();
    Ok(ListUserGuildsResponse { guild_ids, as_of_us }.into())
}

async fn put_channel(
    paths: Paths,
    context: Context,
    request: data::PutChannelRequest,
) -> Result<Reply<PutChannelResponse>, ConnectError> {
    let mut channel = request.channel.ok_or_else(|| ConnectError::invalid_argument("channel is missing"))?;
    let guild_id: GuildId = required("channel.guild_id", channel.guild_id)?;
    form::check_channel(&mut channel)?;
    let put = GuildChange::PutChannel(channel.clone());
    match change_channel(&paths, &context, (guild_id, &channel), request.basis, put).await? {
        GuildAnswer::Channel(channel) => {
            Ok(changed(&paths, guild_id, PutChannelResponse { channel: Some(channel) }))
        }
        _ => Err(unexpected()),
    }
}

async fn delete_channel(
    paths: Paths,
    context: Context,
    request: data::DeleteChannelRequest,
) -> Result<Reply<DeleteChannelResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let mut reading =
        paths.reads.admit(Key::Channel(channel_id), options(&context)).map_err(error::of_read)?;
    let channel = paths.reads.channel_part(&mut reading, channel_id).await.map_err(error::of_read)?;
    let channel = channel.ok_or_else(|| ConnectError::not_found("channel not found"))?;
    let stays = || ConnectError::invalid_argument("the channel of direct messages stays");
    let guild_id: GuildId = optional(channel.guild_id).ok_or_else(stays)?;
    let deletion = GuildChange::DeleteChannel(channel_id);
    match change_channel(&paths, &context, (guild_id, &*channel), request.basis, deletion).await? {
        GuildAnswer::Channel(channel) => {
            Ok(changed(&paths, guild_id, DeleteChannelResponse { channel: Some(channel) }))
        }
        _ => Err(unexpected()),
    }
}

async fn put_role(
    paths: Paths,
    context: Context,
    request: data::PutRoleRequest,
) -> Result<Reply<PutRoleResponse>, ConnectError> {
    let mut role = request.role.ok_or_else(|| ConnectError::invalid_argument("role is missing"))?;
    let guild_id: GuildId = required("role.guild_id", role.guild_id)?;
    form::check_role(&mut role)?;
    match change(&paths, &context, guild_id, request.basis, GuildChange::PutRole(role)).await? {
        GuildAnswer::Role(role) => Ok(changed(&paths, guild_id, PutRoleResponse { role: Some(role) })),
        _ => Err(unexpected()),
    }
}

async fn delete_role(
    paths: Paths,
    context: Context,
    request: data::DeleteRoleRequest,
) -> Result<Reply<DeleteRoleResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let role_id: RoleId = required("role_id", request.role_id)?;
    change(&paths, &context, guild_id, request.basis, GuildChange::DeleteRole(role_id)).await?;
    Ok(changed(&paths, guild_id, DeleteRoleResponse {}))
}

async fn put_member(
    paths: Paths,
    context: Context,
    request: data::PutMemberRequest,
) -> Result<Reply<PutMemberResponse>, ConnectError> {
    let member = request.member.ok_or_else(|| ConnectError::invalid_argument("member is missing"))?;
    let guild_id: GuildId = required("member.guild_id", member.guild_id)?;
    required::<UserId>("member.user_id", member.user_id)?;
    form::check_member(&member)?;
    match change(&paths, &context, guild_id, request.basis, GuildChange::PutMember(member)).await? {
        GuildAnswer::Member(member, user) => {
            Ok(changed(&paths, guild_id, PutMemberResponse { member: Some(member), user }))
        }
        _ => Err(unexpected()),
    }
}

async fn update_member(
    paths: Paths,
    context: Context,
    request: data::UpdateMemberRequest,
) -> Result<Reply<UpdateMemberResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let user_id: UserId = required("user_id", request.user_id)?;
    let data::UpdateMemberRequest { add_role_ids, remove_role_ids, basis, .. } = request;
    if add_role_ids.len() > ROLES_MAX || remove_role_ids.len() > ROLES_MAX {
        return Err(ConnectError::invalid_argument(format!("a list of roles has at most {ROLES_MAX}")));
    }
    let update = GuildChange::UpdateMember(MemberUpdate { user_id, add_role_ids, remove_role_ids });
    match change(&paths, &context, guild_id, basis, update).await? {
        GuildAnswer::Member(member, user) => {
            Ok(changed(&paths, guild_id, UpdateMemberResponse { member: Some(member), user }))
        }
        _ => Err(unexpected()),
    }
}

async fn delete_member(
    paths: Paths,
    context: Context,
    request: data::DeleteMemberRequest,
) -> Result<Reply<DeleteMemberResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let user_id: UserId = required("user_id", request.user_id)?;
    change(&paths, &context, guild_id, request.basis, GuildChange::DeleteMember(user_id)).await?;
    Ok(changed(&paths, guild_id, DeleteMemberResponse {}))
}

async fn list_members(
    paths: Paths,
    context: Context,
    request: data::ListMembersRequest,
) -> Result<Reply<ListMembersResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let limit = limit(request.limit, MEMBERS_MAX, MEMBERS_MAX)?;
    let rev = paths.live.resolved_rev(guild_id);
    let mut reading = paths.reads.admit(Key::Members(guild_id), options(&context)).map_err(error::of_read)?;
    let members = paths.reads.members_part(&mut reading, guild_id, optional(request.after), limit).await;
    let members = members.map_err(error::of_read)?.to_vec();
    let ids: Vec<UserId> = members.iter().filter_map(|member| optional(member.user_id)).collect();
    let users = paths.reads.users_part(&reading, &ids).await.map_err(error::of_read)?;
    Ok(shown(&paths, &context, guild_id, rev, &reading, ListMembersResponse { members, users }))
}

async fn get_member(
    paths: Paths,
    context: Context,
    request: data::GetMemberRequest,
) -> Result<Reply<GetMemberResponse>, ConnectError> {
    let guild_id: GuildId = required("guild_id", request.guild_id)?;
    let user_id: UserId = required("user_id", request.user_id)?;
    let rev = paths.live.resolved_rev(guild_id);
    let mut reading =
        paths.reads.admit(Key::Member(guild_id, user_id), options(&context)).map_err(error::of_read)?;
    let member = paths.reads.member_part(&mut reading, guild_id, user_id).await.map_err(error::of_read)?;
    let member = member.ok_or_else(|| ConnectError::not_found("member not found"))?;
    let user = paths.reads.user_part(&mut reading, user_id).await.map_err(error::of_read)?;
    let user = user.map(|user| (*user).clone());
    let response = GetMemberResponse { member: Some((*member).clone()), user };
    Ok(shown(&paths, &context, guild_id, rev, &reading, response))
}

async fn channel_context(
    paths: Paths,
    context: Context,
    request: data::GetChannelContextRequest,
) -> Result<Reply<GetChannelContextResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let user_id: UserId = required("user_id", request.user_id)?;
    if request.role_ids.len() > ROLES_MAX {
        return Err(ConnectError::invalid_argument(format!("a list of roles has at most {ROLES_MAX}")));
    }
    let found =
        paths.reads.channel_context(channel_id, user_id, options(&context)).await.map_err(error::of_read)?;
    let found = found.ok_or_else(|| ConnectError::not_found("channel not found"))?;
    Ok(shown_context(&paths, found, &request).into())
}

/// The reply's form of what a permission check needs.
fn shown_context(
    paths: &Paths,
    found: ChannelContext,
    request: &data::GetChannelContextRequest,
) -> GetChannelContextResponse {
    let (state, channel) = match found.state {
        Some(state) if request.concerned_only => {
            let member = found.member.as_deref();
            let (state, channel) = extent::concerning(&state, &found.channel, member, request);
            (Some(state), channel)
        }
        state => (state.map(|state| (*state).clone()), (*found.channel).clone()),
    };
    let newest = optional(channel.id).and_then(|id| paths.live.last_message_id(id));
    let last_message_id = newest.map_or(0, MessageId::get);
    GetChannelContextResponse {
        channel: Some(channel),
        state,
        member: found.member.map(|member| (*member).clone()),
        user: found.user.map(|user| (*user).clone()),
        last_message_id,
    }
}

async fn view_page(
    paths: Paths,
    context: Context,
    request: data::ViewPageRequest,
) -> Result<Reply<ViewedPage>, ConnectError> {
    let user_id: UserId = required("viewer_id", request.viewer_id)?;
    let page = request.page.ok_or_else(|| ConnectError::invalid_argument("page is missing"))?;
    let (channel_id, anchor, limit) = page_of(&page)?;
    let found = paths.reads.viewed_page(channel_id, user_id, anchor, limit, options(&context)).await;
    let found = found.map_err(|failure| refused(&context, failure))?;
    let (found, page, mut reading) = found.ok_or_else(|| ConnectError::not_found("channel not found"))?;
    // One who is not in the guild is told so by the api, whatever became of the page.
    let page = match page {
        Ok(page) => Some(page),
        Err(_) if found.state.is_some() && found.member.is_none() => None,
        Err(failure) => return Err(refused(&context, failure)),
    };
    let reacted = page.as_ref().and_then(|page| page.encoded.reacted.as_deref()).unwrap_or_default();
    let own = paths.reads.own_reactions_part(&mut reading, (channel_id, user_id), reacted).await;
    let own = own.map_err(|failure| refused(&context, failure))?;
    let concerned = data::GetChannelContextRequest { concerned_only: true, ..Default::default() };
    let shown = shown_context(&paths, found, &concerned);
    let mut reply = Reply::message(ViewedPage {
        context: Some(shown),
        page: page.as_ref().map(|page| page.encoded.bytes.clone()),
        own,
    });
    if let Some(page) = page {
        reply.headers = reply_headers(&paths, &context, channel_id, page.rev, &page.served);
    }
    Ok(reply)
}
