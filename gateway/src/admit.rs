//! Identify and resume: from a token to a session with its guilds, or to a close code.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{sync::OwnedMutexGuard, time::timeout};
use weir_bus::Position;
use weir_discord::{
    intent::Intents,
    token::{TokenHash, parse_authorization},
};
use weir_proto::{
    data::{Member, User},
    event::record::Change,
};

use crate::{
    Close, CloseCode,
    entry::is_about,
    fanout::Fanout,
    guild::Snapshot,
    listener::Listener,
    load::LoadError,
    payload::{Identify, Resume},
    ring::Fallen,
    route::hears_of_guilds,
    sequence::{Numbering, ResumePoint},
    session::{Progress, Restored, Session, new_id},
    shared::Shared,
};

/// Guilds of one session that are loaded at once.
const LOADS_AT_ONCE: usize = 8;
/// Times the guilds are listed again because the user joined or left one meanwhile.
const LISTINGS_MAX: usize = 5;
/// Shards that a bot may split into. Discord's largest bots stay below it by far.
const SHARDS_MAX: u32 = 16_384;
/// Time for another connection of the same session to let go of it.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two wishes that it does.
const TAKEOVER_REPEAT: Duration = Duration::from_millis(50);

/// A session in the hands of a connection. Dropping it gives the session back.
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    pub(crate) progress: OwnedMutexGuard<Progress>,
    shared: Arc<Shared>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shared.registry.set_attached(&self.session, false);
    }
}

/// What came of a resume.
pub(crate) enum Resumption {
    /// Continue: guilds of the introduction from the index on, if any, then the records up to the position, then RESUMED.
    Continue { attached: Attached, guilds_from: Option<usize> },
    /// The client must identify again.
    Invalid,
}

/// A listener that is forgotten again if its session does not come to be.
struct Registration<'a> {
    fanout: &'a Fanout,
    listener: Arc<Listener>,
    kept: bool,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.fanout.forget(&self.listener);
        }
    }
}

/// The guilds of a session at one position.
struct Guilds {
    position: Position,
    /// Ascending by id.
    snapshots: Vec<(u64, Arc<Snapshot>)>,
    members: HashMap<u64, Member>,
}

fn fault(error: &LoadError) -> Close {
    tracing::warn!(%error, "a session could not be begun");
    Close::fault("a part of the service does not answer")
}

/// Begins a session. Its guilds' states are those at exactly the session's head.
///
/// # Errors
/// The close to be sent: 4004 only if the data service said that the token is nobody's.
pub(crate) async fn identify(
    shared: &Arc<Shared>,
    identify: &Identify,
    version: u8,
) -> Result<(Attached, Vec<(u64, Arc<Snapshot>)>), Close> {
    let shard = shard(identify.shard)?;
    let _admission =
        shared.admissions.acquire().await.map_err(|_| Close::fault("the gateway is stopping"))?;
    let unknown = || Close::new(CloseCode::AuthenticationFailed, "the token is not valid");
    let token_hash = parse_authorization(&identify.token).map_err(|_| unknown())?.hash();
    let user = match shared.loader.resolve(&token_hash.0).await {
        Ok(user) => user,
        Err(LoadError::NotFound) => return Err(unknown()),
        Err(error @ LoadError::Unavailable { .. }) => return Err(fault(&error)),
    };
    let intents = intents(identify.intents, &user, shared.config.granted_intents)?;
    let mut registration = register(shared, user.id, shard).await?;
    let guilds = guilds(shared, &registration.listener).await?;
    let shown: &[(u64, Arc<Snapshot>)] = if hears_of_guilds(intents) { &guilds.snapshots } else { &[] };
    let progress = Progress {
        cursor: guilds.position,
        sent: guilds.position,
        applied: guilds.position,
        ring_from: guilds.position,
        in_batch: false,
        guilds: guilds.members,
    };
    let session = Arc::new(Session {
        id: new_id().map_err(|_| Close::fault("no randomness"))?,
        token_hash,
        user,
        intents,
        version,
        numbering: Numbering::new(guilds.position, shown.len()),
        intro: shown.iter().map(|(id, _)| *id).collect(),
        listener: registration.listener.clone(),
        takeover: tokio::sync::Notify::new(),
        progress: Arc::new(progress.into()),
    });
    let progress = session.progress.clone().lock_owned().await;
    if shared.registry.durable() {
        // Before READY: a client must never hold an id that a restarted gateway does not know.
        let row = session.row(shared.loader.now_us() / 1_000);
        if let Err(error) = shared.registry.store().put(row).await {
            tracing::warn!(%error, "a session could not be kept");
            return Err(Close::fault("the session could not be kept"));
        }
    }
    attach(shared, session, progress, &mut registration).await.map(|attached| (attached, guilds.snapshots))
}

