//! Loading what sessions need from the data service: guilds' states, memberships, users.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, MutexGuard};
use weir_bus::{EVERY_GATEWAY, Inbox};
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::data::{
    GetGuildRequest, GetMemberRequest, GetUsersRequest, ListUserGuildsRequest, Member, ResolveTokenRequest,
    User,
};
use weir_runtime::WallClock;

use crate::fanout::{Fanout, Installed};

/// Locks that keep a guild from being loaded twice at once; guilds share them by their id.
const TURNS: usize = 64;
/// Loads of one guild before giving up, if its records keep overtaking the state.
const ATTEMPTS_MAX: usize = 5;
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

/// Loads from the data service.
pub(crate) struct Loader {
    pub(crate) data: DataClient,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) fanout: Arc<Fanout>,
    call_timeout: Duration,
    turns: [Mutex<()>; TURNS],
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
    fn as_of(as_of_us: u64, asked_us: u64) -> u64 {
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

    /// Asks the bus for the records that concern a user's memberships, for those of its direct messages, and for what concerns every gateway.
    /// The user must have a listener already, or the interest may be withdrawn again.
    pub(crate) async fn follow_user(&self, user_id: u64) -> Result<(), LoadError> {
        let _turn = self.turn(user_id).await;
        self.add_interest(EVERY_GATEWAY).await?;
        self.add_interest(user_id).await
    }

    async fn turn(&self, topic: u64) -> MutexGuard<'_, ()> {
        // The low bits of a snowflake are nearly always 0.
        self.turns[(topic >> 22) as usize % TURNS].lock().await
    }

    async fn add_interest(&self, topic: u64) -> Result<(), LoadError> {
        let added = self.inbox.add_interest(topic).await;
        added.map_err(|error| LoadError::Unavailable { reason: format!("register interest: {error}") })
    }

    /// Sees to it that a guild's records come here and that its state is held by the fan-out.
    ///
    /// # Cancel safety
    /// Safe: what was begun is begun again by the next caller.
    pub(crate) async fn guild(&self, guild_id: u64) -> Result<(), LoadError> {
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        let _turn = self.turn(guild_id).await;
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        // Interest before the snapshot, so that no change falls between the two.
        self.add_interest(guild_id).await?;
        let loaded = self.load(guild_id).await;
        if loaded.is_err() {
            self.fanout.abandon(guild_id);
        }
        loaded
    }

    async fn load(&self, guild_id: u64) -> Result<(), LoadError> {
        let request = GetGuildRequest { guild_id, with_last_messages: true, ..GetGuildRequest::default() };
        for _ in 0..ATTEMPTS_MAX {
            self.fanout.begin_loading(guild_id);
            let asked_us = self.now_us();
            let reply = self.data.get_guild(&request, &self.options()).await;
            let reply = reply.map_err(|error| LoadError::of("get guild", &error))?.message;
            let as_of_us = Self::as_of(reply.as_of_us, asked_us);
            let state = reply.state.ok_or(LoadError::NotFound)?;
            match self.fanout.install(guild_id, state, &reply.last_message_ids, as_of_us) {
                Installed::Done => return Ok(()),
                Installed::Again => {}
                Installed::Broken => break,
                Installed::Full => return Err(LoadError::Full),
            }
        }
        Err(LoadError::Unavailable { reason: format!("the state of guild {guild_id} does not settle") })
    }

    /// Withdraws interest in guilds and users that nobody listens to any more.
    pub(crate) async fn forget_idle(&self, before: tokio::time::Instant) {
        for user_id in self.fanout.take_gone_users() {
            let _turn = self.turn(user_id).await;
            if !self.fanout.has_user(user_id) {
                self.inbox.remove_interest(user_id).await;
            }
        }
        for guild_id in self.fanout.forget_idle(before) {
            let _turn = self.turn(guild_id).await;
            // Somebody may have come back meanwhile, and then has registered interest already or waits for this turn.
            if self.fanout.interest_since_us(guild_id).is_none() {
                self.inbox.remove_interest(guild_id).await;
            }
        }
    }
}
