//! The guilds that sessions here need: registers interest in their records at the bus, loads their states
//! into the fan-out, and withdraws the interest when no session needs it any more.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};
use weir_bus::{Inbox, Topic};
use weir_proto::id::{GuildId, UserId};

use super::calls::{DataCalls, LoadError};
use crate::fanout::{Fanout, Installed};

/// Locks that keep a guild from being loaded twice at once; guilds share them by their id.
const TURNS: usize = 64;
/// Attempts to load a guild whose records keep overtaking its state.
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

    /// Registers interest in the records of a user's memberships and direct messages, and in those for every
    /// gateway. The user must have a subscriber already, or the interest may be withdrawn again.
    pub(crate) async fn add_user_interest(&self, user_id: UserId) -> Result<(), LoadError> {
        let _turn = self.turn(user_id.get()).await;
        self.add_interest(Topic::All).await?;
        self.add_interest(Topic::User(user_id)).await
    }

    async fn turn(&self, topic: u64) -> MutexGuard<'_, ()> {
        // The low bits of a snowflake are nearly always 0.
        self.turns[(topic >> 22) as usize % TURNS].lock().await
    }

    async fn add_interest(&self, topic: Topic) -> Result<(), LoadError> {
        let added = self.inbox.add_interest(topic).await;
        added.map_err(|error| LoadError::Unavailable { reason: format!("register interest: {error}") })
    }

    /// Makes sure that a guild's records come to this gateway and that the fan-out holds its state.
    ///
    /// # Cancel safety
    /// Safe: the next caller begins again.
    pub(crate) async fn ensure_loaded(&self, guild_id: GuildId) -> Result<(), LoadError> {
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        let _turn = self.turn(guild_id.get()).await;
        if self.fanout.present(guild_id).is_some() {
            return Ok(());
        }
        // Interest comes before the snapshot, so that no change falls between the two.
        self.add_interest(Topic::Guild(guild_id)).await?;
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

    /// Withdraws interest in guilds and users that no session needs any more.
    pub(crate) async fn forget_idle(&self, before: tokio::time::Instant) {
        for user_id in self.fanout.take_gone_users() {
            let _turn = self.turn(user_id.get()).await;
            if !self.fanout.has_user(user_id) {
                self.inbox.remove_interest(Topic::User(user_id)).await;
            }
        }
        for guild_id in self.fanout.forget_idle(before) {
            let _turn = self.turn(guild_id.get()).await;
            // A session may have come back meanwhile. Then it has registered interest already, or waits for
            // this lock.
            if self.fanout.interest_since_us(guild_id).is_none() {
                self.inbox.remove_interest(Topic::Guild(guild_id)).await;
            }
        }
    }
}