/// Finds the session to resume and where it goes on.
///
/// # Errors
/// 4007 for a number that was never sent, 4000 for a fault of ours: the client may then try again.
pub(crate) async fn resume(shared: &Arc<Shared>, resume: &Resume) -> Result<Resumption, Close> {
    let _admission =
        shared.admissions.acquire().await.map_err(|_| Close::fault("the gateway is stopping"))?;
    let Ok(token) = parse_authorization(&resume.token) else { return Ok(Resumption::Invalid) };
    let token_hash = token.hash();
    let (mut attached, restored) = match shared.registry.get(&resume.session_id) {
        Some(session) if session.is_owned_by(&token_hash) => match take_over(shared, session).await? {
            Some(attached) => (attached, false),
            None => return Ok(Resumption::Invalid),
        },
        Some(_) => return Ok(Resumption::Invalid),
        None => match restore(shared, &resume.session_id, &token_hash).await? {
            Some(attached) => (attached, true),
            None => return Ok(Resumption::Invalid),
        },
    };
    let numbering = attached.session.numbering;
    let point = numbering.resume_after(resume.seq.unwrap_or(0), shared.fanout.ring.head());
    let (after, guilds_from) = match point {
        ResumePoint::Ahead => {
            return Err(Close::new(CloseCode::InvalidSequence, "this number was never sent"));
        }
        ResumePoint::BeforeReady => {
            shared.registry.end(&attached.session).await;
            return Ok(Resumption::Invalid);
        }
        ResumePoint::Guilds(index) => (numbering.head(), Some(index)),
        ResumePoint::After(position) => (position, None),
    };
    let progress = &mut *attached.progress;
    if restored || after < progress.sent {
        progress.cursor = after;
        progress.sent = after;
        attached.session.listener.rewind(after + 1);
    } else if progress.in_batch {
        attached.session.listener.rewind(progress.cursor + 1);
    }
    attached.progress.in_batch = false;
    Ok(Resumption::Continue { attached, guilds_from })
}

async fn attach(
    shared: &Arc<Shared>,
    session: Arc<Session>,
    progress: OwnedMutexGuard<Progress>,
    registration: &mut Registration<'_>,
) -> Result<Attached, Close> {
    if shared.registry.add(session.clone()).await.is_err() {
        return Err(Close::fault("this gateway is full"));
    }
    registration.kept = true;
    session.listener.set_attached(true);
    Ok(Attached { session, progress, shared: shared.clone() })
}

/// Waits until the connection that has the session lets go of it. `None` if the session ends meanwhile.
async fn take_over(shared: &Arc<Shared>, session: Arc<Session>) -> Result<Option<Attached>, Close> {
    let taken = timeout(TAKEOVER_TIMEOUT, async {
        loop {
            // Repeated: the connection may not have begun to listen to it.
            session.takeover.notify_waiters();
            if let Ok(progress) = timeout(TAKEOVER_REPEAT, session.progress.clone().lock_owned()).await {
                return progress;
            }
        }
    });
    let Ok(progress) = taken.await else { return Err(Close::fault("the session is busy")) };
    let known = shared.registry.set_attached(&session, true);
    Ok(known.then(|| Attached { session, progress, shared: shared.clone() }))
}

