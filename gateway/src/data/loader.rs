//! Calls of the data service for what sessions need: tokens, users, memberships, lists of guilds.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use weir_bus::Inbox;
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::data::{
    GetMemberRequest, GetUsersRequest, ListUserGuildsRequest, Member, ResolveTokenRequest, User,
};
use weir_runtime::WallClock;

use crate::fanout::Fanout;

/// Locks that keep a guild from being loaded twice at once; guilds share them by their id.
pub(crate) const TURNS: usize = 64;
/// Guild ids asked for at once: the data service's bound.
const GUILDS_PAGE: u32 = 200;
/// How far a committing node's clock may lie behind ours: four times the 500 ms beyond which a node mints nothing, in microseconds. For data
/// services that do not say themselves what their answers include.
const CLOCK_SKEW_US: u64 = 2_000_000;

/// Why something could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LoadError {
    /// It is not there.
    #[error("not found")]
    NotFound,
    /// There is no room for a guild's state.
    #[error("the states of guilds take as much as they may")]
    Full,
    /// The data service or the bus did not answer in time, or not sensibly.
    #[error("{reason}")]
    Unavailable {
        /// What was tried and what came of it.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn of(what: &str, error: &DataError) -> Self {
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

/// Loads from the data service.
pub(crate) struct Loader {
    pub(crate) data: DataClient,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) fanout: Arc<Fanout>,
    call_timeout: Duration,
    pub(crate) turns: [Mutex<()>; TURNS],
    clock: Arc<dyn WallClock>,
}

impl Loader {
    pub(crate) fn new(
        data: DataClient,
        inbox: Arc<dyn Inbox>,
        fanout: Arc<Fanout>,
        call_timeout: Duration,
        clock: Arc<dyn WallClock>,
    ) -> Self {
        Self { data, inbox, fanout, call_timeout, turns: std::array::from_fn(|_| Mutex::new(())), clock }
    }

    pub(crate) fn options(&self) -> CallOptions {
        CallOptions::within(self.call_timeout)
    }

    /// Microseconds since 1970-01-01T00:00Z.
    pub(crate) fn now_us(&self) -> u64 {
        self.clock.wall_us()
    }

    /// The user of a token's hash.
    pub(crate) async fn resolve(&self, token_hash: &[u8; 32]) -> Result<User, LoadError> {
        let request = ResolveTokenRequest { token_hash: token_hash.to_vec() };
        let reply = self.data.resolve_token(&request, &self.options()).await;
        reply.map_err(|error| LoadError::of("resolve token", &error))?.message.user.ok_or(LoadError::NotFound)
    }

    /// A user by id.
    pub(crate) async fn user(&self, id: u64) -> Result<User, LoadError> {
        let reply = self.data.get_users(&GetUsersRequest { ids: vec![id] }, &self.options()).await;
        let users = reply.map_err(|error| LoadError::of("get users", &error))?.message.users;
        users.into_iter().find(|user| user.id == id).ok_or(LoadError::NotFound)
    }

    /// The revision up to which an answer includes everything, if the data service says so; otherwise by our clock when we asked.
    pub(crate) fn as_of(as_of_us: u64, asked_us: u64) -> u64 {
        if as_of_us == 0 { asked_us.saturating_sub(CLOCK_SKEW_US) } else { as_of_us }
    }

    /// The guilds of a user that `wanted` picks, ascending, at most `max + 1`: one more tells that there are too many. And the revision up to
    /// which everything was committed before.
    pub(crate) async fn guild_ids(
        &self,
        user_id: u64,
        max: usize,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<(Vec<u64>, u64), LoadError> {
        let asked_us = self.now_us();
        let mut as_of_us = None;
        let mut ids = Vec::new();
        let mut after = 0;
        loop {
            let request = ListUserGuildsRequest { user_id, after, limit: GUILDS_PAGE };
            let reply = self.data.list_user_guilds(&request, &self.options()).await;
            let reply = reply.map_err(|error| LoadError::of("list guilds", &error))?.message;
            let as_of_us = *as_of_us.get_or_insert(Self::as_of(reply.as_of_us, asked_us));
            let page = reply.guild_ids;
            let full = page.len() >= GUILDS_PAGE as usize;
            let Some(last) = page.last().copied().filter(|&last| last > after) else {
                return Ok((ids, as_of_us));
            };
            after = last;
            ids.extend(page.into_iter().filter(|&id| wanted(id)));
            if ids.len() > max || !full {
                ids.truncate(max + 1);
                return Ok((ids, as_of_us));
            }
        }
    }

    /// A user's membership of a guild.
    pub(crate) async fn member(&self, guild_id: u64, user_id: u64) -> Result<Member, LoadError> {
        let reply = self.data.get_member(&GetMemberRequest { guild_id, user_id }, &self.options()).await;
        reply.map_err(|error| LoadError::of("get member", &error))?.message.member.ok_or(LoadError::NotFound)
    }
}
