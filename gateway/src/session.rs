//! Sessions: what was agreed at identify, how far each session has come, and the row by which it outlives the
//! process. This module knows which guilds and records a session may have; it does not know how they are
//! rendered or sent.

pub(crate) mod identify;
pub(crate) mod numbering;
pub(crate) mod registry;
pub(crate) mod resume;
pub(crate) mod start;

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, Notify};
use weir_bus::{Position, SessionRow};
use weir_discord::{
    intent::{Event, Intents, Place},
    token::TokenHash,
};
use weir_proto::{
    data::{Member, User},
    id::{GuildId, UserId},
};

use self::numbering::Numbering;
use crate::{fanout::subscriber::Subscriber, socket::large_threshold::LargeThreshold};

/// Random bytes of a session id, written as hexadecimal: 128 bits cannot be guessed.
const ID_BYTES: usize = 16;
/// Version of [`Kept`]. A row of another version is ignored.
const KEPT_VERSION: u32 = 1;

/// Bytes of a session without guilds: the session, its entry in the registry, its user's name. An estimate.
const SESSION_BYTES: usize = 1_024;
/// Bytes of each of its guilds: its membership, its place among the initial guilds, and the entries of the
/// fan-out that lead from one to the other, in tables that are half empty at worst.
const GUILD_BYTES: usize = 2 * size_of::<(GuildId, Member)>() + 160;

/// True if two token hashes are equal. This takes the same time for all of them.
pub(crate) fn is_same(token_hash: &TokenHash, other: &TokenHash) -> bool {
    token_hash.0.ct_eq(&other.0).into()
}

/// True if a session with these intents is told of guilds that come and go.
pub(crate) fn hears_of_guilds(intents: Intents) -> bool {
    intents.intersects(Event::GuildCreate.intents(Place::Guild))
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Secret: with the token it allows a resume.
    pub(crate) id: String,
    pub(crate) token_hash: TokenHash,
    pub(crate) user: User,
    pub(crate) intents: Intents,
    /// Gateway version, 9 or 10.
    pub(crate) version: u8,
    /// Members above which a guild is large to the client.
    pub(crate) large_threshold: LargeThreshold,
    pub(crate) numbering: Numbering,
    /// The guilds that follow READY, in their order.
    pub(crate) initial_guilds: Box<[GuildId]>,
    /// Messages up to this revision were committed before the session began. Its client finds them in the
    /// history, so a late or recovered record of such a message is not sent to it.
    pub(crate) begun_rev: u64,
    pub(crate) subscriber: Arc<Subscriber>,
    /// Asks the connection that has the session to release it, because another connection resumes it.
    pub(crate) takeover: Notify,
    /// Locked by the connection that serves the session, for as long as it does.
    pub(crate) progress: Arc<Mutex<Progress>>,
}

/// How far a session has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Every record up to here was looked at and, if the session may see it, written to a socket.
    pub(crate) cursor: Position,
    /// Position of the last record that was written to a socket; at least the session's head.
    pub(crate) sent: Position,
    /// `guilds` includes every membership change up to here.
    pub(crate) applied: Position,
    /// Below this position the ring may lack records of the session's guilds: it was filled before the
    /// session subscribed to them.
    pub(crate) ring_from: Position,
    /// True while records above `cursor` are being worked on. If the connection broke meanwhile it stays
    /// true, and the records must be looked at again, although the subscriber does not announce them any
    /// more.
    pub(crate) in_batch: bool,
    /// The session's guilds and its user's membership of each.
    pub(crate) guilds: HashMap<GuildId, Member>,
}

impl Session {
    pub(crate) fn user_id(&self) -> UserId {
        self.subscriber.user_id
    }

    /// Bytes in memory, without what waits for its client.
    pub(crate) fn bytes(&self, progress: &Progress) -> usize {
        let rows =
            progress.guilds.values().map(|row| GUILD_BYTES + size_of_val(&*row.role_ids) + row.nick.len());
        SESSION_BYTES + size_of_val(&*self.initial_guilds) + rows.sum::<usize>()
    }

    /// The `s` of dispatches that have no position: that of the last record written.
    pub(crate) fn last_s(&self, progress: &Progress) -> u64 {
        self.numbering.of(progress.sent)
    }

    /// True if the session was begun with this token. This takes the same time for every token.
    pub(crate) fn is_owned_by(&self, token_hash: &TokenHash) -> bool {
        is_same(&self.token_hash, token_hash)
    }

    /// The row that is stored.
    pub(crate) fn row(&self, begun_at_ms: u64) -> SessionRow {
        let kept = Kept {
            version: KEPT_VERSION,
            token_hash: self.token_hash.0.to_vec(),
            user_id: self.user.id,
            shard_id: self.subscriber.shard.0,
            shard_count: self.subscriber.shard.1.get(),
            intents: self.intents.bits(),
            gateway_version: self.version.into(),
            head: self.numbering.head(),
            guild_ids: self.initial_guilds.iter().map(|id| id.get()).collect(),
            begun_at_ms,
            large_threshold: self.large_threshold.get(),
        };
        SessionRow { id: self.id.clone(), state: Bytes::from(kept.encode_to_vec()) }
    }
}