/// Makes a session again of the row that an earlier process left.
async fn restore(shared: &Arc<Shared>, id: &str, token_hash: &TokenHash) -> Result<Option<Attached>, Close> {
    if !shared.registry.claim_row(id) {
        return Ok(None);
    }
    match restore_claimed(shared, id, token_hash).await {
        Ok(Restoration::Done(attached)) => Ok(Some(attached)),
        Ok(Restoration::NotTheirs) => {
            shared.registry.return_row(id);
            Ok(None)
        }
        Ok(Restoration::Useless) => Ok(None),
        Err(close) => {
            shared.registry.return_row(id);
            Err(close)
        }
    }
}

enum Restoration {
    Done(Attached),
    /// Another token: the row stays for its owner.
    NotTheirs,
    /// No row, or one that cannot be read.
    Useless,
}

async fn restore_claimed(
    shared: &Arc<Shared>,
    id: &str,
    token_hash: &TokenHash,
) -> Result<Restoration, Close> {
    let row = shared.registry.store().get(id).await.map_err(|error| {
        tracing::warn!(%error, "a session could not be read");
        Close::fault("the session could not be read")
    })?;
    let Some(kept) = row.as_ref().and_then(Restored::read) else { return Ok(Restoration::Useless) };
    if !kept.is_owned_by(token_hash) {
        return Ok(Restoration::NotTheirs);
    }
    let user = match shared.loader.user(kept.user_id).await {
        Ok(user) => user,
        Err(LoadError::NotFound) => return Ok(Restoration::Useless),
        Err(error @ LoadError::Unavailable { .. }) => return Err(fault(&error)),
    };
    let mut registration = register(shared, user.id, kept.shard).await?;
    let guilds = guilds(shared, &registration.listener).await?;
    let progress = Progress {
        cursor: kept.numbering.head(),
        sent: kept.numbering.head(),
        applied: guilds.position,
        ring_from: guilds.position,
        in_batch: false,
        guilds: guilds.members,
    };
    let session = Arc::new(Session {
        id: id.to_owned(),
        token_hash: kept.token_hash,
        user,
        intents: kept.intents,
        version: kept.version,
        numbering: kept.numbering,
        intro: kept.intro,
        listener: registration.listener.clone(),
        takeover: tokio::sync::Notify::new(),
        progress: Arc::new(progress.into()),
    });
    let progress = session.progress.clone().lock_owned().await;
    attach(shared, session, progress, &mut registration).await.map(Restoration::Done)
}

async fn register(
    shared: &Arc<Shared>,
    user_id: u64,
    shard: (u32, NonZeroU32),
) -> Result<Registration<'_>, Close> {
    let listener = Arc::new(Listener::new(user_id, shard));
    shared.fanout.register(&listener);
    let registration = Registration { fanout: &shared.fanout, listener, kept: false };
    shared.loader.follow_user(user_id).await.map_err(|error| fault(&error))?;
    Ok(registration)
}

/// Loads the guilds of a listener's user and joins them, so that states and memberships are those at one position and every later
/// record is heard.
async fn guilds(shared: &Arc<Shared>, listener: &Arc<Listener>) -> Result<Guilds, Close> {
    let max = shared.config.guilds_max;
    for _ in 0..LISTINGS_MAX {
        let listed_after = shared.fanout.ring.head();
        let ids = shared.loader.guild_ids(listener.user_id, max, |id| listener.has_guild(id)).await;
        let ids = ids.map_err(|error| fault(&error))?;
        if ids.len() > max {
            return Err(Close::new(
                CloseCode::ShardingRequired,
                format!("a session has at most {max} guilds: shard"),
            ));
        }
        let loaded: Vec<Option<(u64, Member)>> = stream::iter(ids)
            .map(|id| load_guild(shared, id, listener.user_id))
            .buffered(LOADS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| fault(&error))?;
        let mut members: HashMap<u64, Member> = loaded.into_iter().flatten().collect();
        let mut ids: Vec<u64> = members.keys().copied().collect();
        ids.sort_unstable();
        let (position, snapshots) = shared.fanout.join(listener, &ids);
        let settled = catch_up(shared, listener.user_id, (listed_after, position), &mut members)
            .map_err(|_| Close::fault("the gateway is too busy"))?;
        if settled && snapshots.len() == ids.len() {
            return Ok(Guilds { position, snapshots, members });
        }
    }
    Err(Close::fault("the user's guilds change too fast"))
}

