//! Writes in doubt: the database did not report their outcome, and they are sent again until it does (rule
//! 2).

use std::time::Duration;

use tokio::time::sleep;

/// First pause: a coordinator that was restarted or lost one packet answers by then.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause: when a database is back, this is noticed within it.
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses between repetitions; each is twice the previous one, up to a bound.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// Waits for the next pause.
    pub(crate) async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}
