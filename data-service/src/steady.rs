//! A wall clock that is trusted only as far as the boot clock confirms it.
//!
//! Ids and revisions are made of wall time and may never fall, so one message from a clock that ran ahead
//! closes a channel until that time has come. Therefore a wall clock that advanced much more than the boot
//! clock since its last trusted reading is not used: the boot clock gives the time, changes are refused, and
//! the operator is told. The wall clock is trusted again when the two agree, or after a new start, which
//! compares it with the stored data ([`too_far`]). A clock that goes back needs none of this: ids stay above
//! the earlier ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    clock::{Clock, LeaseClock, WallClock},
    ownership::NotOwner,
};
use weir_runtime::clock::BootInstant;

/// Largest advance of the wall clock over the boot clock between two readings. Time services slew, or step by
/// seconds; an operator who sets a clock by hand is off by minutes.
pub const JUMP_MAX: Duration = Duration::from_secs(5 * 60);

/// Largest distance of a clock after the newest change in the store at a start. A machine that was off, or a
/// backup that is restored, is rarely older than a season; a clock that lost its battery or its century is
/// off by years.
pub const START_AHEAD_MAX: Duration = Duration::from_secs(90 * 86_400);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    wall_us: u64,
    boot: BootInstant,
}

impl Reading {
    /// The wall time at `boot`, computed from this reading by the boot clock.
    fn wall_us_at(self, boot: BootInstant) -> u64 {
        let passed = u64::try_from(boot.saturating_since(self.boot).as_micros()).unwrap_or(u64::MAX);
        self.wall_us.saturating_add(passed)
    }
}

/// Verdict on a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    /// The last trusted reading.
    good: Reading,
    /// The time to use.
    wall_us: u64,
    /// Size of the wall clock's jump, if it is not trusted.
    jumped_us: Option<u64>,
}

/// Judges a reading by the last trusted one. Pure.
fn judge(good: Reading, now: Reading) -> Judged {
    let expected_us = good.wall_us_at(now.boot);
    let ahead_us = now.wall_us.saturating_sub(expected_us);
    if u128::from(ahead_us) > JUMP_MAX.as_micros() {
        return Judged { good, wall_us: expected_us, jumped_us: Some(ahead_us) };
    }
    // A clock that was set back may come back: a time that it has shown before is no jump.
    let good = if now.wall_us >= expected_us { now } else { good };
    Judged { good, wall_us: now.wall_us, jumped_us: None }
}

/// Distance of `now_us` after all stored data, if that is too far to be trusted at a start: neither near the
/// newest change (`newest_us`; 0 if there is none) nor before `accepted_us`, until which an operator vouches
/// for the clock. Microseconds since 1970-01-01T00:00Z. Pure.
#[must_use]
pub fn too_far(now_us: u64, newest_us: u64, accepted_us: u64) -> Option<Duration> {
    let ahead = Duration::from_micros(now_us.saturating_sub(newest_us));
    (newest_us > 0 && ahead > START_AHEAD_MAX && now_us >= accepted_us).then_some(ahead)
}

