//! Hooks for metrics.

use std::time::Duration;

use crate::{reason::RefusalReason, request::Outcome};

/// Receives events on the request path: implementations count, and do not block.
pub trait Observer<K>: Send + Sync + 'static {
    /// A read was answered. `elapsed` runs from arrival to answer.
    fn on_read(&self, key: &K, outcome: Outcome, elapsed: Duration) {
        let _ = (key, outcome, elapsed);
    }

    /// A read was answered with an error; `label` is [`crate::error::ReadError::label`].
    fn on_error(&self, key: &K, label: &'static str, elapsed: Duration) {
        let _ = (key, label, elapsed);
    }

    /// A gate refused a read; [`Observer::on_error`] follows.
    fn on_refused(&self, key: &K, reason: RefusalReason) {
        let _ = (key, reason);
    }

    /// A read returned from the store, failed or timed out. `waiters`: callers attached to it at its end.
    fn on_db_read(&self, key: &K, elapsed: Duration, ok: bool, waiters: u32) {
        let _ = (key, elapsed, ok, waiters);
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl<K> Observer<K> for NoObserver {}
