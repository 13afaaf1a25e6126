//! Numbers that look random and are the same in each run with the same seed (SplitMix64).

use std::time::Duration;

/// A generator. Not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, for another task: its numbers do not depend on when either is asked.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end` - 1; 0 if `end` is 0. The bias of the remainder is below 2^-40 for the small numbers asked for here.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `times`, on average.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `items`; `None` if there is none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        // Below the length, a usize.
        items.get(self.below(items.len() as u64) as usize)
    }

    /// A length of time from `least` to `most`, in milliseconds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        // Lengths of time in a test: far below 2^64 ms.
        let span = most.saturating_sub(least).as_millis() as u64;
        least + Duration::from_millis(self.below(span + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_in_their_bounds() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        let least = Duration::from_millis(5);
        for _ in 0..1_000 {
            assert_eq!(one.next(), other.next());
            assert!(one.below(3) < 3 && other.below(3) < 3);
            let wait = one.between(least, least * 2);
            assert!(wait >= least && wait <= least * 2);
            assert_eq!(wait, other.between(least, least * 2));
        }
        assert_ne!(Random::new(7).fork().next(), Random::new(8).fork().next());
        assert_eq!((one.below(0), one.pick::<u8>(&[])), (0, None));
    }
}
