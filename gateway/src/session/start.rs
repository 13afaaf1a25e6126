//! Session start: a user's guilds are loaded and subscribed to, all at one position of the log.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OwnedMutexGuard;
use weir_bus::Position;
use weir_proto::{
    data::Member,
    event::record::Change,
    id::{GuildId, UserId},
};

use super::{Progress, Session};
use crate::{
    Close, CloseCode,
    data::calls::LoadError,
    fanout::{Fanout, entry::is_about, ring::Fallen, snapshot::Snapshot, subscriber::Subscriber},
    shared::Shared,
};

/// Guilds of one session that are loaded at once.
const LOADS_AT_ONCE: usize = 8;
/// How often the guilds are listed again because the user joined or left one meanwhile.
const LISTINGS_MAX: usize = 5;
/// A session in the hands of a connection. Dropping it releases the session.
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    pub(crate) progress: OwnedMutexGuard<Progress>,
    shared: Arc<Shared>,
}

impl Attached {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        session: Arc<Session>,
        progress: OwnedMutexGuard<Progress>,
    ) -> Self {
        Self { session, progress, shared: shared.clone() }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shared.registry.set_attached(&self.session, false);
    }
}

/// A subscriber that is removed again if its session does not come to be.
pub(crate) struct Registration<'a> {
    fanout: &'a Fanout,
    pub(crate) subscriber: Arc<Subscriber>,
    kept: bool,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.fanout.forget(&self.subscriber);
        }
    }
}

/// The guilds of a session at one position.
pub(crate) struct Guilds {
    pub(crate) position: Position,
    /// Ascending by id.
    pub(crate) snapshots: Vec<(GuildId, Arc<Snapshot>)>,
    pub(crate) members: HashMap<GuildId, Member>,
    /// Everything up to this revision was committed before the guilds were listed.
    pub(crate) as_of_rev: u64,
}

/// A fault of ours, which is logged: the client may try again.
pub(crate) fn fault(error: &LoadError) -> Close {
    tracing::warn!(%error, "a session could not be begun");
    match error {
        LoadError::Full => Close::fault("this gateway is full"),
        LoadError::NotFound | LoadError::Unavailable { .. } => {
            Close::fault("a part of the service does not answer")
        }
    }
}

/// Hands a new session to its connection.
pub(crate) async fn attach(
    shared: &Arc<Shared>,
    session: Arc<Session>,
    progress: OwnedMutexGuard<Progress>,
    registration: &mut Registration<'_>,
) -> Result<Attached, Close> {
    let bytes = session.bytes(&progress);
    if shared.registry.add(session.clone(), bytes).await.is_err() {
        return Err(Close::fault("this gateway is full"));
    }
    registration.kept = true;
    session.subscriber.set_attached(true);
    Ok(Attached::new(shared, session, progress))
}

/// Registers a new subscriber, which from then on is woken by changes of its user's memberships.
pub(crate) async fn register(
    shared: &Arc<Shared>,
    user_id: UserId,
    shard: (u32, NonZeroU32),
) -> Result<Registration<'_>, Close> {
    let subscriber = Arc::new(Subscriber::new(user_id, shard));
    shared.fanout.register(&subscriber);
    let registration = Registration { fanout: &shared.fanout, subscriber, kept: false };
    shared.guild_loader.add_user_interest(user_id).await.map_err(|error| fault(&error))?;
    Ok(registration)
}

/// Loads the guilds of a subscriber's user and subscribes to them, so that states and memberships are those
/// at one position and every later record wakes the subscriber.
pub(crate) async fn guilds(shared: &Arc<Shared>, subscriber: &Arc<Subscriber>) -> Result<Guilds, Close> {
    let max = shared.config.guilds_max;
    for _ in 0..LISTINGS_MAX {
        let listed_after = shared.fanout.ring.head();
        let ids = shared.calls.guild_ids(subscriber.user_id, max, |id| subscriber.has_guild(id)).await;
        let (ids, as_of_rev) = ids.map_err(|error| fault(&error))?;
        // Interest in the user was registered with the subscriber, before this list was read.
        shared.fanout.note_user_interest(subscriber.user_id, as_of_rev);
        if ids.len() > max {
            return Err(Close::new(
                CloseCode::ShardingRequired,
                format!("a session has at most {max} guilds: shard"),
            ));
        }
        let states = AtomicUsize::new(0);
        let loaded: Vec<Option<(GuildId, Member)>> = stream::iter(ids)
            .map(|id| load_guild(shared, id, subscriber.user_id, &states))
            .buffered(LOADS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| fault(&error))?;
        let mut members: HashMap<GuildId, Member> = loaded.into_iter().flatten().collect();
        let mut ids: Vec<GuildId> = members.keys().copied().collect();
        ids.sort_unstable();
        let (position, snapshots) = shared.fanout.subscribe(subscriber, &ids);
        let settled = catch_up(shared, subscriber.user_id, (listed_after, position), &mut members)
            .map_err(|_| Close::fault("the gateway is too busy"))?;
        if settled && snapshots.len() == ids.len() {
            return Ok(Guilds { position, snapshots, members, as_of_rev });
        }
    }
    Err(Close::fault("the user's guilds change too fast"))
}

/// Loads a guild's state and the user's membership; `None` if either is gone. `states` counts the bytes of
/// the states that the session needs. They may be half of the bound for all guilds, so that a token with many
/// guilds leaves room for others. A state that was loaded in vain has no subscribers, so it is the first to
/// make room.
async fn load_guild(
    shared: &Shared,
    guild_id: GuildId,
    user_id: UserId,
    states: &AtomicUsize,
) -> Result<Option<(GuildId, Member)>, LoadError> {
    let loaded = async {
        shared.guild_loader.ensure_loaded(guild_id).await?;
        let bytes = shared.fanout.present(guild_id).map_or(0, |snapshot| snapshot.bytes());
        if states.fetch_add(bytes, Ordering::Relaxed) + bytes > shared.config.guild_bytes_max / 2 {
            return Err(LoadError::Full);
        }
        shared.calls.member(guild_id, user_id).await
    };
    match loaded.await {
        Ok(member) => Ok(Some((guild_id, member))),
        Err(LoadError::NotFound) => Ok(None),
        Err(error @ (LoadError::Unavailable { .. } | LoadError::Full)) => Err(error),
    }
}

/// Applies what happened to the user's memberships while they were loaded. False if the user joined or left a
/// guild: then they must be listed again.
fn catch_up(
    shared: &Shared,
    user_id: UserId,
    (after, up_to): (Position, Position),
    members: &mut HashMap<GuildId, Member>,
) -> Result<bool, Fallen> {
    let mut after = after;
    while after < up_to {
        let scan = shared.fanout.ring.scan(after, (usize::MAX, usize::MAX), |_| false, |_| false)?;
        after = scan.up_to;
        for entry in scan.entries {
            let Some(record) = entry.record() else { return Ok(false) };
            match record.change.as_ref() {
                Some(Change::MemberUpdated(updated)) => {
                    if let (Some(row), Some(guild_id)) = (&updated.member, entry.guild_id)
                        && let Some(held) = members.get_mut(&guild_id)
                        && row.user_id == user_id.get()
                        && record.rev > held.rev
                    {
                        held.clone_from(row);
                    }
                }
                Some(change) if is_about(change, user_id) => return Ok(false),
                Some(_) | None => {}
            }
        }
    }
    Ok(true)
}
