//! State that the inbox shares with its reader.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use tokio::sync::watch;

use super::scripts::Scripts;
use crate::{RecordRing, Topic};

/// State that the inbox shares with its reader.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ring: RecordRing,
    pub(super) scripts: Scripts,
    /// Topics that the gateway asked for. They are registered again under every new id.
    pub(super) interest: Mutex<BTreeSet<Topic>>,
    /// The id under which Redis knows this gateway; `None` until it is registered for the first time.
    pub(super) id: watch::Sender<Option<String>>,
    /// Whether the reader's last question was answered.
    pub(super) connected: AtomicBool,
}

impl Shared {
    /// Recovers a poisoned lock: it guards plain data that is consistent between any two statements.
    pub(super) fn interest(&self) -> MutexGuard<'_, BTreeSet<Topic>> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All topics that the gateway asked for.
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.interest().iter().copied().collect()
    }
}
