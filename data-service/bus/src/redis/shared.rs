//! What the inbox shares with its reader.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use tokio::sync::watch;

use super::scripts::Scripts;
use crate::RecordRing;

/// What the inbox shares with its reader.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ring: RecordRing,
    pub(super) scripts: Scripts,
    /// Guilds asked for: told to Redis again under every new id.
    pub(super) interest: Mutex<BTreeSet<u64>>,
    /// The id under which Redis knows this gateway; `None` until it is registered for the first time.
    pub(super) id: watch::Sender<Option<String>>,
    /// Whether the reader's last question was answered.
    pub(super) reached: AtomicBool,
}

impl Shared {
    /// Plain data, whole between statements.
    pub(super) fn interest(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All guilds asked for.
    pub(super) fn guilds(&self) -> Vec<u64> {
        self.interest().iter().copied().collect()
    }
}
