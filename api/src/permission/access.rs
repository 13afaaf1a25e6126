//! What a caller may do where: the rows that a permission check needs, fetched in one step, and the checks in Discord's terms.

use weir_data_client::{CallOptions, DataError};
use weir_discord::{
    error::ApiError,
    injected_fault::{InjectedFault, injected},
    permission::{Permissions, permissions_in, permissions_in_direct},
};
use weir_proto::{
    data::{
        Channel, EventContext, GetChannelContextRequest, GetGuildRequest, GetMemberRequest, Guild,
        GuildExtent, GuildState, Member, User,
    },
    id::{ChannelId, GuildId},
    pair::UserPair,
};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    data::Data,
    permission::read_set::ReadSet,
    request::caller::Caller,
};

/// Discord's channel types that hold messages: text, direct, voice, announcement, the threads, stage.
const WITH_MESSAGES: [u32; 8] = [0, 1, 2, 5, 10, 11, 12, 13];

/// What is read of a channel beside what decides what the caller may do in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// All its overwrites, not those alone that concern the caller.
    pub(crate) all_overwrites: bool,
    /// Roles of the guild that the caller need not have; at most 250.
    pub(crate) role_ids: Vec<u64>,
}

/// A channel that the caller sees.
pub(crate) struct ChannelAccess {
    /// Its row; the overwrites are those that concern the caller, unless all were asked for.
    pub(crate) channel: Channel,
    /// Of its guild what concerns the caller: its roles, those asked for, and the channel's parent. Empty for direct messages.
    pub(crate) state: GuildState,
    /// The caller's membership; `None` for direct messages.
    member: Option<Member>,
    pub(crate) user: User,
    pub(crate) permissions: Permissions,
    /// 0 if there is none or it is not known.
    pub(crate) last_message_id: u64,
}

impl ChannelAccess {
    /// The caller's view of a channel: one data call, which costs the same however large the guild is.
    ///
    /// # Errors
    /// 10003 if there is no such channel, 50001 if the caller does not see it.
    pub(crate) async fn find(data: &Data, caller: &Caller, channel_id: ChannelId) -> Result<Self, Refused> {
        Self::find_with(data, caller, channel_id, Extras::default()).await
    }

    /// The same, and what the caller needs beside the check.
    ///
    /// # Errors
    /// As [`ChannelAccess::find`].
    pub(crate) async fn find_with(
        data: &Data,
        caller: &Caller,
        channel_id: ChannelId,
        extras: Extras,
    ) -> Result<Self, Refused> {
        let request = GetChannelContextRequest {
            channel_id: channel_id.get(),
            user_id: caller.id.get(),
            concerned_only: true,
            whole_channel: extras.all_overwrites,
            role_ids: extras.role_ids,
        };
        let context =
            data.get_channel_context(&request, &data.call()).await.found_or(ApiError::UnknownChannel)?;
        let channel = context.channel.ok_or(ApiError::Internal)?;
        let (state, member, permissions) = if is_direct(&channel) {
            (GuildState::default(), None, permissions_in_direct(&channel, caller.id.get()))
        } else {
            let state = context.state.ok_or(ApiError::Internal)?;
            let member = context.member.ok_or(ApiError::MissingAccess)?;
            let permissions = permissions_in(&state, Some(&channel), &member);
            (state, Some(member), permissions)
        };
        let user = context.user.unwrap_or_else(|| User::clone(&caller.user));
        let last_message_id = context.last_message_id;
        let access = Self { channel, state, member, user, permissions, last_message_id };
        if !access.may(Permissions::VIEW_CHANNEL) {
            return Err(ApiError::MissingAccess.into());
        }
        Ok(access)
    }

    /// The caller's membership; `None` for direct messages.
    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    pub(crate) fn may(&self, needed: Permissions) -> bool {
        self.permissions.contains(needed)
    }

    pub(crate) fn is_direct(&self) -> bool {
        is_direct(&self.channel)
    }

    /// # Errors
    /// 50013 without the permission; 50003 in direct messages, where nobody can be given it.
    pub(crate) fn require(&self, needed: Permissions) -> Result<(), Refused> {
        if self.may(needed) {
            Ok(())
        } else if self.is_direct() {
            Err(ApiError::DirectChannel.into())
        } else {
            Err(ApiError::MissingPermissions.into())
        }
    }

    /// # Errors
    /// 50008 if the channel's type holds no messages.
    pub(crate) fn require_messages(&self) -> Result<(), Refused> {
        if WITH_MESSAGES.contains(&self.channel.r#type) {
            Ok(())
        } else {
            Err(ApiError::NonTextChannel.into())
        }
    }

    /// The rows that say what the caller may do here: its own, the channel's and its parent's.
    pub(crate) fn read_set(&self) -> ReadSet {
        let read = ReadSet::default().channel(&self.channel).channel_of(&self.state, self.channel.parent_id);
        self.member.iter().fold(read, |read, member| read.powers(&self.state, member))
    }

