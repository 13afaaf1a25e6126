//! What the operator may configure of the rate limits.

use std::{num::NonZeroU32, time::Duration};

use super::{bucket::RouteBucket, rate::Rate};

/// Rate limits for each authenticated caller.
#[derive(Debug, Clone)]
pub struct RateLimitConfig {
    /// The limit for all requests of one caller together. Default 50 in 1 s, Discord's documented global
    /// limit.
    pub global: Rate,
    /// Each bucket's rate, in the order of [`RouteBucket`].
    rates: [Rate; RouteBucket::ALL.len()],
    /// Most (caller, bucket, major parameter) triples remembered. Default 131,072, which take about 20 MiB.
    /// When the store is full, the least used triples are forgotten and have a full bucket again; the global
    /// limit keeps one caller from profiting.
    pub keys_max: u64,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { global: GLOBAL, rates: RouteBucket::ALL.map(RouteBucket::default_rate), keys_max: 131_072 }
    }
}

/// Discord's documented limit for all requests of a bot.
const GLOBAL: Rate = Rate::new(NonZeroU32::new(50).expect("50 is not 0"), Duration::from_secs(1));

impl RateLimitConfig {
    /// The rate of a bucket.
    #[must_use]
    pub fn rate(&self, bucket: RouteBucket) -> Rate {
        self.rates[bucket as usize]
    }

    /// The same limits with another rate for one bucket.
    #[must_use]
    pub fn with(mut self, bucket: RouteBucket, rate: Rate) -> Self {
        self.rates[bucket as usize] = rate;
        self
    }
}
