//! Reads of users, guilds, channels and members.

use std::sync::Arc;

use weir_protect::Dependence;
use weir_proto::{
    data::{Channel, GuildState, Member, User},
    id::{ChannelId, GuildId, ScopeId, Snowflake, UserId},
    pair::UserPair,
};

use super::{
    pipeline::{Failure, ReadOptions, ReadPath, Reading},
    query::{ReadQuery, ReadValue, mismatch},
};
use crate::{key::Key, outbox::rebuild::Changes};

/// Users read at once for one request: enough to hide the database's latency, few beside its own concurrency.
const USERS_AT_ONCE: usize = 32;

/// What a permission check for a user in a channel needs.
#[derive(Debug, Clone)]
pub struct ChannelContext {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Its guild; `None` for a direct message.
    pub state: Option<Arc<GuildState>>,
    /// The user's membership.
    pub member: Option<Arc<Member>>,
    /// The user.
    pub user: Option<Arc<User>>,
}

macro_rules! one {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $value:ty, $key:expr, ($($argument:ident: $kind:ty),*)) => {
        $(#[$doc])*
        pub(crate) async fn $name(&self, reading: &mut Reading, $($argument: $kind),*) -> Result<$value, Failure> {
            match self.part(reading, $key, ReadQuery::Whole, Dependence::Append).await? {
                ReadValue::$variant(value) => Ok(value),
                other => Err(mismatch(&other)),
            }
        }
    };
}

impl ReadPath {
    one! { channel_part, Channel, Option<Arc<Channel>>, Key::Channel(id), (id: ChannelId) }
    one! { guild_part, Guild, Option<Arc<GuildState>>, Key::Guild(id), (id: GuildId) }
    one! { member_part, Member, Option<Arc<Member>>, Key::Member(guild, user), (guild: GuildId, user: UserId) }
    one! { user_part, User, Option<Arc<User>>, Key::User(id), (id: UserId) }
    one! { direct_part, Direct, Option<ChannelId>, Key::Direct(pair), (pair: UserPair) }
    one! { token_part, Token, Option<UserId>, Key::Token(hash), (hash: [u8; 32]) }

    /// A channel's row, for the service itself.
    pub(crate) async fn channel_row(&self, id: ChannelId) -> Result<Option<Arc<Channel>>, Failure> {
        self.channel_part(&mut self.admit_unlimited()?, id).await
    }

    /// A guild, for the service itself.
    pub(crate) async fn guild_row(&self, id: GuildId) -> Result<Option<Arc<GuildState>>, Failure> {
        self.guild_part(&mut self.admit_unlimited()?, id).await
    }

    /// Changes of a channel or guild above a revision that is not older than what is kept, for a gateway that
    /// catches up. Those who ask for the same share a read; it is charged to the class and to all, but not to
    /// the channel, so that clients that are refused there do not keep gateways from telling of what was
    /// said.
    pub(crate) async fn changes(
        &self,
        scope_id: Snowflake,
        after_rev: u64,
        limit: usize,
        options: ReadOptions,
    ) -> Result<Arc<Changes>, Failure> {
        let mut reading = self.admit_attendant(options.within)?;
        let scope = match self.channel_part(&mut reading, ChannelId(scope_id)).await? {
            Some(_) => ScopeId::Channel(ChannelId(scope_id)),
            None => ScopeId::Guild(GuildId(scope_id)),
        };
        let query = ReadQuery::Changes { scope, after_rev, limit };
        match self.part(&mut reading, Key::Changes(scope_id), query, Dependence::Append).await? {
            ReadValue::Changes(changes) => Ok(changes),
            other => Err(mismatch(&other)),
        }
    }

    /// Members above a user, or from the first one.
    pub(crate) async fn members_part(
        &self,
        reading: &mut Reading,
        guild: GuildId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Arc<[Member]>, Failure> {
        match self
            .part(reading, Key::Members(guild), ReadQuery::MembersAfter(after, limit), Dependence::Append)
            .await?
        {
            ReadValue::Members(members) => Ok(members),
            other => Err(mismatch(&other)),
        }
    }

    /// Guilds of a user above a guild, or from the first one.
    pub(crate) async fn user_guilds_part(
        &self,
        reading: &mut Reading,
        user: UserId,
        after: Option<GuildId>,
        limit: usize,
    ) -> Result<Arc<[GuildId]>, Failure> {
        match self
            .part(reading, Key::UserGuilds(user), ReadQuery::GuildsAfter(after, limit), Dependence::Append)
            .await?
        {
            ReadValue::Guilds(guilds) => Ok(guilds),
            other => Err(mismatch(&other)),
        }
    }

    /// Those users that exist, in the order asked for.
    pub(crate) async fn users_part(&self, reading: &Reading, ids: &[UserId]) -> Result<Vec<User>, Failure> {
        let mut users = Vec::with_capacity(ids.len());
        for some in ids.chunks(USERS_AT_ONCE) {
            let mut parts: Vec<Reading> = some.iter().map(|_| reading.clone()).collect();
            let reads = parts.iter_mut().zip(some).map(|(part, id)| self.user_part(part, *id));
            let found = futures_util::future::try_join_all(reads).await?;
            users.extend(found.into_iter().flatten().map(|user| (*user).clone()));
        }
        Ok(users)
    }

    /// All that a permission check for a user in a channel needs; `None` if there is no such channel.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn channel_context(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        options: ReadOptions,
    ) -> Result<Option<ChannelContext>, Failure> {
        // Charged to no channel: with a page that is read for its sake it is one request
        // (`ReadPath::viewed_page`), and a change is charged as a write.
        let mut reading = self.admit(Key::Channel(channel_id), options)?;
        self.context_part(&mut reading, channel_id, user_id).await
    }

    /// The same, as a part of a request.
    pub(crate) async fn context_part(
        &self,
        reading: &mut Reading,
        channel_id: ChannelId,
        user_id: UserId,
    ) -> Result<Option<ChannelContext>, Failure> {
        let Some(channel) = self.channel_part(reading, channel_id).await? else { return Ok(None) };
        if let Some(pair) = UserPair::of_channel(&channel) {
            // The pair's row decides which channel is the pair's: what an owner that lost its lease left
            // behind is none.
            if self.direct_part(reading, pair).await? != Some(channel_id) {
                return Ok(None);
            }
            let user = self.user_part(reading, user_id).await?;
            return Ok(Some(ChannelContext { channel, state: None, member: None, user }));
        }
        let Ok(guild_id) = GuildId::try_from(channel.guild_id) else { return Ok(None) };
        let Some(state) = self.guild_part(reading, guild_id).await? else { return Ok(None) };
        let member = self.member_part(reading, guild_id, user_id).await?;
        let user = self.user_part(reading, user_id).await?;
        Ok(Some(ChannelContext { channel, state: Some(state), member, user }))
    }
}
