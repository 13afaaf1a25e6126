//! The store's health: whether it is lost to this process, and for how long its current batch has been under
//! way.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::WriteError;

/// State that other threads read.
#[derive(Debug)]
pub(super) struct Health {
    /// The first error. Set once.
    poisoned: OnceLock<String>,
    started: Instant,
    /// Milliseconds after `started` at which the current batch began, plus one; 0 while there is none.
    batch_since: AtomicU64,
}

impl Health {
    /// A healthy store.
    pub(super) fn new() -> Self {
        Self { poisoned: OnceLock::new(), started: Instant::now(), batch_since: AtomicU64::new(0) }
    }

    /// The first error, if there was one.
    pub(super) fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }

    /// Notes the first error.
    pub(super) fn poison(&self, reason: String) {
        if self.poisoned.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the embedded store is poisoned");
        }
    }

    /// Milliseconds since the current batch began; 0 if there is none.
    pub(super) fn batch_age_ms(&self) -> u64 {
        match self.batch_since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.elapsed_ms().saturating_sub(since - 1),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn begin_batch(&self) {
        self.batch_since.store(self.elapsed_ms() + 1, Ordering::Relaxed);
    }

    pub(super) fn end_batch(&self) {
        self.batch_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn refusal(&self) -> Option<WriteError> {
        self.poisoned().map(|reason| WriteError::Poisoned { reason: reason.to_owned() })
    }
}
