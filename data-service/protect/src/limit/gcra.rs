//! The generic cell rate algorithm, in whole nanoseconds and without state of its own.
//!
//! A rate is one cell each `t` nanoseconds with a burst of `b` cells. The whole state is one number, the
//! *theoretical arrival time* TAT: the moment at which the bucket is full again. A cell at `now` is admitted
//! if `max(TAT, now) + t - b·t <= now`, and then moves TAT to `max(TAT, now) + t`. So in any window of length
//! `w` at most `b + w/t` cells are admitted, whatever the arrivals.
//!
//! When a quota changes at the moment `c` from (b1, t1) to (b2, t2), the tokens in hand are kept and none are
//! added: `TAT' = c + b2·t2 - min(tokens, b2)·t2`, with `tokens = (c + b1·t1 - TAT) / t1` from 0 to b1. So
//! raising a limit acts at once but grants no retroactive burst, and a conversion at the first check after
//! the change gives the same result as one at the change.

use std::time::Duration;

use crate::clock::Nanos;

/// Highest rate, in cells a second. Above it `t` in whole nanoseconds would be more than 1 % off.
pub const RATE_MAX: f64 = 10_000_000.0;
/// Lowest rate, in cells a second: one in about 17 minutes.
pub const RATE_MIN: f64 = 0.001;
/// Largest burst, in cells. With [`RATE_MIN`] it keeps `b·t` below 10^18 ns, a twentieth of the range of
/// [`Nanos`].
pub const BURST_MAX: u32 = 1_000_000;

/// Largest distance of TAT beyond `now + b·t` that comes from threads reading the clock at different moments.
/// Beyond it the clock has stepped back, and TAT is pulled in; otherwise the key would be blocked for as long
/// as the step.
const STEP_TOLERANCE: Duration = Duration::from_secs(1);

/// Wait sent to a refused caller when a limit admits nothing at all.
pub(crate) const BLOCKED_RETRY: Duration = Duration::from_secs(60);

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// `t`, nanoseconds for each cell, rounded up: the rate is never exceeded and at most 1 % lower.
    interval_ns: u64,
    /// `b`, cells; 0 admits nothing.
    burst: u32,
}

/// A rate or burst out of range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuotaError {
    /// The rate is not a number from [`RATE_MIN`] to [`RATE_MAX`].
    #[error("rate {0} is not between 0.001 and 10,000,000 a second")]
    Rate(f64),
    /// The burst exceeds [`BURST_MAX`].
    #[error("burst {0} is above 1,000,000")]
    Burst(u32),
}

impl Quota {
    /// A quota that admits nothing.
    pub const BLOCKED: Self = Self { interval_ns: 1, burst: 0 };

    /// `rate` cells a second, `burst` of them at once after a pause. A burst of 0 admits nothing.
    ///
    /// # Errors
    /// A rate or burst out of range.
    pub fn per_second(rate: f64, burst: u32) -> Result<Self, QuotaError> {
        if !(RATE_MIN..=RATE_MAX).contains(&rate) {
            return Err(QuotaError::Rate(rate));
        }
        if burst > BURST_MAX {
            return Err(QuotaError::Burst(burst));
        }
        // The checks above keep it in range: 100 ..= 10^12.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 100 and 10^12")]
        let interval_ns = (1e9 / rate).ceil() as u64;
        Ok(Self { interval_ns, burst })
    }

    /// Nanoseconds for each cell.
    #[must_use]
    pub const fn interval_ns(self) -> u64 {
        self.interval_ns
    }

    /// Number of cells at once after a pause.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// Cells a second.
    #[must_use]
    pub fn rate(self) -> f64 {
        // It is below 2^53 by construction.
        #[expect(clippy::cast_precision_loss, reason = "interval_ns is below 2^53")]
        let interval = self.interval_ns as f64;
        1e9 / interval
    }

    /// `b·t`: the time in which an empty bucket fills.
    #[must_use]
    pub const fn fill_ns(self) -> u64 {
        self.interval_ns * self.burst as u64
    }
}

/// Verdict on one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The cell is admitted; store the new TAT.
    Admit(Nanos),
    /// The cell is refused; store nothing. The duration is the earliest time after which as many cells can be
    /// admitted.
    Refuse(Duration),
    /// The cells exceed the burst, so they never fit; store nothing.
    NeverFits,
}

/// Decides one cell at `now`.
#[must_use]
pub fn check(quota: Quota, tat: Nanos, now: Nanos) -> Verdict {
    check_many(quota, 1, tat, now)
}

/// Decides `amount` cells at `now`, all of them together or none.
#[must_use]
pub(crate) fn check_many(quota: Quota, amount: u32, tat: Nanos, now: Nanos) -> Verdict {
    if quota.burst == 0 {
        return Verdict::Refuse(BLOCKED_RETRY);
    }
    if amount > quota.burst {
        return Verdict::NeverFits;
    }
    // The product is at most `fill_ns`, which has room.
    let next = tat.max(now).as_nanos().saturating_add(quota.interval_ns * u64::from(amount));
    let limit = now.as_nanos().saturating_add(quota.fill_ns());
    if next <= limit {
        Verdict::Admit(Nanos::from_nanos(next))
    } else {
        Verdict::Refuse(Duration::from_nanos(next - limit))
    }
}

/// `tat`, or the emptiest state that `now` allows if the clock stepped back.
#[must_use]
pub fn after_step(quota: Quota, tat: Nanos, now: Nanos) -> Nanos {
    let emptiest = now.after(Duration::from_nanos(quota.fill_ns()));
    if tat > emptiest.after(STEP_TOLERANCE) { emptiest } else { tat }
}

/// Converts `tat`, the state under `from`, to the state under `to`, in force since `changed`: at that moment
/// the bucket had the same tokens, at most `to`'s burst.
#[must_use]
pub fn convert(from: Quota, to: Quota, tat: Nanos, changed: Nanos) -> Nanos {
    // tokens·t1, in nanoseconds: 0 ..= b1·t1.
    let in_hand = (changed.as_nanos().saturating_add(from.fill_ns())).saturating_sub(tat.as_nanos());
    let in_hand = u128::from(in_hand.min(from.fill_ns()));
    // min(tokens, b2)·t2, rounded down: in favour of the limit. u128 holds 10^18 · 10^12.
    let kept = in_hand * u128::from(to.interval_ns) / u128::from(from.interval_ns);
    let missing = u128::from(to.fill_ns()) - kept.min(u128::from(to.fill_ns()));
    // `missing <= fill_ns`, a u64.
    changed.after(Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX)))
}
