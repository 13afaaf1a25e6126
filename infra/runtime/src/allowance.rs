//! The allowance of one client for something that is replenished over time.

use std::time::Duration;

use tokio::time::Instant;

/// The time at which the client has paid for everything that it was charged. That is the whole state of a
/// limit that admits a burst and a rate (GCRA, the virtual scheduling of ITU-T I.371): sixteen bytes for each
/// limited client, and no timer.
#[derive(Clone, Copy, Debug)]
pub struct Allowance(Instant);

impl Allowance {
    /// The allowance of a client that owes nothing.
    pub fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Charges `cost`, the time in which the charge is paid off, unless more than `most` would then be owed.
    ///
    /// # Errors
    /// The time until it can be charged; nothing is charged then.
    pub fn charge(&mut self, cost: Duration, most: Duration, now: Instant) -> Result<(), Duration> {
        let (after, latest) = (self.0.max(now) + cost, now + most);
        if after > latest {
            return Err(after - latest);
        }
        self.0 = after;
        Ok(())
    }

    /// Charges `cost`, and gives by how much the debt then exceeds `free`, at most `most`. Any debt beyond
    /// that is forgiven.
    pub(crate) fn charge_anyway(
        &mut self,
        cost: Duration,
        free: Duration,
        most: Duration,
        now: Instant,
    ) -> Duration {
        let free = now + free;
        self.0 = (self.0.max(now) + cost).min(free + most);
        self.0.saturating_duration_since(free)
    }

    /// Takes a charge back.
    pub fn refund(&mut self, cost: Duration) {
        self.0 = self.0.checked_sub(cost).unwrap_or(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Duration = Duration::from_secs(1);

    #[test]
    fn so_much_at_once_and_so_much_in_a_second() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        assert_eq!(allowance.charge(EACH * 3, EACH * 3, now), Ok(()));
        assert_eq!(allowance.charge(EACH, EACH * 3, now), Err(EACH));
        assert_eq!(allowance.charge(EACH, EACH * 3, now + EACH), Ok(()));
        allowance.refund(EACH);
        assert_eq!(allowance.charge(EACH, EACH * 3, now + EACH), Ok(()));
        // Unused time is not saved up.
        let later = now + 100 * EACH;
        assert_eq!(allowance.charge(EACH * 4, EACH * 3, later), Err(EACH));
    }

    #[test]
    fn what_is_charged_anyway_is_forgiven_beyond_a_bound() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let mut charge = || allowance.charge_anyway(EACH, EACH * 2, EACH * 3, now);
        let owed: Vec<Duration> = (0..7).map(|_| charge()).collect();
        assert_eq!(owed, [0, 0, 1, 2, 3, 3, 3].map(|times| EACH * times));
    }
}
