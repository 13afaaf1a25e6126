//! Users, guilds, channels, roles, members.

use weir_connect::{Code, ConnectError};
use weir_data_client::error::REFUSAL_TYPE;
use weir_proto::{
    data::{
        Channel, CreateGuildRequest, CreateGuildResponse, DeleteChannelRequest, DeleteChannelResponse,
        DeleteGuildRequest, DeleteGuildResponse, DeleteMemberRequest, DeleteMemberResponse,
        DeleteRoleRequest, DeleteRoleResponse, GetChannelContextRequest, GetChannelContextResponse,
        GetGuildRequest, GetGuildResponse, GetMemberRequest, GetMemberResponse, GetUsersRequest,
        GetUsersResponse, ListMembersRequest, ListMembersResponse, ListUserGuildsRequest,
        ListUserGuildsResponse, OpenDirectRequest, OpenDirectResponse, PutChannelRequest, PutChannelResponse,
        PutMemberRequest, PutMemberResponse, PutRoleRequest, PutRoleResponse, Refusal, RefusalReason,
        ResolveTokenRequest, ResolveTokenResponse, UpdateMemberRequest, UpdateMemberResponse,
        ViewPageRequest, ViewPageResponse,
    },
    extent,
    id::UserId,
    pair::UserPair,
};

use super::World;

type Answer<T> = Result<T, ConnectError>;

fn missing(what: &str) -> ConnectError {
    ConnectError::not_found(what)
}

/// Refuses one more of what a guild has enough of.
fn full(is_full: bool, reason: RefusalReason) -> Answer<()> {
    let refusal = Refusal { reason: reason.into(), ..Refusal::default() };
    let refused = || ConnectError::new(Code::FailedPrecondition, "full").with_detail(REFUSAL_TYPE, &refusal);
    if is_full { Err(refused()) } else { Ok(()) }
}

impl World {
    pub(super) fn get_users(&mut self, request: GetUsersRequest) -> Answer<GetUsersResponse> {
        assert!(request.ids.len() <= 1_000, "the contract allows 1,000 ids");
        Ok(GetUsersResponse { users: request.ids.iter().filter_map(|id| self.user(*id)).collect() })
    }

    pub(super) fn resolve_token(&mut self, request: ResolveTokenRequest) -> Answer<ResolveTokenResponse> {
        let id = self.tokens.get(&request.token_hash[..]).copied().ok_or_else(|| missing("token"))?;
        Ok(ResolveTokenResponse { user: self.user(id) })
    }