    /// What gateways need to render an event by this caller without asking.
    pub(crate) fn event_context(&self) -> EventContext {
        EventContext {
            guild_id: self.channel.guild_id,
            author: Some(self.user.clone()),
            member: self.member.clone(),
            ..EventContext::default()
        }
    }
}

/// True if the channel holds two users' direct messages.
fn is_direct(channel: &Channel) -> bool {
    UserPair::of_channel(channel).is_some()
}

/// How much of a guild's channels is read: what a handler does not need it does not pay for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    None,
    /// Without topics and overwrites, but for one whose row is whole; 0 for none.
    Bare {
        whole: u64,
    },
    Whole,
}

/// A guild that the caller is a member of.
pub(crate) struct GuildAccess {
    pub(crate) state: GuildState,
    pub(crate) member: Member,
    /// In the guild at large.
    pub(crate) permissions: Permissions,
}

impl GuildAccess {
    /// The caller's view of a guild, without its channels: two data calls at once.
    ///
    /// # Errors
    /// 10004 if there is no such guild, 50001 if the caller is not in it.
    pub(crate) async fn find(data: &Data, caller: &Caller, guild_id: GuildId) -> Result<Self, Refused> {
        Self::find_with(data, caller, guild_id, Channels::None).await
    }

    /// The same with channels.
    ///
    /// # Errors
    /// As [`GuildAccess::find`].
    pub(crate) async fn find_with(
        data: &Data,
        caller: &Caller,
        guild_id: GuildId,
        channels: Channels,
    ) -> Result<Self, Refused> {
        let options = data.call();
        let (state, member) = tokio::join!(
            state_of(data, guild_id, channels, &options),
            member_of(data, guild_id, caller.id.get(), &options)
        );
        // The guild first: whoever asks for one that is not there learns that, and not that he is no member.
        let state = state?;
        let (member, _user) = member?.ok_or(ApiError::MissingAccess)?;
        let permissions = permissions_in(&state, None, &member);
        Ok(Self { state, member, permissions })
    }

    pub(crate) fn guild(&self) -> &Guild {
        self.state.guild.as_ref().expect("state_of refuses a state without its guild")
    }

    /// The rows that say what the caller may do.
    pub(crate) fn read_set(&self) -> ReadSet {
        ReadSet::default().powers(&self.state, &self.member)
    }

    pub(crate) fn may(&self, needed: Permissions) -> bool {
        self.permissions.contains(needed)
    }

    /// # Errors
    /// 50013 without the permission.
    pub(crate) fn require(&self, needed: Permissions) -> Result<(), Refused> {
        if self.may(needed) { Ok(()) } else { Err(ApiError::MissingPermissions.into()) }
    }

    /// Permissions that are handed out must be held by whoever hands them out.
    ///
    /// # Errors
    /// 50013 if some bit of `granted` is not held.
    pub(crate) fn require_held(&self, granted: Permissions) -> Result<(), Refused> {
        if injected(InjectedFault::RolesExceedTheirMaker) {
            return Ok(());
        }
        // Bits without a meaning grant nothing; whoever has every bit with one may pass them on.
        self.require(granted & Permissions::ALL)
    }
}

/// A guild's state with so much of its channels.
///
/// # Errors
/// 10004 if there is no such guild.
pub(crate) async fn state_of(
    data: &Data,
    guild_id: GuildId,
    channels: Channels,
    options: &CallOptions,
) -> Result<GuildState, Refused> {
    let (extent, whole_channel_id) = match channels {
        Channels::None => (GuildExtent::WithoutChannels, 0),
        Channels::Bare { whole } => (GuildExtent::BareChannels, whole),
        Channels::Whole => (GuildExtent::Unspecified, 0),
    };
    let extent = extent.into();
    let request =
        GetGuildRequest { guild_id: guild_id.get(), extent, whole_channel_id, ..GetGuildRequest::default() };
    let state = data.get_guild(&request, options).await.found_or(ApiError::UnknownGuild)?.state;
    Ok(state.filter(|state| state.guild.is_some()).ok_or(ApiError::Internal)?)
}

/// A guild's member with its user; `None` if there is none.
pub(crate) async fn member_of(
    data: &Data,
    guild_id: GuildId,
    user_id: u64,
    options: &CallOptions,
) -> Result<Option<(Member, Option<User>)>, Refused> {
    match data.get_member(&GetMemberRequest { guild_id: guild_id.get(), user_id }, options).await {
        Ok(reply) => Ok(reply.message.member.map(|member| (member, reply.message.user))),
        Err(DataError::NotFound { .. }) => Ok(None),
        Err(error) => Err(Refused::from_data(error, ApiError::UnknownMember)),
    }
}
