//! Discord's rate limits: fixed quotas for each caller, shown in headers on every answer of a limited route.
//!
//! There are two gates in this order: all requests of the caller (global), then the route's bucket for the
//! caller and the major parameter (the channel or guild in the path). The quotas are `governor`'s GCRA; the
//! state by key is our own bounded [`store`].
//!
//! GCRA refills continuously, whereas Discord counts windows. The headers are true in both readings: after
//! `Reset-After` the bucket is full again, and a 429's `retry_after` is when the next single request fits.

mod bucket;
mod config;
mod headers;
mod rate;
mod store;

pub(crate) use bucket::Major;
pub use bucket::RouteBucket;
pub use config::RateLimitConfig;
pub(crate) use headers::BucketState;
pub use rate::Rate;
pub(crate) use store::STATE_BYTES;

use std::time::{Duration, SystemTime};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::StateInformationMiddleware,
};
use weir_connect::Budget;
use weir_discord::error::{RateLimitScope, RateLimited};
use weir_proto::id::UserId;

use store::{BoundedState, Key};

type Limiter<C> = RateLimiter<Key, BoundedState, C, StateInformationMiddleware>;

/// All limiters of the tier.
pub(crate) struct RateLimits<C: Clock = MonotonicClock> {
    global: Limiter<C>,
    buckets: [Limiter<C>; RouteBucket::ALL.len()],
    rates: RateLimitConfig,
    states: BoundedState,
    clock: C,
}

impl RateLimits {
    /// The limiters on the operating system's monotonic clock.
    pub(crate) fn new(config: RateLimitConfig) -> Self {
        Self::with_clock(config, MonotonicClock)
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    /// The limiters on any clock.
    pub(crate) fn with_clock(config: RateLimitConfig, clock: C) -> Self {
        let state = BoundedState::new(config.keys_max);
        let limiter = |rate: Rate| Limiter::new(quota(rate), state.clone(), clock.clone());
        Self {
            global: limiter(config.global),
            buckets: RouteBucket::ALL.map(|bucket| limiter(config.rate(bucket))),
            rates: config,
            states: state,
            clock,
        }
    }

    /// Shows the state that is kept of callers in the memory budget.
    pub(crate) fn watch(&self, budget: &Budget) {
        budget.watch_entries("api_rate_limits", self.rates.keys_max, STATE_BYTES, self.states.count());
    }

    /// Charges one request of `caller` to its global limit and to the route's bucket.
    ///
    /// # Errors
    /// [`Exhausted`] if one of them is exceeded. A request that the bucket refuses has been charged to the
    /// global limit, as at Discord.
    pub(crate) fn charge(
        &self,
        caller: UserId,
        bucket: RouteBucket,
        major: Major,
        now: SystemTime,
    ) -> Result<BucketState, Exhausted> {
        if let Err(refusal) = self.global.check_key(&Key::global(caller)) {
            return Err(Exhausted {
                limited: self.limited(&refusal, RateLimitScope::Global),
                bucket_state: None,
            });
        }
        let rate = self.rates.rate(bucket);
        match self.buckets[bucket as usize].check_key(&Key::bucket(caller, bucket, major)) {
            Ok(snapshot) => Ok(BucketState::after(bucket, rate, snapshot.remaining_burst_capacity(), now)),
            Err(refusal) => Err(Exhausted {
                limited: self.limited(&refusal, RateLimitScope::User),
                bucket_state: Some(BucketState::after(bucket, rate, 0, now)),
            }),
        }
    }

    fn limited(&self, refusal: &NotUntil<C::Instant>, scope: RateLimitScope) -> RateLimited {
        RateLimited { retry_after: refusal.wait_time_from(self.clock.now()), scope, code: None }
    }
}

/// Why a request was answered 429.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exhausted {
    pub(crate) limited: RateLimited,
    /// The state of the bucket; `None` if the global limit refused.
    pub(crate) bucket_state: Option<BucketState>,
}

/// A rate in GCRA's form: one more request every `per / requests`, and up to `requests` of them at once.
fn quota(rate: Rate) -> Quota {
    let each = (rate.per / rate.requests.get()).max(Duration::from_nanos(1));
    Quota::with_period(each).expect("at least a nanosecond").allow_burst(rate.requests)
}

#[cfg(test)]
mod tests;
