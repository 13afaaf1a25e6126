//! Resume: finds the session, in this process or in the row that an earlier process left, and the position
//! where it goes on.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use weir_discord::token::{TokenHash, parse_authorization};

use super::{
    Progress, Restored, Session,
    numbering::ResumePoint,
    start::{Attached, attach, fault, guilds, register},
};
use crate::{Close, CloseCode, data::calls::LoadError, shared::Shared, socket::payload::Resume};

/// Time for another connection of the same session to release it.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two requests to release it.
const TAKEOVER_REPEAT: Duration = Duration::from_millis(50);

/// Result of a resume.
pub(crate) enum Resumption {
    /// The session continues: the initial guilds from the index on, if any, then the records up to the newest
    /// position, then RESUMED.
    Continue { attached: Attached, guilds_from: Option<usize> },
    /// The client must identify again.
    Invalid,
    /// The user's sessions resume too often: this one may try again later.
    Later,
}

/// Finds the session to resume and where it goes on.
///
/// # Errors
/// 4007 for a number that was never sent, 4000 for a fault of ours: the client may then try again.
pub(crate) async fn resume(shared: &Arc<Shared>, resume: &Resume) -> Result<Resumption, Close> {
    let Ok(token) = parse_authorization(&resume.token) else { return Ok(Resumption::Invalid) };
    let token_hash = token.hash();
    let (mut attached, restored) = match shared.registry.get(&resume.session_id) {
        Some(session) if session.is_owned_by(&token_hash) => {
            if shared.allowances.resume(session.user_id(), Instant::now()).is_err() {
                return Ok(Resumption::Later);
            }
            match take_over(shared, session).await? {
                Some(attached) => (attached, false),
                None => return Ok(Resumption::Invalid),
            }
        }
        Some(_) => return Ok(Resumption::Invalid),
        None => match restore(shared, &resume.session_id, &token_hash).await? {
            Restoration::Done(attached) => (attached, true),
            Restoration::Later => return Ok(Resumption::Later),
            Restoration::Useless => return Ok(Resumption::Invalid),
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
        attached.session.subscriber.rewind(after + 1);
    } else if progress.in_batch {
        attached.session.subscriber.rewind(progress.cursor + 1);
    }
    attached.progress.in_batch = false;
    Ok(Resumption::Continue { attached, guilds_from })
}

/// Waits until the connection that has the session releases it. `None` if the session ends meanwhile.
async fn take_over(shared: &Arc<Shared>, session: Arc<Session>) -> Result<Option<Attached>, Close> {
    let taken = timeout(TAKEOVER_TIMEOUT, async {
        loop {
            // The request is repeated, because the connection may not have listened for it yet.
            session.takeover.notify_waiters();
            if let Ok(progress) = timeout(TAKEOVER_REPEAT, session.progress.clone().lock_owned()).await {
                return progress;
            }
        }
    });
    let Ok(progress) = taken.await else { return Err(Close::fault("the session is busy")) };
    let known = shared.registry.set_attached(&session, true);
    Ok(known.then(|| Attached::new(shared, session, progress)))
}

/// Restores a session from the row that an earlier process left.
async fn restore(shared: &Arc<Shared>, id: &str, token_hash: &TokenHash) -> Result<Restoration, Close> {
    let Some(left) = shared.registry.claim_row(id, token_hash) else { return Ok(Restoration::Useless) };
    let restored = restore_claimed(shared, id).await;
    match &restored {
        Ok(Restoration::Done(_) | Restoration::Useless) => {}
        Ok(Restoration::Later) | Err(_) => shared.registry.return_row(id, left),
    }
    restored
}

enum Restoration {
    Done(Attached),
    /// There is no row of that token, or it cannot be read.
    Useless,
    /// The user's sessions resume too often.
    Later,
}

async fn restore_claimed(shared: &Arc<Shared>, id: &str) -> Result<Restoration, Close> {
    // The admission is taken only here: taking over a session makes no calls, and waits for another
    // connection and so perhaps for its client.
    let _admission =
        shared.admissions.acquire().await.map_err(|_| Close::fault("the gateway is stopping"))?;
    let row = shared.registry.store().get(id).await.map_err(|error| {
        tracing::warn!(%error, "a session could not be read");
        Close::fault("the session could not be read")
    })?;
    let Some(kept) = row.as_ref().and_then(Restored::read) else { return Ok(Restoration::Useless) };
    if shared.allowances.resume(kept.user_id, Instant::now()).is_err() {
        return Ok(Restoration::Later);
    }
    let user = match shared.calls.user(kept.user_id).await {
        Ok(user) => user,
        Err(LoadError::NotFound) => return Ok(Restoration::Useless),
        Err(error @ (LoadError::Unavailable { .. } | LoadError::Full)) => return Err(fault(&error)),
    };
    let mut registration = register(shared, kept.user_id, kept.shard).await?;
    let guilds = guilds(shared, &registration.subscriber).await?;
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
        large_threshold: kept.large_threshold,
        numbering: kept.numbering,
        initial_guilds: kept.initial_guilds,
        // A durable log is in order: no earlier record comes after its head.
        begun_rev: 0,
        subscriber: registration.subscriber.clone(),
        takeover: tokio::sync::Notify::new(),
        progress: Arc::new(progress.into()),
    });
    let progress = session.progress.clone().lock_owned().await;
    attach(shared, session, progress, &mut registration).await.map(Restoration::Done)
}
