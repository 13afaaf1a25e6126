//! Typed calls to the data service: tokens, users, memberships, guilds, messages and changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::{
    data::{
        GetGuildRequest, GetMemberRequest, GetMessageRequest, GetUsersRequest, GuildState,
        ListChangesRequest, ListChangesResponse, ListMembersRequest, ListUserGuildsRequest, Member, Message,
        ResolveTokenRequest, User,
    },
    id::{ChannelId, GuildId, MessageId, UserId},
};
use weir_runtime::WallClock;

/// Guild ids asked for at once: the bound of the data service.
const GUILDS_PAGE: u32 = 200;
/// How far the clock of a node that commits may lie behind ours, in microseconds: four times the 500 ms
/// beyond which a node mints nothing. It is used for data services that do not say up to which revision their
/// answers are complete.
const CLOCK_SKEW_US: u64 = 2_000_000;

/// Why something could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LoadError {
    /// It does not exist.
    #[error("not found")]
    NotFound,
    /// There is no room for a guild's state.
    #[error("the states of guilds take as much as they may")]
    Full,
    /// The data service or the bus did not answer in time, or its answer made no sense.
    #[error("{reason}")]
    Unavailable {
        /// What was tried, and how it failed.
        reason: String,
    },
}

impl LoadError {
    fn of(what: &str, error: &DataError) -> Self {
        match error {
            DataError::NotFound { .. } => Self::NotFound,
            DataError::Invalid { .. }
            | DataError::Refused { .. }
            | DataError::OutcomeUnknown { .. }
            | DataError::DeadlineExceeded
            | DataError::Unavailable { .. }
            | DataError::Failed { .. } => Self::Unavailable { reason: format!("{what}: {error}") },
        }
    }
}

/// A guild's state as the data service answered.
pub(crate) struct LoadedGuild {
    pub(crate) state: GuildState,
    /// The newest message of each of the state's channels, in their order; 0 if a channel has none.
    pub(crate) last_message_ids: Vec<u64>,
    /// Revision up to which the answer includes everything.
    pub(crate) as_of_us: u64,
}

/// Calls to the data service. Every call ends within the call timeout.
///
/// # Cancel safety
/// All calls only read, so each of them may be dropped.
pub(crate) struct DataCalls {
    data: DataClient,
    call_timeout: Duration,
    clock: Arc<dyn WallClock>,
}

impl DataCalls {
    pub(crate) fn new(data: DataClient, call_timeout: Duration, clock: Arc<dyn WallClock>) -> Self {
        Self { data, call_timeout, clock }
    }

    fn options(&self) -> CallOptions {
        CallOptions::within(self.call_timeout)
    }

    /// The revision up to which an answer includes everything: the one that the data service gives, or else
    /// one derived from our clock when we asked.
    fn as_of(as_of_us: u64, asked_us: u64) -> u64 {
        if as_of_us == 0 { asked_us.saturating_sub(CLOCK_SKEW_US) } else { as_of_us }
    }

    /// The user of a token's hash.
    pub(crate) async fn resolve_token(&self, token_hash: &[u8; 32]) -> Result<(UserId, User), LoadError> {
        let request = ResolveTokenRequest { token_hash: token_hash.to_vec() };
        let reply = self.data.resolve_token(&request, &self.options()).await;
        let reply = reply.map_err(|error| LoadError::of("resolve token", &error))?.message;
        let user = reply.user.ok_or(LoadError::NotFound)?;
        let id = UserId::try_from(user.id)
            .map_err(|error| LoadError::Unavailable { reason: format!("resolve token: {error}") })?;
        Ok((id, user))
    }

    /// A user by id.
    pub(crate) async fn user(&self, id: UserId) -> Result<User, LoadError> {
        let users = self.users(&[id]).await.map_err(|error| LoadError::of("get users", &error))?;
        users.into_iter().find(|user| user.id == id.get()).ok_or(LoadError::NotFound)
    }

    /// Users by id, at most 1,000. Those that do not exist are left out.
    pub(crate) async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DataError> {
        let ids = ids.iter().map(|id| id.get()).collect();
        Ok(self.data.get_users(&GetUsersRequest { ids }, &self.options()).await?.message.users)
    }

