//! Keeps repeated faults from flooding the log: each kind of line is logged once per interval, with the
//! number of lines held back since the last one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one line of each kind through per interval. Kinds are constants of the program, so there are few.
#[derive(Debug)]
pub struct LogGate {
    every: Duration,
    kinds: Mutex<BTreeMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    passed_at: Instant,
    held_back: u64,
}

impl LogGate {
    /// A gate that lets the first line of a kind through, and after it one in each `every`.
    #[must_use]
    pub const fn new(every: Duration) -> LogGate {
        LogGate { every, kinds: Mutex::new(BTreeMap::new()) }
    }

    /// Whether a line of this kind passes at `now`. Gives how many were held back since the last line that
    /// passed, or `None` if this one is held back too.
    pub fn pass(&self, kind: &'static str, now: Instant) -> Option<u64> {
        // Recovers a poisoned lock: the two numbers are consistent between any two statements.
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = kinds.get_mut(kind) else {
            kinds.insert(kind, Kind { passed_at: now, held_back: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(known.passed_at) < self.every {
            known.held_back += 1;
            return None;
        }
        known.passed_at = now;
        Some(std::mem::take(&mut known.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_each_kind_passes_in_a_while_and_tells_of_the_others() {
        let gate = LogGate::new(Duration::from_secs(10));
        let start = Instant::now();
        let pass = |kind, seconds| gate.pass(kind, start + Duration::from_secs(seconds));
        assert_eq!(pass("a", 0), Some(0));
        assert_eq!([pass("a", 1), pass("a", 9)], [None, None]);
        assert_eq!(pass("b", 9), Some(0), "each kind by itself");
        assert_eq!(pass("a", 10), Some(2));
        assert_eq!(pass("a", 40), Some(0));
    }
}
