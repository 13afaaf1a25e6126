//! Turns of the users that are brought into guilds. Of several requests that add a user at once, each sees
//! what the one before has done.
//!
//! Problem: a request reads whether a user has room for one more guild, and then the guild is changed.
//! Between the two, other requests would read the same number. The session of a user in too many guilds is
//! closed with 4011 for good.
//!
//! Guarantee: in this process one request at a time reads and changes for a user. So each process of the api
//! brings a user one guild too far at most, and the reserve of [`crate::flow::memberships`] covers a hundred
//! processes.
//!
//! How: there is a fixed number of turns, and users share them by a hash that no client can foretell. A
//! request that creates a guild takes the turns of all its members in ascending order, so that two such
//! requests never wait for each other. A change goes on to its end when its client hangs up, and keeps its
//! turns until then: if they were given back earlier, the next request would not see the change. So no more
//! changes can be under way than there are turns.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use weir_discord::error::ApiError;

use crate::answer::error::Refused;

/// Number of turns in a process, about 64 bytes each. This is a choice: the largest new guild takes an eighth
/// of them, so most other requests need not wait for it.
const TURNS: usize = 4_096;

/// How long a request waits for its turns before it is told to come back. This is a choice: by default one
/// call to the data service may take as long.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// All turns.
pub(crate) struct Turns {
    all: Box<[Arc<Mutex<()>>]>,
    keys: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: (0..TURNS).map(|_| Arc::default()).collect(), keys: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the turns of these users and takes them.
    ///
    /// # Errors
    /// 503 after [`WAIT_MAX`].
    ///
    /// # Cancel safety
    /// Dropping the future gives back the turns that it had taken.
    pub(crate) async fn take(&self, users: impl IntoIterator<Item = u64>) -> Result<Turn, Refused> {
        let places: BTreeSet<usize> = users.into_iter().map(|user| self.place(user)).collect();
        let take = async {
            let mut held = Vec::with_capacity(places.len());
            for turn in places.iter().filter_map(|place| self.all.get(*place)) {
                held.push(Arc::clone(turn).lock_owned().await);
            }
            Turn { held }
        };
        tokio::time::timeout(WAIT_MAX, take).await.map_err(|_elapsed| Refused::busy())
    }

    fn place(&self, user: u64) -> usize {
        usize::try_from(self.keys.hash_one(user) % TURNS as u64).unwrap_or(0)
    }
}

/// Turns that were taken. They are given back when this is dropped.
pub(crate) struct Turn {
    held: Vec<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Makes the change, and gives the turns back when it is made.
    ///
    /// # Errors
    /// Those of `change`; 500 if it panicked.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the change.
    pub(crate) async fn make<T: Send + 'static>(
        self,
        change: impl Future<Output = Result<T, Refused>> + Send + 'static,
    ) -> Result<T, Refused> {
        let made = tokio::spawn(async move {
            let outcome = change.await;
            drop(self.held);
            outcome
        });
        made.await.unwrap_or_else(|_panicked| Err(ApiError::Internal.into()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back() {
        let turns = Turns::default();
        let held = turns.take([1, 2]).await.expect("nobody has them");
        assert!(turns.take([2]).await.is_err_and(|refused| refused == Refused::busy()));
        drop(held);
        assert!(turns.take([2, 1, 2]).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_lasts_as_long_as_its_change_also_if_nobody_waits_for_it() {
        let turns = Turns::default();
        let (done, change) = tokio::sync::oneshot::channel::<()>();
        let turn = turns.take([1]).await.expect("nobody has it");
        let made = turn.make(async {
            let _ = change.await;
            Ok(())
        });
        assert!(made.now_or_never().is_none(), "it was begun, and its caller is gone");
        assert!(turns.take([1]).await.is_err());
        drop(done);
        assert!(turns.take([1]).await.is_ok());
    }
}
