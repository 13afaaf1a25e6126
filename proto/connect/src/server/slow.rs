//! The replies of one connection that were not taken at once, and which of them make no progress.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// A reply that waits for its client.
pub(super) trait Unsent: Send + Sync {
    /// Grows with each piece that the socket takes.
    fn moves(&self) -> u64;

    /// Cuts the reply and wakes its stream. Gives false if it was cut before.
    fn cut(&self) -> bool;
}

/// A connection's replies that were not taken at once, and how long each has not moved. There are at most as
/// many as the connection has streams.
#[derive(Debug, Default)]
pub(super) struct Slow {
    replies: Mutex<HashMap<usize, Waiting>>,
}

struct Waiting {
    reply: Weak<dyn Unsent>,
    /// The reply's moves at the last look, and since when the count has not changed.
    moves: u64,
    since: Option<Instant>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("moves", &self.moves)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Slow {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Waiting>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a reply under a key of its own, with its moves until now.
    pub(super) fn list(&self, key: usize, moves: u64, reply: Weak<dyn Unsent>) {
        self.lock().insert(key, Waiting { reply, moves, since: None });
    }

    /// Removes the reply with this key.
    pub(super) fn forget(&self, key: usize) {
        self.lock().remove(&key);
    }

    /// Cuts the replies that have not moved for `stall`. Gives how many.
    pub(super) fn cut(&self, now: Instant, stall: Duration) -> usize {
        let mut seen = Vec::new();
        for waiting in self.lock().values_mut() {
            let Some(reply) = waiting.reply.upgrade() else { continue };
            let moves = reply.moves();
            let since = match waiting.since {
                Some(since) if moves == waiting.moves => since,
                Some(_) | None => {
                    (waiting.moves, waiting.since) = (moves, Some(now));
                    now
                }
            };
            // Kept until the lock is free, whether cut or not: dropping the last reference to a reply takes
            // the lock.
            seen.push((reply, now.duration_since(since) >= stall));
        }
        seen.iter().filter(|(reply, stalled)| *stalled && reply.cut()).count()
    }
}