/// The day of a time, UTC.
pub(crate) fn day(unix_us: u64) -> String {
    let at =
        i64::try_from(unix_us / 1_000_000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    at.map_or_else(|| format!("{unix_us} us"), |at| at.date().to_string())
}

/// The clocks of a process, with a wall clock that does not jump ahead.
pub struct Steady {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    good: Reading,
    jumped_us: Option<u64>,
}

impl Steady {
    /// Trusts the clock as it is now.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let good = read(&*clock);
        Arc::new(Self { clock, state: Mutex::new(State { good, jumped_us: None }) })
    }

    /// Checks that changes may be dated now.
    ///
    /// # Errors
    /// [`NotOwner::ClockJumped`]
    pub fn check(&self) -> Result<(), NotOwner> {
        match self.look().jumped_us {
            Some(ahead_us) => Err(NotOwner::ClockJumped { ahead_ms: ahead_us / 1_000 }),
            None => Ok(()),
        }
    }

    /// The time to use, in microseconds since 1970-01-01T00:00Z.
    pub fn wall_us(&self) -> u64 {
        self.look().wall_us
    }

    /// The same in milliseconds.
    pub fn wall_ms(&self) -> u64 {
        self.wall_us() / 1_000
    }

    fn look(&self) -> Judged {
        let mut state = self.state();
        // The clock is read under the lock, so that readings are judged in their order.
        let judged = judge(state.good, read(&*self.clock));
        let before = std::mem::replace(&mut state.jumped_us, judged.jumped_us);
        state.good = judged.good;
        drop(state);
        match (before, judged.jumped_us) {
            (None, Some(ahead_us)) => tracing::error!(
                ahead_s = ahead_us / 1_000_000,
                "the clock jumped ahead and is not believed: changes are refused; set it right, or restart the service if it is right now"
            ),
            (Some(_), None) => tracing::info!("the clock is believed again: changes go on"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        judged
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The values are plain, each written in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(clock: &dyn Clock) -> Reading {
    Reading { wall_us: clock.wall_us(), boot: clock.boot() }
}

impl WallClock for Steady {
    fn wall_us(&self) -> u64 {
        Self::wall_us(self)
    }
}

impl LeaseClock for Steady {
    fn boot(&self) -> BootInstant {
        self.clock.boot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_runtime::clock::ManualClock;

    const NOW_US: u64 = 1_800_000_000_000_000;
    const DAY_US: u64 = 86_400 * 1_000_000;
    const MAX_US: u64 = JUMP_MAX.as_micros() as u64;

    fn at(wall_us: u64, boot_s: u64) -> Reading {
        Reading { wall_us, boot: BootInstant::from_ns(boot_s * 1_000_000_000) }
    }

    #[test]
    fn a_jump_is_one_beyond_what_the_boot_clock_confirms() {
        let good = at(NOW_US, 10);
        // The machine slept for ten days: both clocks show it.
        let slept = at(NOW_US + 10 * DAY_US, 10 + 864_000);
        assert_eq!(judge(good, slept), Judged { good: slept, wall_us: slept.wall_us, jumped_us: None });
        let edge = at(NOW_US + MAX_US, 10);
        assert_eq!(judge(good, edge).jumped_us, None);
        let beyond = judge(good, at(NOW_US + MAX_US + 3_000_001, 13));
        assert_eq!(beyond, Judged { good, wall_us: NOW_US + 3_000_000, jumped_us: Some(MAX_US + 1) });
    }

    #[test]
    fn a_clock_that_was_set_back_may_come_back() {
        let good = at(NOW_US, 10);
        let back = judge(good, at(NOW_US - DAY_US, 11));
        assert_eq!((back.good, back.wall_us, back.jumped_us), (good, NOW_US - DAY_US, None));
        assert_eq!(judge(back.good, at(NOW_US + 2_000_000, 12)).jumped_us, None);
    }

    proptest! {
        #[test]
        fn time_that_is_gone_by_never_runs_ahead_of_the_last_good_one(
            steps in prop::collection::vec((0_u64..1_000, -1_000_000_i64..1_000_000), 1..100),
        ) {
            let (mut good, mut boot_s) = (at(NOW_US, 1), 1);
            for (pass_s, skew_s) in steps {
                boot_s += pass_s;
                let expected = good.wall_us_at(at(0, boot_s).boot);
                let wall_us = (NOW_US + boot_s * 1_000_000).saturating_add_signed(skew_s * 1_000_000);
                let judged = judge(good, at(wall_us, boot_s));
                prop_assert!(judged.wall_us <= expected + MAX_US);
                good = judged.good;
            }
        }
    }

    #[test]
    fn it_recovers_by_itself_and_time_goes_on_meanwhile() {
        let manual = Arc::new(ManualClock::new(NOW_US));
        let steady = Steady::new(manual.clone());
        assert_eq!(steady.check(), Ok(()));
        manual.set_wall_us(NOW_US + 400 * DAY_US);
        assert_eq!(steady.check(), Err(NotOwner::ClockJumped { ahead_ms: 400 * DAY_US / 1_000 }));
        manual.advance(Duration::from_secs(2));
        assert_eq!(steady.wall_us(), NOW_US + 2_000_000);
        manual.set_wall_us(NOW_US + 2_100_000);
        assert_eq!((steady.check(), steady.wall_us()), (Ok(()), NOW_US + 2_100_000));
    }

    #[test]
    fn a_start_is_refused_only_long_after_the_newest_change() {
        assert_eq!(too_far(NOW_US, 0, 0), None, "nothing is stored");
        assert_eq!(too_far(NOW_US, NOW_US - 90 * DAY_US, 0), None);
        assert_eq!(too_far(NOW_US, NOW_US + 400 * DAY_US, 0), None, "behind is another matter");
        let far = too_far(NOW_US, NOW_US - 91 * DAY_US, 0);
        assert_eq!(far, Some(Duration::from_secs(91 * 86_400)));
        assert_eq!(too_far(NOW_US, NOW_US - 91 * DAY_US, NOW_US + 1), None, "vouched for");
        assert_eq!(too_far(NOW_US, NOW_US - 91 * DAY_US, NOW_US), far, "but only up to then");
    }
}
