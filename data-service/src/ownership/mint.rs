//! Id generator: snowflakes with the tenure's worker number, unique in the process and rising within a
//! channel.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_proto::id::{EPOCH_MS, SEQUENCE_BITS, Snowflake, WORKER_BITS};

use crate::ownership::Tenure;

/// How far ids may run ahead of the clock, in milliseconds: the same bound as for a node's clock against the
/// database's (500 ms). Beyond it minting stops rather than date messages into the future.
pub const AHEAD_MS_MAX: u64 = 500;

/// Reasons why no id can be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The next id would lie more than [`AHEAD_MS_MAX`] after the clock: the channel's last id, or this
    /// worker's, is from a faster clock.
    #[error("this service's clock is behind its stored ids by {:.1} s; nothing can be created until it has caught up", *ahead_ms as f64 / 1_000.0)]
    Ahead {
        /// Distance in milliseconds.
        ahead_ms: u64,
    },
    /// The next id would not lie below the lease's end.
    #[error("the lease ends before the next id")]
    LeaseEnded,
}

/// Id generator of one process. Lock-free; share it.
#[derive(Debug)]
pub struct Minter {
    /// Milliseconds since the snowflake's epoch << 12 | sequence, of the last id minted. It rises over all
    /// worker numbers that the process ever has, so that a number which it gets back repeats no id.
    last: AtomicU64,
}

impl Minter {
    /// Creates a generator whose ids are later than `floor_unix_ms`.
    #[must_use]
    pub fn new(floor_unix_ms: u64) -> Self {
        let floor = floor_unix_ms.saturating_sub(EPOCH_MS) << SEQUENCE_BITS;
        Self { last: AtomicU64::new(floor | ((1 << SEQUENCE_BITS) - 1)) }
    }

    /// Milliseconds by which the next id, of any kind, would lie too far ahead of the clock; `None` if it
    /// would not.
    #[must_use]
    pub fn ahead(&self, now_us: u64) -> Option<u64> {
        let now_ms = (now_us / 1_000).saturating_sub(EPOCH_MS);
        let next_ms = (self.last.load(Ordering::Acquire) + 1) >> SEQUENCE_BITS;
        Some(next_ms.saturating_sub(now_ms)).filter(|ahead_ms| *ahead_ms > AHEAD_MS_MAX)
    }

    /// Mints an id above `above`, if there is one, dated `max(now, ...)`, not below the end of the previous
    /// tenure, and before this one's end.
    ///
    /// # Errors
    /// [`MintError`]; nothing is used up.
    pub fn mint(
        &self,
        now_us: u64,
        above: Option<Snowflake>,
        tenure: Tenure,
    ) -> Result<Snowflake, MintError> {
        self.reserve(now_us, above, tenure, 1)
    }

    /// Mints `count` consecutive ids (1 to 2^20) and returns the first; see [`Self::nth`].
    ///
    /// # Errors
    /// As [`Self::mint`].
    pub fn reserve(
        &self,
        now_us: u64,
        above: Option<Snowflake>,
        tenure: Tenure,
        count: u64,
    ) -> Result<Snowflake, MintError> {
        let now_ms = (now_us / 1_000).saturating_sub(EPOCH_MS);
        // Below that lie the predecessor's ids, also of other worker numbers and of a clock that is half a
        // second ahead.
        let above_ms = tenure.mint_above_us.div_ceil(1_000).saturating_sub(EPOCH_MS);
        let above = above.map_or(0, |above| tick_above(above, tenure.worker)).max(above_ms << SEQUENCE_BITS);
        let mut last = self.last.load(Ordering::Acquire);
        loop {
            let next = (last + 1).max(now_ms << SEQUENCE_BITS).max(above);
            let end = next + count - 1;
            let ms = end >> SEQUENCE_BITS;
            if ms > now_ms + AHEAD_MS_MAX {
                return Err(MintError::Ahead { ahead_ms: ms - now_ms });
            }
            if (ms + 1 + EPOCH_MS).saturating_mul(1_000) > tenure.mint_until_us {
                return Err(MintError::LeaseEnded);
            }
            match self.last.compare_exchange_weak(last, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(assemble(next, tenure.worker)),
                Err(seen) => last = seen,
            }
        }
    }

