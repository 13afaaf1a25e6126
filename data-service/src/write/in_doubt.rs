//! Writes in doubt: the database did not tell what came of them, and they are sent again until it does (rule 2).

use std::time::Duration;

use tokio::time::sleep;

/// The first pause: a coordinator that was restarted or lost one packet answers by then.
const FIRST: Duration = Duration::from_millis(50);
/// The longest: a database that was away is noticed within this.
const LONGEST: Duration = Duration::from_secs(2);

/// The pauses between repetitions; each is twice the one before, up to a bound.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// Waits for the next one.
    pub(crate) async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}
