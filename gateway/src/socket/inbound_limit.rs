//! How many payloads a client may send: a counter over fixed windows.

use std::time::Duration;

use tokio::time::Instant;

/// Payloads in a window, heartbeats included. Discord's number.
pub(crate) const EVENTS_MAX: u32 = 120;
/// Length of a window. Discord's number.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// The limit of one connection, and what it has used. The next window begins with the first payload after the
/// last one's end.
#[derive(Debug)]
pub(crate) struct InboundLimit {
    max: u32,
    window_start: Instant,
    used: u32,
}

impl InboundLimit {
    pub(crate) fn new(max: u32, now: Instant) -> Self {
        Self { max, window_start: now, used: 0 }
    }

    /// Counts a payload. False if it is one too many.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        if now.duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        self.used <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_its_number_and_the_next_starts_afresh() {
        let start = Instant::now();
        let mut limit = InboundLimit::new(3, start);
        let late = start + WINDOW - Duration::from_millis(1);
        assert_eq!([start, start, late, late].map(|at| limit.admit(at)), [true, true, true, false]);
        assert!(limit.admit(start + WINDOW));
    }
}