    /// A guild's state, and the newest message of each of its channels.
    pub(crate) async fn guild(&self, guild_id: GuildId) -> Result<LoadedGuild, LoadError> {
        let request = GetGuildRequest {
            guild_id: guild_id.get(),
            with_last_messages: true,
            ..GetGuildRequest::default()
        };
        let asked_us = self.clock.wall_us();
        let reply = self.data.get_guild(&request, &self.options()).await;
        let reply = reply.map_err(|error| LoadError::of("get guild", &error))?.message;
        Ok(LoadedGuild {
            as_of_us: Self::as_of(reply.as_of_us, asked_us),
            state: reply.state.ok_or(LoadError::NotFound)?,
            last_message_ids: reply.last_message_ids,
        })
    }

    /// The guilds of a user that satisfy `wanted`, ascending, and the revision up to which the list is
    /// complete. At most `max + 1` guilds are returned; that many mean that the user has more than `max`.
    pub(crate) async fn guild_ids(
        &self,
        user_id: UserId,
        max: usize,
        wanted: impl Fn(GuildId) -> bool,
    ) -> Result<(Vec<GuildId>, u64), LoadError> {
        let asked_us = self.clock.wall_us();
        let mut as_of_us = None;
        let mut ids = Vec::new();
        let mut after = 0;
        loop {
            let request = ListUserGuildsRequest { user_id: user_id.get(), after, limit: GUILDS_PAGE };
            let reply = self.data.list_user_guilds(&request, &self.options()).await;
            let reply = reply.map_err(|error| LoadError::of("list guilds", &error))?.message;
            let as_of_us = *as_of_us.get_or_insert(Self::as_of(reply.as_of_us, asked_us));
            let page = reply.guild_ids;
            let full = page.len() >= GUILDS_PAGE as usize;
            let Some(last) = page.last().copied().filter(|&last| last > after) else {
                return Ok((ids, as_of_us));
            };
            after = last;
            let page = page.into_iter().filter_map(|id| GuildId::try_from(id).ok());
            ids.extend(page.filter(|&id| wanted(id)));
            if ids.len() > max || !full {
                ids.truncate(max + 1);
                return Ok((ids, as_of_us));
            }
        }
    }

    /// A user's membership of a guild.
    pub(crate) async fn member(&self, guild_id: GuildId, user_id: UserId) -> Result<Member, LoadError> {
        let reply = self.data.get_member(&member_request(guild_id, user_id), &self.options()).await;
        reply.map_err(|error| LoadError::of("get member", &error))?.message.member.ok_or(LoadError::NotFound)
    }

    /// A member of a guild with its user; `None` if the user is not a member.
    pub(crate) async fn member_with_user(
        &self,
        guild_id: GuildId,
        user_id: UserId,
    ) -> Result<Option<(Member, User)>, DataError> {
        match self.data.get_member(&member_request(guild_id, user_id), &self.options()).await {
            Ok(reply) => Ok(reply.message.member.zip(reply.message.user)),
            Err(DataError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The members of a guild above a user id, ascending, at most `limit`.
    pub(crate) async fn members(
        &self,
        guild_id: GuildId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(Member, User)>, DataError> {
        let request = ListMembersRequest { guild_id: guild_id.get(), after, limit };
        let reply = self.data.list_members(&request, &self.options()).await?.message;
        Ok(pair(reply.members, &reply.users))
    }

    /// A message of a channel; `None` if the data service answers without one.
    pub(crate) async fn message(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, DataError> {
        // What anybody reacted with is in no event.
        let (channel_id, message_id) = (channel_id.get(), message_id.get());
        let request = GetMessageRequest { channel_id, message_id, viewer_id: 0 };
        Ok(self.data.get_message(&request, &self.options()).await?.message.message)
    }

    /// The records of a channel, guild or direct message above a revision, ascending, at most `limit`.
    pub(crate) async fn changes(
        &self,
        scope_id: u64,
        after_rev: u64,
        limit: u32,
    ) -> Result<ListChangesResponse, DataError> {
        let request = ListChangesRequest { scope_id, after_rev, limit };
        Ok(self.data.list_changes(&request, &self.options()).await?.message)
    }
}

fn member_request(guild_id: GuildId, user_id: UserId) -> GetMemberRequest {
    GetMemberRequest { guild_id: guild_id.get(), user_id: user_id.get() }
}

/// Pairs members with their users. A user that is missing is represented by its id alone.
fn pair(members: Vec<Member>, users: &[User]) -> Vec<(Member, User)> {
    let by_id: HashMap<u64, &User> = users.iter().map(|user| (user.id, user)).collect();
    members
        .into_iter()
        .map(|member| {
            let user = by_id
                .get(&member.user_id)
                .map_or_else(|| User { id: member.user_id, ..User::default() }, |user| User::clone(user));
            (member, user)
        })
        .collect()
}
