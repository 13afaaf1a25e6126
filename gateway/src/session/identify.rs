//! Identify: from a token to a session with its guilds, or to a close code.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use tokio::time::Instant;
use weir_discord::{
    intent::Intents,
    token::{TokenHash, parse_authorization},
};
use weir_proto::{
    data::User,
    id::{GuildId, UserId},
};
use weir_runtime::strangers;

use super::{
    Progress, Session, hears_of_guilds, new_id,
    numbering::Numbering,
    start::{Attached, attach, fault, guilds, register},
};
use crate::{
    Close, CloseCode, data::calls::LoadError, fanout::snapshot::Snapshot, limits::identifies::TooOften,
    shared::Shared, socket::payload::Identify,
};

/// Shards that a bot may have. Discord's largest bots have far fewer.
const SHARDS_MAX: u32 = 16_384;
/// Begins a session for a client at an address. The states of its guilds are those at exactly the session's
/// head. `None` if the token identified a moment ago: the client has to wait.
///
/// # Errors
/// The close to be sent. It is 4004 only if the data service said, now or a moment ago, that no user has the
/// token.
pub(crate) async fn identify(
    shared: &Arc<Shared>,
    identify: &Identify,
    version: u8,
    client: IpAddr,
) -> Result<Option<(Attached, Vec<(GuildId, Arc<Snapshot>)>)>, Close> {
    let shard = shard(identify.shard)?;
    let token_hash = parse_authorization(&identify.token).map_err(|_| nobodys())?.hash();
    // This comes before the admission, so that a flood of identifies does not delay others.
    if !may(shared.identifies.may(&token_hash, Instant::now()))? {
        return Ok(None);
    }
    let _admission =
        shared.admissions.acquire().await.map_err(|_| Close::fault("the gateway is stopping"))?;
    let (user_id, user) = user(shared, &token_hash, client).await?;
    if !may(shared.identifies.count(&token_hash, Instant::now()))? {
        return Ok(None);
    }
    let intents = intents(identify.intents, &user, shared.config.granted_intents)?;
    let mut registration = register(shared, user_id, shard).await?;
    let guilds = guilds(shared, &registration.subscriber).await?;
    let shown: &[(GuildId, Arc<Snapshot>)] = if hears_of_guilds(intents) { &guilds.snapshots } else { &[] };
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
        large_threshold: identify.large_threshold,
        numbering: Numbering::new(guilds.position, shown.len()),
        initial_guilds: shown.iter().map(|(id, _)| *id).collect(),
        begun_rev: guilds.as_of_rev,
        subscriber: registration.subscriber.clone(),
        takeover: tokio::sync::Notify::new(),
        progress: Arc::new(progress.into()),
    });
    let progress = session.progress.clone().lock_owned().await;
    let id = session.id.clone();
    if shared.registry.durable() {
        // The row is stored before READY, because a client must never hold an id that a restarted gateway
        // does not know; and before sessions of others end for this one.
        let row = session.row(shared.clock.wall_us() / 1_000);
        if let Err(error) = shared.registry.store().put(row).await {
            tracing::warn!(%error, "a session could not be kept");
            // The row may have been stored all the same.
            shared.registry.delete_row(&id).await;
            return Err(Close::fault("the session could not be kept"));
        }
    }
    let attached = attach(shared, session, progress, &mut registration).await;
    if attached.is_err() {
        shared.registry.delete_row(&id).await;
    }
    let attached = attached?;
    Ok(Some((attached, guilds.snapshots)))
}

fn nobodys() -> Close {
    Close::new(CloseCode::AuthenticationFailed, "the token is not valid")
}

/// Whether a token may identify now; false if it must wait a moment.
fn may(often: Result<(), TooOften>) -> Result<bool, Close> {
    match often {
        Ok(()) => Ok(true),
        Err(TooOften::Soon) => Ok(false),
        Err(TooOften::Day) => {
            Err(Close::new(CloseCode::RateLimited, "this token has identified too often today: resume"))
        }
    }
}

/// Looks up the user of a token, if the address of the client may ask.
async fn user(shared: &Shared, token_hash: &TokenHash, client: IpAddr) -> Result<(UserId, User), Close> {
    let leave =
        shared.strangers.ask(client, token_hash.0, Instant::now()).map_err(|refused| match refused {
            strangers::NoLeave::Unknown => nobodys(),
            strangers::NoLeave::Throttled { .. } => {
                Close::new(CloseCode::RateLimited, "this address has shown too many tokens that nobody has")
            }
        })?;
    match shared.calls.resolve_token(&token_hash.0).await {
        Ok(user) => {
            leave.known(Instant::now());
            Ok(user)
        }
        Err(LoadError::NotFound) => {
            leave.unknown(Instant::now());
            Err(nobodys())
        }
        Err(error @ (LoadError::Unavailable { .. } | LoadError::Full)) => {
            leave.undecided();
            Err(fault(&error))
        }
    }
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