    /// The `index`th of ids that were reserved together.
    #[must_use]
    pub fn nth(first: Snowflake, index: u64) -> u64 {
        let tick = (first.get() >> 22) << SEQUENCE_BITS | u64::from(first.sequence());
        let tick = tick + index;
        let sequence = tick & ((1 << SEQUENCE_BITS) - 1);
        (tick >> SEQUENCE_BITS) << 22 | u64::from(first.worker()) << SEQUENCE_BITS | sequence
    }
}

/// The first tick for which the worker's id is above `above`.
fn tick_above(above: Snowflake, worker: u16) -> u64 {
    let ms = above.get() >> (WORKER_BITS + SEQUENCE_BITS);
    if above.worker() == worker {
        // Ids of one worker are in the order of their ticks: a busy channel has thousands of them in one
        // millisecond.
        (ms << SEQUENCE_BITS | u64::from(above.sequence())) + 1
    } else {
        // An id of the same millisecond could be smaller if the other worker's number is greater.
        (ms + 1) << SEQUENCE_BITS
    }
}

fn assemble(tick: u64, worker: u16) -> Snowflake {
    let sequence = (tick & ((1 << SEQUENCE_BITS) - 1)) as u16;
    Snowflake::from_parts((tick >> SEQUENCE_BITS) + EPOCH_MS, worker, sequence).expect(
        "worker and sequence are in range by construction, and 42 bits of milliseconds last until 2154",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_US: u64 = 1_800_000_000_000_000;

    fn until(mint_until_us: u64) -> Tenure {
        Tenure { mint_until_us, mint_above_us: 0, epoch: 1, reign: 1, worker: 5 }
    }

    const EVER: Tenure = Tenure { mint_until_us: u64::MAX, mint_above_us: 0, epoch: 1, reign: 1, worker: 5 };

    proptest! {
        #[test]
        fn ids_rise_and_stay_above_the_channels_last(steps in prop::collection::vec((0_u64..3_000, 0_u64..400), 1..200)) {
            let minter = Minter::new(0);
            let (mut now, mut last) = (NOW_US, None);
            for (forward_us, other_ahead_ms) in steps {
                now += forward_us;
                // Another worker's id in the same channel, at most 400 ms ahead, with a greater worker
                // number.
                let other = Snowflake::from_parts(now / 1_000 + other_ahead_ms, 9, 4_095).expect("in range");
                let id = minter.mint(now, Some(other), EVER).expect("within the bound");
                prop_assert!(id > other && Some(id) > last);
                last = Some(id);
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_repeats_no_id_and_stops_at_the_bound() {
        let minter = Minter::new(0);
        let first = minter.mint(NOW_US, None, EVER).expect("fresh");
        let second = minter.mint(NOW_US - 100_000, None, EVER).expect("within 500 ms");
        assert!(second > first);
        assert!(matches!(minter.mint(NOW_US - 600_000, None, EVER), Err(MintError::Ahead { .. })));
    }

    #[test]
    fn one_channels_ids_share_a_millisecond() {
        let minter = Minter::new(0);
        let mut last = minter.mint(NOW_US, None, EVER).expect("fresh");
        for _ in 1..4_000 {
            last = minter.mint(NOW_US, Some(last), EVER).expect("4,096 ids fit into a millisecond");
        }
        assert_eq!(last.unix_ms(), NOW_US / 1_000);
    }

    #[test]
    fn nothing_is_minted_at_or_above_the_leases_end() {
        let minter = Minter::new(0);
        assert_eq!(minter.mint(NOW_US, None, until(NOW_US)), Err(MintError::LeaseEnded));
        let id = minter.mint(NOW_US, None, until(NOW_US + 1_000)).expect("a whole millisecond is left");
        assert!(id.unix_ms() * 1_000 < NOW_US + 1_000);
    }

    #[test]
    fn a_reserved_row_is_dense_in_ticks_and_crosses_milliseconds() {
        let minter = Minter::new(0);
        let first = minter.reserve(NOW_US, None, EVER, 10_000).expect("three milliseconds ahead");
        let ids: Vec<u64> = (0..10_000).map(|index| Minter::nth(first, index)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(minter.mint(NOW_US, None, EVER).expect("after the row").get() > ids[9_999]);
    }

    #[test]
    fn ids_rise_over_worker_numbers_that_come_and_go() {
        let minter = Minter::new(0);
        let mut last = None;
        for worker in [900, 3, 900, 3] {
            let id = minter.mint(NOW_US, last, Tenure { worker, ..EVER }).expect("within the bound");
            assert!(Some(id) > last && id.worker() == worker);
            last = Some(id);
        }
    }
}
