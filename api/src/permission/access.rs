//! What a caller may do in a channel or a guild: reads the rows that a permission check needs in one step,
//! and checks in Discord's terms.

use weir_data_client::{CallOptions, DataError};
use weir_discord::{
    error::ApiError,
    permission::{Permissions, permissions_in, permissions_in_direct},
};
use weir_proto::{
    data::{
        Channel, EventContext, GetChannelContextRequest, GetChannelContextResponse, GetGuildRequest,
        GetMemberRequest, Guild, GuildExtent, GuildState, Member, User,
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

/// Discord's channel types that hold messages: text, direct, voice, announcement, the three of threads,
/// stage.
const WITH_MESSAGES: [u32; 8] = [0, 1, 2, 5, 10, 11, 12, 13];

/// What is read of a channel besides the rows for the permission check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// All overwrites of the channel, not only those that concern the caller.
    pub(crate) all_overwrites: bool,
    /// Roles of the guild that are read although the caller may not have them; at most 250.
    pub(crate) role_ids: Vec<u64>,
}

/// A channel that the caller sees.
pub(crate) struct ChannelAccess {
    /// The channel's row. Its overwrites are those that concern the caller, unless all were asked for.
    pub(crate) channel: Channel,
    /// The part of the guild that concerns the caller: the caller's roles, the roles that were asked for, and
    /// the channel's parent. Empty for direct messages.
    pub(crate) state: GuildState,
    /// The caller's membership; `None` for direct messages.
    member: Option<Member>,
    pub(crate) user: User,
    pub(crate) permissions: Permissions,
    /// 0 if the channel has no message or the id is not known.
    pub(crate) last_message_id: u64,
}

impl ChannelAccess {
    /// Reads the caller's view of a channel with one data call, which costs the same however large the guild
    /// is.
    ///
    /// # Errors
    /// 10003 if there is no such channel, 50001 if the caller does not see it.
    pub(crate) async fn find(data: &Data, caller: &Caller, channel_id: ChannelId) -> Result<Self, Refused> {
        Self::find_with(data, caller, channel_id, Extras::default()).await
    }

    /// Like [`ChannelAccess::find`], and reads `extras` too.
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
        Self::judge(context, caller)
    }

    /// What the caller may do in the channel that was read.
    ///
    /// # Errors
    /// 50001 if the caller does not see it.
    pub(crate) fn judge(context: GetChannelContextResponse, caller: &Caller) -> Result<Self, Refused> {
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

    /// Makes sure that the caller has a permission.
    ///
    /// # Errors
    /// 50013 if it does not; 50003 in direct messages, where nobody can be given one.
    pub(crate) fn require(&self, needed: Permissions) -> Result<(), Refused> {
        if self.may(needed) {
            Ok(())
        } else if self.is_direct() {
            Err(ApiError::DirectChannel.into())
        } else {
            Err(ApiError::MissingPermissions.into())
        }
    }

    /// Makes sure that the channel holds messages.
    ///
    /// # Errors
    /// 50008 if its type holds none.
    pub(crate) fn require_messages(&self) -> Result<(), Refused> {
        if WITH_MESSAGES.contains(&self.channel.r#type) {
            Ok(())
        } else {
            Err(ApiError::NonTextChannel.into())
        }
    }

    /// The rows that say what the caller may do here: its own, the channel's and the parent's.
    pub(crate) fn read_set(&self) -> ReadSet {
        let read = ReadSet::default().channel(&self.channel).channel_of(&self.state, self.channel.parent_id);
        self.member.iter().fold(read, |read, member| read.powers(&self.state, member))
    }

    /// What gateways need to render an event by this caller, so that they need not ask for it.
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

/// How much is read of a guild's channels. A handler pays only for what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    None,
    /// Channels without topics and overwrites. The row of the channel `whole` is complete; 0 for none.
    Bare {
        whole: u64,
    },
    Whole,
}

/// A guild that the caller is a member of.
pub(crate) struct GuildAccess {
    pub(crate) state: GuildState,
    pub(crate) member: Member,
    /// The caller's permissions in the guild, outside of any channel.
    pub(crate) permissions: Permissions,
}

impl GuildAccess {
    /// Reads the caller's view of a guild without its channels, with two data calls at once.
    ///
    /// # Errors
    /// 10004 if there is no such guild, 50001 if the caller is not in it.
    pub(crate) async fn find(data: &Data, caller: &Caller, guild_id: GuildId) -> Result<Self, Refused> {
        Self::find_with(data, caller, guild_id, Channels::None).await
    }

    /// Like [`GuildAccess::find`], and reads `channels` too.
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
        // The guild's error comes first: a guild that is not there is answered as unknown, not as one that
        // the caller is no member of.
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

    /// Makes sure that the caller has a permission.
    ///
    /// # Errors
    /// 50013 if it does not.
    pub(crate) fn require(&self, needed: Permissions) -> Result<(), Refused> {
        if self.may(needed) { Ok(()) } else { Err(ApiError::MissingPermissions.into()) }
    }

    /// Makes sure that the caller itself has all permissions that it hands out.
    ///
    /// # Errors
    /// 50013 if it lacks some bit of `granted`.
    pub(crate) fn require_held(&self, granted: Permissions) -> Result<(), Refused> {
        // Bits without a meaning grant nothing, so a caller that has every bit with a meaning may pass them
        // on.
        self.require(granted & Permissions::ALL)
    }
}

/// Reads a guild's state with as much of its channels as asked for.
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

/// Reads a guild's member and its user; `None` if the user is no member.
///
/// # Errors
/// Those of the call.
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
