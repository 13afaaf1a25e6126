//! How many guilds a user owns, and the bound of it.
//!
//! Rows of guilds are not kept by owner, so each guild is noted among its owner's before it is made and taken away after it is gone. A note
//! without its guild (the process died in between, the founding failed) counts while the guild may yet appear, and then no more: whoever
//! comes to the bound looks, and takes such notes away. So the bound may be reached late, never be passed. Guilds from before notes were kept
//! are not counted.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout_at},
};
use weir_proto::id::unix_ms;
use weir_store::Setting;

use super::Paths;
use crate::{
    read_path::Failure,
    sequencer::op::{ChangeError, Refused},
};

/// Guilds that one user may own. Discord's bound of guilds that a paying account may be in, of which it may own all; its bots may found
/// guilds only while they are in fewer than 10.
pub(crate) const OWNED_MAX: usize = 200;
/// Age from which a guild that is not there will not appear any more. A choice: far above the deadline of a call, and above the time for which
/// a write stays in doubt while its database is there at all.
const APPEARS_WITHIN: Duration = Duration::from_secs(600);
/// Locks that keep two foundings of one owner apart; owners share them by their id.
const TURNS: usize = 64;

/// Whose guilds are being founded.
#[derive(Debug)]
pub(crate) struct Founders([Mutex<()>; TURNS]);

impl Default for Founders {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Founders {
    fn turn(&self, owner_id: u64) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(owner_id);
        &self.0[usize::try_from(hash % TURNS as u64).unwrap_or(0)]
    }
}

/// Counts a guild to its owner's before it is made. No other guild of the owner is founded until the guard is dropped.
///
/// # Errors
/// [`ChangeError::OwnedGuilds`] if it owns as many as it may; [`ChangeError::Deadline`]; [`Refused::Database`] if that cannot be found out.
///
/// # Cancel safety
/// A note may be left behind, which counts for [`APPEARS_WITHIN`] at most.
pub(super) async fn note(
    paths: &Paths,
    owner_id: u64,
    guild_id: u64,
    deadline: Instant,
) -> Result<MutexGuard<'_, ()>, ChangeError> {
    let turn = timeout_at(deadline, paths.founders.turn(owner_id).lock()).await;
    let turn = turn.map_err(|_elapsed| ChangeError::Deadline)?;
    let kind = kind(owner_id);
    let unread = |error: &dyn std::error::Error| Refused::Database(error.to_string());
    let store = &paths.sequencer.store;
    // Some more than the bound: notes whose guilds never came.
    let noted = store.read_settings(&kind, 2 * OWNED_MAX).await.map_err(|error| unread(&error))?;
    if noted.len() >= OWNED_MAX {
        let mut gone = Vec::new();
        let now_ms = paths.sequencer.clock.wall_ms();
        for (key, _) in &noted {
            let id = key.as_slice().try_into().map_or(0, u64::from_be_bytes);
            let may_appear =
                unix_ms(id) + u64::try_from(APPEARS_WITHIN.as_millis()).unwrap_or(u64::MAX) > now_ms;
            if !may_appear && owner_of(paths, id).await.map_err(|error| unread(&error))? != Some(owner_id) {
                gone.push(Setting { kind: kind.clone(), key: key.clone(), value: None });
            }
        }
        let counted = noted.len() - gone.len();
        for some in gone.chunks(weir_store::SETTINGS_MAX) {
            store.write_settings(some.to_vec()).await.map_err(|error| unread(&error))?;
        }
        if counted >= OWNED_MAX {
            return Err(ChangeError::OwnedGuilds);
        }
    }
    let written = store.write_setting(&kind, &guild_id.to_be_bytes(), Some(Default::default())).await;
    // Whatever became of the note, the guild is not made.
    written.map_err(|error| unread(&error))?;
    Ok(turn)
}

/// Takes a guild that is gone from its owner's. What fails is made good when the owner comes to the bound.
pub(super) async fn forget(paths: &Paths, owner_id: Option<u64>, guild_id: u64) {
    let Some(owner_id) = owner_id else { return };
    let store = &paths.sequencer.store;
    if let Err(error) = store.write_setting(&kind(owner_id), &guild_id.to_be_bytes(), None).await {
        tracing::warn!(%error, guild_id, "a deleted guild stays noted among its owner's");
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
