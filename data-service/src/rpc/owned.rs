//! How many guilds a user owns, and the bound of it.
//!
//! Rows of guilds are not kept by owner, so each guild is noted among its owner's before it is made and taken away after it is gone. A note
//! whose guild was certainly not made is taken back. One that is left without its guild (the process died in between, nobody knows what came
//! of the founding) counts while the guild may yet appear, and then until somebody looks: whoever comes to the bound looks at a few notes,
//! those first that were not looked at for longest, and takes such ones away. So of the guilds that are noted the bound may be reached late,
//! and is never passed.
//!
//! Not noted, and so not counted, are guilds that were founded before notes were kept, and those that an import made: their owner may have
//! that many more.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout, timeout_at},
};
use weir_proto::id::unix_ms;
use weir_store::Setting;

use super::Paths;
use crate::{
    read::Failure,
    write::op::{ChangeError, OWNED_MAX, Refused},
};

/// Age from which a guild that is not there will not appear any more, and time after which a note is looked at again. A choice: far above the
/// deadline of a call, and above the time for which a write stays in doubt while its database is there at all.
const APPEARS_WITHIN: Duration = Duration::from_secs(600);
/// Notes that one founding looks at. Each costs a read of a guild, which may be large, while other owners wait for the turn. A choice: one
/// note without its guild is found in 25 attempts at most, and in the first if it is the only one that is due.
const LOOKS_MAX: usize = 8;
/// Longest time that the answer to a failed founding waits for its note to be taken back; what is not taken back in it counts for
/// [`APPEARS_WITHIN`]. A choice: the founding's deadline may be over by then, and a healthy database writes in much less.
const TAKE_BACK_WITHIN: Duration = Duration::from_secs(1);
/// A guild that is counted to its owner's and not made yet. No other guild of the owner is founded until this is dropped.
pub(super) struct Noted<'a> {
    _turn: MutexGuard<'a, ()>,
    owner_id: u64,
    guild_id: u64,
    /// It was not noted before: by an earlier founding with the same id, whose guild may be there.
    fresh: bool,
}

impl Noted<'_> {
    /// Counts the guild no more, because it was certainly not made. What fails counts until somebody comes to the bound.
    pub(super) async fn take_back(self, paths: &Paths) {
        if self.fresh {
            let forgotten = forget(paths, Some(self.owner_id), self.guild_id);
            if timeout(TAKE_BACK_WITHIN, forgotten).await.is_err() {
                tracing::warn!(guild_id = self.guild_id, "a guild that was not made stays noted for a while");
            }
        }
    }
}

/// Counts a guild to its owner's before it is made.
///
/// # Errors
/// [`ChangeError::OwnedGuilds`] if it owns as many as it may; [`ChangeError::Deadline`]; [`Refused::Database`] if that cannot be found out.
/// Whatever became of the note, the guild is not made.
///
/// # Cancel safety
/// A note may be left behind, which counts for [`APPEARS_WITHIN`] and until somebody looks.
pub(super) async fn note(
    paths: &Paths,
    owner_id: u64,
    guild_id: u64,
    deadline: Instant,
) -> Result<Noted<'_>, ChangeError> {
    let noted = timeout_at(deadline, note_in_turn(paths, owner_id, guild_id)).await;
    noted.unwrap_or(Err(ChangeError::Deadline))
}

async fn note_in_turn(paths: &Paths, owner_id: u64, guild_id: u64) -> Result<Noted<'_>, ChangeError> {
    let turn = paths.founders.turn(owner_id).lock().await;
    let (kind, key) = (kind(owner_id), guild_id.to_be_bytes());
    let store = &paths.store;
    // Some more than the bound: notes whose guilds never came.
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

/// Looks at notes that are due, and takes those away whose guild is not there. How many these were.
async fn look(paths: &Paths, owner_id: u64, notes: &[(Vec<u8>, Bytes)]) -> Result<usize, ChangeError> {
    let now_ms = paths.clock.wall_ms();
    let mut looked = Vec::new();
    for key in due(notes, now_ms) {
        let owner = owner_of(paths, number(key)).await.map_err(|error| unread(&error))?;
        let value = (owner == Some(owner_id)).then(|| Bytes::copy_from_slice(&now_ms.to_be_bytes()));
        looked.push(Setting { kind: kind(owner_id), key: key.to_vec(), value });
    }
    let gone = looked.iter().filter(|note| note.value.is_none()).count();
    if !looked.is_empty() {
        paths.store.write_settings(looked).await.map_err(|error| unread(&error))?;
    }
    Ok(gone)
}

/// The notes to look at now: a note's key is its guild's id, and its value when it was last looked at, in Unix milliseconds; empty if never.
fn due(notes: &[(Vec<u8>, Bytes)], now_ms: u64) -> impl Iterator<Item = &[u8]> {
    let within_ms = u64::try_from(APPEARS_WITHIN.as_millis()).unwrap_or(u64::MAX);
    let since = |(key, looked): &(Vec<u8>, Bytes)| number(looked).max(unix_ms(number(key)));
    let mut due: Vec<_> =
        notes.iter().filter(|note| since(note).saturating_add(within_ms) <= now_ms).collect();
    due.sort_by_key(|(_, looked)| number(looked));
    due.into_iter().take(LOOKS_MAX).map(|(key, _)| &**key)
}

/// A number as notes hold it; 0 if it is none.
fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Takes a guild that is not there from its owner's. What fails is made good when the owner comes to the bound.
pub(super) async fn forget(paths: &Paths, owner_id: Option<u64>, guild_id: u64) {
    let Some(owner_id) = owner_id else { return };
    let store = &paths.store;
    if let Err(error) = store.write_setting(&kind(owner_id), &guild_id.to_be_bytes(), None).await {
        tracing::warn!(%error, guild_id, "a guild that is not there stays noted among its owner's");
    }
}

/// Whose a guild is; `None` if there is none.
///
/// # Errors
/// [`Failure`]
pub(super) async fn owner_of(paths: &Paths, guild_id: u64) -> Result<Option<u64>, Failure> {
    let state = paths.reads.guild_row(guild_id).await?;
    Ok(state.and_then(|state| state.guild.as_ref().map(|guild| guild.owner_id)))
}

/// The kind of the notes of one owner.
fn kind(owner_id: u64) -> String {
    format!("owned/{owner_id}")
}
