//! Buckets: a channel's history is cut into partitions of ten days, so that no partition grows without end.

use crate::id::{EPOCH_MS, Snowflake, unix_ms};

/// Length of a bucket, in milliseconds: ten days, as Discord published for partitions below 100 MB.
pub const BUCKET_MS: u64 = 10 * 24 * 60 * 60 * 1000;

/// Number of a ten-day span since [`EPOCH_MS`]; 0 to 5,090 (42 bits of milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u32);

impl Bucket {
    /// The bucket that holds a message id, which need not exist.
    #[must_use]
    pub fn of_raw(id: u64) -> Self {
        // 2^42 / BUCKET_MS is 5,090, so the cast keeps every bit.
        Self(((unix_ms(id) - EPOCH_MS) / BUCKET_MS) as u32)
    }

    /// The bucket that holds a snowflake.
    #[must_use]
    pub fn of(id: Snowflake) -> Self {
        Self::of_raw(id.get())
    }

    /// The smallest raw snowflake that belongs to the bucket.
    #[must_use]
    pub fn first_raw(self) -> u64 {
        (u64::from(self.0) * BUCKET_MS) << 22
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_does_not_lie_before_its_bucket(raw in any::<u64>()) {
            prop_assert!(Bucket::of_raw(raw).first_raw() <= raw);
        }

        #[test]
        fn buckets_rise_with_ids(a in any::<u64>(), b in any::<u64>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(Bucket::of_raw(low) <= Bucket::of_raw(high));
        }
    }

    #[test]
    fn neighbours_meet_without_gap() {
        for number in [0, 1, 400, 5_000] {
            let border = Bucket(number + 1).first_raw();
            assert_eq!([border - 1, border].map(Bucket::of_raw), [Bucket(number), Bucket(number + 1)]);
        }
    }
}
