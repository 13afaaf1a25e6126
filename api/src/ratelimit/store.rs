//! The limiters' state for each (caller, bucket, major parameter). It is bounded, whatever keys clients
//! choose.

use std::{sync::Arc, time::Duration};

use governor::{
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};
use moka::sync::Cache;
use weir_proto::id::UserId;

use super::bucket::{Major, RouteBucket};

/// How long a state is kept that nobody uses. This is twice the longest default period (60 s): by then every
/// bucket is full again, so nothing is lost. If a longer period is configured, a caller who pauses this long
/// has a full bucket early.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Bytes that a state counts as: its key, a number, and what the cache itself needs.
pub(crate) const STATE_BYTES: usize = 160;

/// The key of a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    caller: UserId,
    /// `None` for the caller's global limit.
    bucket: Option<(RouteBucket, Major)>,
}

impl Key {
    pub(super) fn global(caller: UserId) -> Self {
        Self { caller, bucket: None }
    }

    pub(super) fn bucket(caller: UserId, bucket: RouteBucket, major: Major) -> Self {
        Self { caller, bucket: Some((bucket, major)) }
    }
}

/// The states. One store serves all limiters: the key names the limiter, so each entry is only ever read with
/// one quota.
///
/// Entries are evicted by frequency of use (TinyLFU): a flood of random keys displaces its own entries before
/// it displaces a busy caller's state.
#[derive(Clone)]
pub(super) struct BoundedState {
    states: Cache<Key, Arc<InMemoryState>>,
}

impl BoundedState {
    pub(super) fn new(keys_max: u64) -> Self {
        Self { states: Cache::builder().max_capacity(keys_max).time_to_idle(IDLE_MAX).build() }
    }

    /// Returns a function that counts the states. Its answer lags by a moment.
    pub(super) fn count(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let states = self.states.clone();
        move || states.entry_count()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> u64 {
        self.states.run_pending_tasks();
        self.states.entry_count()
    }
}

impl StateStore for BoundedState {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let state = self.states.entry_by_ref(key).or_default().into_value();
        state.measure_and_replace(&NotKeyed::NonKey, f)
    }
}
