//! Locks for creating guilds: two creations by one owner come one after the other, so that each counts the
//! other's guild.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use tokio::sync::Mutex;
use weir_proto::id::UserId;

/// Locks that separate two creations by one owner; owners share them by their id.
const TURNS: usize = 64;

/// Locks of owners whose guilds are being created.
#[derive(Debug)]
pub(crate) struct Founders([Mutex<()>; TURNS]);

impl Default for Founders {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Founders {
    pub(super) fn turn(&self, owner_id: UserId) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(owner_id);
        &self.0[usize::try_from(hash % TURNS as u64).unwrap_or(0)]
    }
}
