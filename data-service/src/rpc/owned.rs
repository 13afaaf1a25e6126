//! Counts the guilds that a user owns, and bounds them.
//!
//! Guilds are not stored by owner, so each guild gets a note under its owner before it is made, and loses it
//! after it is gone. A note whose guild was certainly not made is taken back. A note can be left without a
//! guild: the process died in between, or the outcome of the creation is unknown. It counts while the guild
//! may yet appear, and then until it is checked: an owner that reaches the bound has a few notes checked,
//! those first whose last check is oldest, and removes such notes. So an owner may reach the bound late by
//! its notes, and never passes it.
//!
//! Guilds that were created before notes were kept, and those that an import made, have no note and do not
//! count: their owner may have that many more.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout, timeout_at},
};
use weir_proto::id::{GuildId, UserId, unix_ms};
use weir_store::Setting;

use super::call::Paths;
use crate::{
    read::Failure,
    write::error::{ChangeError, OWNED_MAX, Refused},
};

/// Age from which a missing guild will not appear any more, and time after which a note is checked again. We
/// chose it far above the deadline of a call, and above the time for which a write stays in doubt while its
/// database is up.
const APPEARS_WITHIN: Duration = Duration::from_secs(600);
/// Notes checked by one creation. Each costs a read of a guild, which may be large, while other owners wait
/// for the lock. We chose it so that one note without its guild is found in 25 attempts at most, and in the
/// first if it is the only one that is due.
const LOOKS_MAX: usize = 8;
/// Longest time that the answer to a failed creation waits until its note is taken back; a note left after it
/// counts for [`APPEARS_WITHIN`]. We chose it because the creation's deadline may be over by then, and a
/// healthy database writes in much less.
const TAKE_BACK_WITHIN: Duration = Duration::from_secs(1);
/// A guild that counts under its owner and is not made yet. No other guild of the owner is created until this
/// is dropped.
pub(super) struct Noted<'a> {
    _turn: MutexGuard<'a, ()>,
    owner_id: UserId,
    guild_id: GuildId,
    /// True if this call made the note. An earlier creation with the same id may have made it, and its guild
    /// may exist.
    fresh: bool,
}

impl Noted<'_> {
    /// Removes the note, because the guild was certainly not made. After a failure it counts until the owner
    /// reaches the bound.
    pub(super) async fn take_back(self, paths: &Paths) {
        if self.fresh {
            let forgotten = forget(paths, Some(self.owner_id), self.guild_id);
            if timeout(TAKE_BACK_WITHIN, forgotten).await.is_err() {
                tracing::warn!(
                    guild_id = self.guild_id.get(),
                    "a guild that was not made stays noted for a while"
                );
            }
        }
    }
}

/// Counts a guild under its owner before it is made.
///
/// # Errors
/// [`ChangeError::OwnedGuilds`] if it owns the maximum; [`ChangeError::Deadline`]; [`Refused::Database`] if
/// that cannot be found out. Whatever became of the note, the guild is not made.
///
/// # Cancel safety
/// A note may be left behind, which counts for [`APPEARS_WITHIN`] and until it is checked.
pub(super) async fn note(
    paths: &Paths,
    owner_id: UserId,
    guild_id: GuildId,
    deadline: Instant,
) -> Result<Noted<'_>, ChangeError> {
    let noted = timeout_at(deadline, note_in_turn(paths, owner_id, guild_id)).await;
    noted.unwrap_or(Err(ChangeError::Deadline))
}

async fn note_in_turn(paths: &Paths, owner_id: UserId, guild_id: GuildId) -> Result<Noted<'_>, ChangeError> {
    let turn = paths.founders.turn(owner_id).lock().await;
    let (kind, key) = (kind(owner_id), guild_id.get().to_be_bytes());
    let store = &paths.store;
    // More than the bound, because some notes have no guild.
    let notes = store.read_settings(&kind, 2 * OWNED_MAX).await.map_err(|error| unread(&error))?;
    let fresh = !notes.iter().any(|(noted, _)| *noted == key);
    if notes.len() >= OWNED_MAX && notes.len() - look(paths, owner_id, &notes).await? >= OWNED_MAX {
        return Err(ChangeError::OwnedGuilds);
    }
    let written = store.write_setting(&kind, &key, Some(Bytes::new())).await;
    written.map_err(|error| unread(&error))?;
    Ok(Noted { _turn: turn, owner_id, guild_id, fresh })
}

fn unread(error: &dyn std::error::Error) -> ChangeError {
    Refused::Database(error.to_string()).into()
}

/// Checks due notes and removes those whose guild is missing. Returns the number of removed notes.
async fn look(paths: &Paths, owner_id: UserId, notes: &[(Vec<u8>, Bytes)]) -> Result<usize, ChangeError> {
    let now_ms = paths.clock.wall_ms();
    let mut looked = Vec::new();
    for key in due(notes, now_ms) {
        let owner = match GuildId::try_from(number(key)) {
            Ok(guild_id) => owner_of(paths, guild_id).await.map_err(|error| unread(&error))?,
            // A note that is not valid is of no guild.
            Err(_) => None,
        };
        let value = (owner == Some(owner_id)).then(|| Bytes::copy_from_slice(&now_ms.to_be_bytes()));
        looked.push(Setting { kind: kind(owner_id), key: key.to_vec(), value });
    }
    let gone = looked.iter().filter(|note| note.value.is_none()).count();
    if !looked.is_empty() {
        paths.store.write_settings(looked).await.map_err(|error| unread(&error))?;
    }
    Ok(gone)
}

/// Notes to check now: a note's key is its guild's id, and its value the time of its last check, in Unix
/// milliseconds; empty if never.
fn due(notes: &[(Vec<u8>, Bytes)], now_ms: u64) -> impl Iterator<Item = &[u8]> {
    let within_ms = u64::try_from(APPEARS_WITHIN.as_millis()).unwrap_or(u64::MAX);
    let since = |(key, looked): &(Vec<u8>, Bytes)| number(looked).max(unix_ms(number(key)));
    let mut due: Vec<_> =
        notes.iter().filter(|note| since(note).saturating_add(within_ms) <= now_ms).collect();
    due.sort_by_key(|(_, looked)| number(looked));
    due.into_iter().take(LOOKS_MAX).map(|(key, _)| &**key)
}

/// Reads a number from a note; 0 if it is not valid.
fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Removes the note of a missing guild. A failure is made good when the owner reaches the bound.
pub(super) async fn forget(paths: &Paths, owner_id: Option<UserId>, guild_id: GuildId) {
    let Some(owner_id) = owner_id else { return };
    let store = &paths.store;
    if let Err(error) = store.write_setting(&kind(owner_id), &guild_id.get().to_be_bytes(), None).await {
        tracing::warn!(%error, guild_id = guild_id.get(), "a guild that is not there stays noted among its owner's");
    }
}

/// The owner of a guild; `None` if there is no such guild.
///
/// # Errors
/// [`Failure`]
pub(super) async fn owner_of(paths: &Paths, guild_id: GuildId) -> Result<Option<UserId>, Failure> {
    let state = paths.reads.guild_row(guild_id).await?;
    Ok(state.and_then(|state| UserId::try_from(state.guild.as_ref()?.owner_id).ok()))
}

/// The kind of the notes of one owner.
fn kind(owner_id: UserId) -> String {
    format!("owned/{owner_id}")
}