/// A guild's state and the user's membership; `None` if either is gone.
async fn load_guild(
    shared: &Shared,
    guild_id: u64,
    user_id: u64,
) -> Result<Option<(u64, Member)>, LoadError> {
    let loaded = async {
        shared.loader.guild(guild_id).await?;
        shared.loader.member(guild_id, user_id).await
    };
    match loaded.await {
        Ok(member) => Ok(Some((guild_id, member))),
        Err(LoadError::NotFound) => Ok(None),
        Err(error @ LoadError::Unavailable { .. }) => Err(error),
    }
}

/// Applies what happened to the user's memberships while they were loaded. False if the user joined or left a guild: list them again.
fn catch_up(
    shared: &Shared,
    user_id: u64,
    (after, up_to): (Position, Position),
    members: &mut HashMap<u64, Member>,
) -> Result<bool, Fallen> {
    let mut after = after;
    while after < up_to {
        let scan = shared.fanout.ring.scan(after, (usize::MAX, usize::MAX), |_| false, |_| false)?;
        after = scan.up_to;
        for entry in scan.entries {
            let (guild_id, Some(record)) = (entry.guild_id, entry.record()) else { return Ok(false) };
            match record.change.as_ref() {
                Some(Change::MemberUpdated(updated)) => {
                    if let (Some(row), Some(held)) = (&updated.member, members.get_mut(&guild_id))
                        && row.user_id == user_id
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

fn shard(asked: Option<[i64; 2]>) -> Result<(u32, NonZeroU32), Close> {
    let Some([id, count]) = asked else { return Ok((0, NonZeroU32::MIN)) };
    let invalid = || Close::new(CloseCode::InvalidShard, "a shard is [id, count] with id below count");
    let count = u32::try_from(count).ok().filter(|&count| count <= SHARDS_MAX).and_then(NonZeroU32::new);
    let (Some(count), Ok(id)) = (count, u32::try_from(id)) else { return Err(invalid()) };
    if id < count.get() { Ok((id, count)) } else { Err(invalid()) }
}

fn intents(asked: Option<u64>, user: &User, granted: Intents) -> Result<Intents, Close> {
    // User accounts have no intents: they receive everything.
    let Some(bits) = asked else {
        return if user.bot {
            Err(Close::new(CloseCode::InvalidIntents, "identify needs intents"))
        } else {
            Ok(Intents::ALL)
        };
    };
    let intents = Intents::from_client(bits)
        .map_err(|unknown| Close::new(CloseCode::InvalidIntents, unknown.to_string()))?;
    let refused = intents.not_granted(granted);
    if refused == Intents::NONE {
        Ok(intents)
    } else {
        Err(Close::new(CloseCode::DisallowedIntents, format!("not granted: {refused:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_cannot_be_are_refused() {
        let ok = |id, count| Ok((id, NonZeroU32::new(count).expect("not 0")));
        assert_eq!(shard(None), ok(0, 1));
        assert_eq!(shard(Some([2, 3])), ok(2, 3));
        for asked in [[3, 3], [-1, 3], [0, 0], [0, -1], [0, 1 << 20], [1 << 40, 3]] {
            assert_eq!(
                shard(Some(asked)).map_err(|close| close.code),
                Err(CloseCode::InvalidShard),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn intents_are_checked_in_discords_order() {
        let bot = User { bot: true, ..User::default() };
        let code = |asked, user: &User, granted| intents(asked, user, granted).map_err(|close| close.code);
        assert_eq!(code(None, &bot, Intents::PRIVILEGED), Err(CloseCode::InvalidIntents));
        assert_eq!(code(None, &User::default(), Intents::NONE), Ok(Intents::ALL));
        assert_eq!(code(Some(1 << 40), &bot, Intents::NONE), Err(CloseCode::InvalidIntents));
        assert_eq!(code(Some(1 << 15), &bot, Intents::NONE), Err(CloseCode::DisallowedIntents));
        assert_eq!(code(Some(1 << 15), &bot, Intents::PRIVILEGED), Ok(Intents::MESSAGE_CONTENT));
    }
}