/// What is stored of a session. It is written once, before READY is sent: the positions of records follow
/// from `head` and the number of guilds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Kept {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) token_hash: Vec<u8>,
    #[prost(fixed64, tag = "3")]
    pub(crate) user_id: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) shard_id: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) shard_count: u32,
    #[prost(uint64, tag = "6")]
    pub(crate) intents: u64,
    #[prost(uint32, tag = "7")]
    pub(crate) gateway_version: u32,
    #[prost(uint64, tag = "8")]
    pub(crate) head: u64,
    /// Fixed width, because snowflakes take more bytes as varints.
    #[prost(fixed64, repeated, tag = "9")]
    pub(crate) guild_ids: Vec<u64>,
    #[prost(uint64, tag = "10")]
    pub(crate) begun_at_ms: u64,
    /// 0 in rows that were written before this field existed.
    #[prost(uint32, tag = "11")]
    pub(crate) large_threshold: u32,
}

/// A stored row whose parts are valid.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) token_hash: TokenHash,
    pub(crate) user_id: UserId,
    pub(crate) shard: (u32, NonZeroU32),
    pub(crate) intents: Intents,
    pub(crate) version: u8,
    pub(crate) large_threshold: LargeThreshold,
    pub(crate) numbering: Numbering,
    pub(crate) initial_guilds: Box<[GuildId]>,
}

impl Restored {
    /// Reads a row; `None` if it has another version or is damaged.
    pub(crate) fn read(row: &SessionRow) -> Option<Self> {
        let kept = Kept::decode(row.state.clone()).ok().filter(|kept| kept.version == KEPT_VERSION)?;
        Some(Self {
            token_hash: TokenHash(kept.token_hash.try_into().ok()?),
            user_id: UserId::try_from(kept.user_id).ok()?,
            shard: (kept.shard_id, NonZeroU32::new(kept.shard_count)?),
            intents: Intents::from_client(kept.intents).ok()?,
            version: kept.gateway_version.try_into().ok()?,
            large_threshold: LargeThreshold::new(kept.large_threshold),
            numbering: Numbering::new(kept.head, kept.guild_ids.len()),
            initial_guilds: kept
                .guild_ids
                .into_iter()
                .map(GuildId::try_from)
                .collect::<Result<_, _>>()
                .ok()?,
        })
    }
}

/// The operating system could not provide random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random source failed")]
pub(crate) struct NoRandomness;

/// A new session id: 32 hexadecimal digits.
pub(crate) fn new_id() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 2,500 guilds of 8 bytes each, and about 100 bytes. A gateway reads this many bytes for each session
    /// when it starts.
    const ROW_BYTES_MAX: usize = 20 << 10;

    pub(crate) fn session(guilds: usize) -> Session {
        Session {
            id: new_id().expect("randomness"),
            token_hash: TokenHash([7; 32]),
            user: User { id: 5, ..User::default() },
            intents: Intents::GUILDS | Intents::GUILD_MESSAGES,
            version: 10,
            large_threshold: LargeThreshold::new(250),
            numbering: Numbering::new(1 << 40, guilds),
            initial_guilds: (0..guilds as u64)
                .map(|i| GuildId::try_from(u64::MAX - i).expect("not 0"))
                .collect(),
            begun_rev: 0,
            subscriber: Arc::new(Subscriber::new(
                UserId::try_from(5_u64).expect("not 0"),
                (1, NonZeroU32::new(4).expect("not 0")),
            )),
            takeover: Notify::new(),
            progress: Arc::default(),
        }
    }

    #[test]
    fn a_row_gives_the_session_back_and_fits_its_bound_with_the_most_guilds() {
        let session = session(crate::GatewayConfig::default().guilds_max);
        let row = session.row(1);
        assert!(row.state.len() <= ROW_BYTES_MAX, "{}", row.state.len());
        assert!(row.id.len() <= 64);
        let restored = Restored::read(&row).expect("just written");
        assert_eq!((restored.user_id.get(), restored.intents, restored.version), (5, session.intents, 10));
        assert_eq!(restored.large_threshold.get(), 250);
        assert_eq!(
            (restored.numbering, &restored.initial_guilds),
            (session.numbering, &session.initial_guilds)
        );
        assert!(is_same(&restored.token_hash, &TokenHash([7; 32])));
        assert!(!is_same(&restored.token_hash, &TokenHash([8; 32])));
    }

    #[test]
    fn a_row_from_before_the_threshold_was_kept_has_the_default() {
        let mut kept = Kept::decode(session(1).row(1).state).expect("just written");
        kept.large_threshold = 0;
        let row = SessionRow { id: "x".into(), state: kept.encode_to_vec().into() };
        assert_eq!(Restored::read(&row).expect("whole").large_threshold.get(), 50);
    }

    #[test]
    fn damaged_and_foreign_rows_are_none() {
        let good = session(1).row(1);
        let with = |state: Vec<u8>| Restored::read(&SessionRow { id: "x".into(), state: state.into() });
        assert!(with(vec![0xff; 9]).is_none());
        assert!(with(Vec::new()).is_none(), "version 0");
        let mut kept = Kept::decode(good.state.clone()).expect("just written");
        kept.shard_count = 0;
        assert!(with(kept.encode_to_vec()).is_none());
        kept = Kept::decode(good.state).expect("just written");
        kept.token_hash.pop();
        assert!(with(kept.encode_to_vec()).is_none());
    }

    #[test]
    fn ids_are_not_repeated() {
        let (a, b) = (new_id().expect("randomness"), new_id().expect("randomness"));
        assert!(a != b && a.len() == 32);
    }
}