    pub(super) fn open_direct(&mut self, request: OpenDirectRequest) -> Answer<OpenDirectResponse> {
        let user = |id| UserId::try_from(id).map_err(|_| ConnectError::invalid_argument("an id is missing"));
        let pair = UserPair::of(user(request.user_id)?, user(request.recipient_id)?);
        let pair = pair.ok_or_else(|| ConnectError::invalid_argument("between two users"))?;
        if pair.ids().iter().any(|id| !self.users.contains_key(id)) {
            return Err(missing("user"));
        }
        let found = self.channels.values().find(|row| UserPair::of_channel(row) == Some(pair)).cloned();
        let channel = found.unwrap_or_else(|| {
            let recipient_ids = pair.ids().to_vec();
            Channel { id: self.mint(), r#type: 1, recipient_ids, ..Channel::default() }
        });
        self.channels.insert(channel.id, channel.clone());
        let last_message_id = self.newest(channel.id);
        Ok(OpenDirectResponse { channel: Some(channel), last_message_id })
    }

    fn newest(&self, channel_id: u64) -> u64 {
        if self.restarted {
            return 0;
        }
        let newest = self.messages.range((channel_id, 0)..=(channel_id, u64::MAX)).next_back();
        newest.map_or(0, |((_, id), _)| *id)
    }

    pub(super) fn create_guild(&mut self, request: CreateGuildRequest) -> Answer<CreateGuildResponse> {
        let mut guild = request.guild.ok_or_else(|| ConnectError::invalid_argument("no guild"))?;
        if request.members.iter().any(|member| !self.users.contains_key(&member.user_id)) {
            return Err(missing("user"));
        }
        guild.id = self.mint();
        self.guilds.insert(guild.id, guild.clone());
        for (index, mut role) in request.roles.into_iter().enumerate() {
            role.guild_id = guild.id;
            role.id = if index == 0 { guild.id } else { self.mint() };
            self.roles.insert(role.id, role);
        }
        let mut channel_ids = Vec::new();
        for mut channel in request.channels {
            channel.guild_id = guild.id;
            channel.id = self.mint();
            channel_ids.push(channel.id);
            if channel.parent_id != 0 {
                channel.parent_id = channel_ids[channel.parent_id as usize - 1];
            }
            self.channels.insert(channel.id, channel);
        }
        let mut members = request.members;
        for member in &mut members {
            member.guild_id = guild.id;
            self.members.insert((guild.id, member.user_id), member.clone());
        }
        Ok(CreateGuildResponse { state: Some(self.state(guild.id)?), members })
    }

    pub(super) fn get_guild(&mut self, request: GetGuildRequest) -> Answer<GetGuildResponse> {
        let state = extent::of_guild(&self.state(request.guild_id)?, &request);
        // Its owner reads what only its memory would know.
        let restarted = std::mem::take(&mut self.restarted);
        let newest = state.channels.iter().map(|channel| self.newest(channel.id));
        let last_message_ids = if request.with_last_messages { newest.collect() } else { Vec::new() };
        self.restarted = restarted;
        Ok(GetGuildResponse { state: Some(state), as_of_us: 0, last_message_ids })
    }

    pub(super) fn delete_guild(&mut self, request: DeleteGuildRequest) -> Answer<DeleteGuildResponse> {
        let id = request.guild_id;
        self.guilds.remove(&id).ok_or_else(|| missing("guild"))?;
        self.channels.retain(|_, channel| channel.guild_id != id);
        self.roles.retain(|_, role| role.guild_id != id);
        self.members.retain(|(guild, _), _| *guild != id);
        Ok(DeleteGuildResponse {})
    }

    pub(super) fn list_user_guilds(
        &mut self,
        request: ListUserGuildsRequest,
    ) -> Answer<ListUserGuildsResponse> {
        let ids =
            self.members.keys().filter(|(guild, user)| *user == request.user_id && *guild > request.after);
        let limit = if request.limit == 0 { 200 } else { request.limit.min(200) as usize };
        Ok(ListUserGuildsResponse {
            guild_ids: ids.map(|(guild, _)| *guild).take(limit).collect(),
            as_of_us: 0,
        })
    }

    pub(super) fn put_channel(&mut self, request: PutChannelRequest) -> Answer<PutChannelResponse> {
        let mut channel = request.channel.ok_or_else(|| ConnectError::invalid_argument("no channel"))?;
        self.holds(channel.guild_id, request.basis)?;
        channel.rev = self.rev();
        if !self.guilds.contains_key(&channel.guild_id) {
            return Err(missing("guild"));
        }
        if channel.id == 0 {
            let many = self.channels.values().filter(|known| known.guild_id == channel.guild_id).count();
            full(many >= 500, RefusalReason::GuildChannels)?;
            channel.id = self.mint();
        }
        self.channels.insert(channel.id, channel.clone());
        Ok(PutChannelResponse { channel: Some(channel) })
    }

    pub(super) fn delete_channel(&mut self, request: DeleteChannelRequest) -> Answer<DeleteChannelResponse> {
        let guild_id = self.channels.get(&request.channel_id).map_or(0, |channel| channel.guild_id);
        self.holds(guild_id, request.basis)?;
        let channel = self.channels.remove(&request.channel_id).ok_or_else(|| missing("channel"))?;
        Ok(DeleteChannelResponse { channel: Some(channel) })
    }

    pub(super) fn put_role(&mut self, request: PutRoleRequest) -> Answer<PutRoleResponse> {
        let mut role = request.role.ok_or_else(|| ConnectError::invalid_argument("no role"))?;
        self.holds(role.guild_id, request.basis)?;
        role.rev = self.rev();
        if role.id == 0 {
            let many = self.roles.values().filter(|known| known.guild_id == role.guild_id).count();
            full(many >= 250, RefusalReason::GuildRoles)?;
            role.id = self.mint();
        }
        self.roles.insert(role.id, role.clone());
        Ok(PutRoleResponse { role: Some(role) })
    }

    pub(super) fn delete_role(&mut self, request: DeleteRoleRequest) -> Answer<DeleteRoleResponse> {
        self.holds(request.guild_id, request.basis)?;
        self.roles.remove(&request.role_id).ok_or_else(|| missing("role"))?;
        Ok(DeleteRoleResponse {})
    }

    pub(super) fn put_member(&mut self, request: PutMemberRequest) -> Answer<PutMemberResponse> {
        let mut member = request.member.ok_or_else(|| ConnectError::invalid_argument("no member"))?;
        self.holds(member.guild_id, request.basis)?;
        member.rev = self.rev();
        let user = self.user(member.user_id).ok_or_else(|| missing("user"))?;
        self.members.insert((member.guild_id, member.user_id), member.clone());
        Ok(PutMemberResponse { member: Some(member), user: Some(user) })
    }

    pub(super) fn update_member(&mut self, request: UpdateMemberRequest) -> Answer<UpdateMemberResponse> {
        self.holds(request.guild_id, request.basis)?;
        let rev = self.rev();
        let user = self.user(request.user_id);
        let member = self.members.get_mut(&(request.guild_id, request.user_id));
        let member = member.ok_or_else(|| missing("member"))?;
        member.role_ids.retain(|id| !request.add_role_ids.contains(id));
        member.role_ids.extend(&request.add_role_ids);
        member.role_ids.retain(|id| !request.remove_role_ids.contains(id));
        member.rev = rev;
        Ok(UpdateMemberResponse { member: Some(member.clone()), user })
    }

    pub(super) fn delete_member(&mut self, request: DeleteMemberRequest) -> Answer<DeleteMemberResponse> {
        self.holds(request.guild_id, request.basis)?;
        self.members.remove(&(request.guild_id, request.user_id)).ok_or_else(|| missing("member"))?;
        Ok(DeleteMemberResponse {})
    }

    pub(super) fn list_members(&mut self, request: ListMembersRequest) -> Answer<ListMembersResponse> {
        let above = (request.guild_id, request.after + 1)..=(request.guild_id, u64::MAX);
        let members: Vec<_> = self
            .members
            .range(above)
            .take(request.limit as usize)
            .map(|(_, member)| member.clone())
            .collect();
        let users = members.iter().filter_map(|member| self.user(member.user_id)).collect();
        Ok(ListMembersResponse { members, users })
    }

    pub(super) fn get_member(&mut self, request: GetMemberRequest) -> Answer<GetMemberResponse> {
        let member = self.members.get(&(request.guild_id, request.user_id)).cloned();
        let member = member.ok_or_else(|| missing("member"))?;
        Ok(GetMemberResponse { user: self.user(member.user_id), member: Some(member) })
    }

    pub(super) fn get_channel_context(
        &mut self,
        request: GetChannelContextRequest,
    ) -> Answer<GetChannelContextResponse> {
        let channel = self.channels.get(&request.channel_id).cloned().ok_or_else(|| missing("channel"))?;
        let member = self.members.get(&(channel.guild_id, request.user_id)).cloned();
        let last_message_id = self.newest(channel.id);
        let (state, channel) = match channel.guild_id {
            0 => (None, channel),
            guild if !request.concerned_only => (Some(self.state(guild)?), channel),
            guild => {
                let all = self.state(guild)?;
                let (state, channel) = extent::concerning(&all, &channel, member.as_ref(), &request);
                (Some(state), channel)
            }
        };
        let user = self.user(request.user_id);
        Ok(GetChannelContextResponse { channel: Some(channel), state, member, user, last_message_id })
    }

    pub(super) fn view_page(&mut self, request: ViewPageRequest) -> Answer<ViewPageResponse> {
        let page = request.page.unwrap_or_default();
        let context = self.get_channel_context(GetChannelContextRequest {
            channel_id: page.channel_id,
            user_id: request.viewer_id,
            concerned_only: true,
            ..GetChannelContextRequest::default()
        })?;
        let page = self.list_messages(page)?;
        let mut own: Vec<_> =
            page.messages.iter().filter_map(|row| self.own(row, request.viewer_id)).collect();
        own.reverse();
        Ok(ViewPageResponse { context: Some(context), page: Some(page), own })
    }
}
