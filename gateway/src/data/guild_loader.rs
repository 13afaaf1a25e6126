//! Guilds of the sessions here: interest in their records at the bus, then the state that the fan-out holds, and the end of both.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};
use weir_bus::{EVERY_GATEWAY, Inbox};
use weir_proto::id::{GuildId, UserId};

use super::calls::{DataCalls, LoadError};
use crate::fanout::{Fanout, Installed};

/// Locks that keep a guild from being loaded twice at once; guilds share them by their id.
const TURNS: usize = 64;
/// Loads of one guild before giving up, if its records keep overtaking the state.
const ATTEMPTS_MAX: usize = 5;

/// Registers interest at the bus, and loads guilds' states into the fan-out.
pub(crate) struct GuildLoader {
    calls: Arc<DataCalls>,
    inbox: Arc<dyn Inbox>,
    fanout: Arc<Fanout>,
    turns: [Mutex<()>; TURNS],
}

impl GuildLoader {
    pub(crate) fn new(calls: Arc<DataCalls>, inbox: Arc<dyn Inbox>, fanout: Arc<Fanout>) -> Self {
        Self { calls, inbox, fanout, turns: std::array::from_fn(|_| Mutex::new(())) }
    }

    /// Asks the bus for the records that concern a user's memberships, for those of its direct messages, and for what concerns every gateway.
    /// The user must have a subscriber already, or the interest may be withdrawn again.
    pub(crate) async fn add_user_interest(&self, user_id: UserId) -> Result<(), LoadError> {
        let _turn = self.turn(user_id.get()).await;
        self.add_interest(EVERY_GATEWAY).await?;
        self.add_interest(user_id.get()).await
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
    pub(crate) async fn ensure_loaded(&self, guild_id: GuildId) -> Result<(), LoadError> {
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        let _turn = self.turn(guild_id.get()).await;
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        // Interest before the snapshot, so that no change falls between the two.
        self.add_interest(guild_id.get()).await?;
        let loaded = self.load(guild_id).await;
        if loaded.is_err() {
            self.fanout.abandon(guild_id);
        }
        loaded
    }

    async fn load(&self, guild_id: GuildId) -> Result<(), LoadError> {
        for _ in 0..ATTEMPTS_MAX {
            self.fanout.begin_loading(guild_id);
            let loaded = self.calls.guild(guild_id).await?;
            match self.fanout.install(guild_id, loaded.state, &loaded.last_message_ids, loaded.as_of_us) {
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
            let _turn = self.turn(user_id.get()).await;
            if !self.fanout.has_user(user_id) {
                self.inbox.remove_interest(user_id.get()).await;
            }
        }
        for guild_id in self.fanout.forget_idle(before) {
            let _turn = self.turn(guild_id.get()).await;
            // Somebody may have come back meanwhile, and then has registered interest already or waits for this turn.
            if self.fanout.interest_since_us(guild_id).is_none() {
                self.inbox.remove_interest(guild_id.get()).await;
            }
        }
    }
}
