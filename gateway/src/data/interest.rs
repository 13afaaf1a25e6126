//! What is followed for the sessions here: interest at the bus, then the guild's state, and the end of both.

use tokio::sync::MutexGuard;
use weir_bus::EVERY_GATEWAY;
use weir_proto::data::GetGuildRequest;

use super::loader::{LoadError, Loader, TURNS};
use crate::fanout::Installed;

/// Loads of one guild before giving up, if its records keep overtaking the state.
const ATTEMPTS_MAX: usize = 5;

impl Loader {
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
