//! The limiters on a clock that the test moves.

use std::{num::NonZeroU32, time::SystemTime};

use governor::clock::FakeRelativeClock;
use http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn caller(id: u64) -> UserId {
    UserId::try_from(id).unwrap()
}

fn rate(requests: u32, per: Duration) -> Rate {
    Rate::new(NonZeroU32::new(requests).unwrap(), per)
}

fn limits(config: RateLimitConfig) -> (RateLimits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (RateLimits::with_clock(config, clock.clone()), clock)
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn headers(bucket_state: BucketState) -> HeaderMap {
    let mut headers = HeaderMap::new();
    bucket_state.write(&mut headers);
    headers
}

#[test]
fn a_bucket_empties_refuses_and_refills() {
    let (limits, clock) = limits(RateLimitConfig::default());
    let charge = || limits.charge(caller(1), RouteBucket::CreateMessage, Major(7), NOW);
    for remaining in (0..5).rev() {
        let headers = headers(charge().unwrap());
        assert_eq!(headers["x-ratelimit-remaining"], remaining.to_string());
        assert_eq!(headers["x-ratelimit-reset-after"], format!("{}.000", 5 - remaining));
        assert_eq!(headers["x-ratelimit-reset"], format!("{}.000", 5 - remaining));
        assert_eq!(headers["x-ratelimit-limit"], "5");
        assert!(!headers.contains_key("x-ratelimit-scope"), "only a 429 says whose limit it was");
    }
    let refused = charge().unwrap_err();
    assert_eq!(
        (refused.limited.scope, refused.limited.retry_after),
        (RateLimitScope::User, Duration::from_secs(1))
    );
    assert_eq!(headers(refused.bucket_state.unwrap())["x-ratelimit-remaining"], "0");
    clock.advance(refused.limited.retry_after);
    charge().expect("what retry_after says is enough");
    assert!(charge().is_err(), "only one came back");
    clock.advance(Duration::from_secs(5));
    assert_eq!(headers(charge().unwrap())["x-ratelimit-remaining"], "4", "after Reset-After it is full");
}

#[test]
fn callers_channels_and_buckets_do_not_share() {
    let (limits, _) = limits(RateLimitConfig::default());
    for _ in 0..5 {
        limits.charge(caller(1), RouteBucket::CreateMessage, Major(7), NOW).unwrap();
    }
    assert!(limits.charge(caller(1), RouteBucket::CreateMessage, Major(7), NOW).is_err());
    assert!(limits.charge(caller(2), RouteBucket::CreateMessage, Major(7), NOW).is_ok());
    assert!(limits.charge(caller(1), RouteBucket::CreateMessage, Major(8), NOW).is_ok());
    assert!(limits.charge(caller(1), RouteBucket::EditMessage, Major(7), NOW).is_ok());
}

#[test]
fn the_global_limit_spans_buckets_and_has_no_bucket_headers() {
    let mut config = RateLimitConfig::default();
    config.global = rate(3, Duration::from_secs(1));
    let (limits, _) = limits(config);
    for bucket in [RouteBucket::Users, RouteBucket::GetGuild, RouteBucket::Typing] {
        limits.charge(caller(1), bucket, Major(0), NOW).unwrap();
    }
    let refused = limits.charge(caller(1), RouteBucket::GetChannel, Major(1), NOW).unwrap_err();
    assert_eq!((refused.limited.scope, refused.bucket_state), (RateLimitScope::Global, None));
    assert!(refused.limited.retry_after <= Duration::from_millis(334));
}

#[test]
fn random_keys_do_not_grow_the_state() {
    let mut config = RateLimitConfig::default();
    config.keys_max = 100;
    config.global = rate(1_000_000, Duration::from_secs(1));
    let clock = FakeRelativeClock::default();
    let state = BoundedState::new(config.keys_max);
    let limiter = Limiter::new(quota(config.global), state.clone(), clock);
    for major in 0..10_000 {
        limiter.check_key(&Key::bucket(caller(1), RouteBucket::GetChannel, Major(major))).unwrap();
    }
    assert!(state.entries() <= 100, "{} entries", state.entries());
}

#[test]
fn ids_that_are_none_share_one_bucket() {
    let major = |path: &[(&'static str, &'static str)]| Major::of(path.iter().copied());
    assert_eq!(major(&[("channel_id", "7"), ("message_id", "9")]), Major(7));
    assert_eq!(major(&[("guild_id", "8")]), Major(8));
    assert_eq!(major(&[("user_id", "8")]), Major(0));
    assert_eq!(major(&[("channel_id", "x")]), major(&[("channel_id", "y")]));
}

#[test]
fn buckets_are_numbered_as_listed_and_their_ids_differ() {
    let ids: std::collections::HashSet<_> = RouteBucket::ALL.iter().map(|bucket| bucket.id()).collect();
    assert_eq!(ids.len(), RouteBucket::ALL.len());
    assert!(RouteBucket::ALL.iter().enumerate().all(|(number, bucket)| *bucket as usize == number));
}

proptest! {
    /// In any window, no more is admitted than a burst and what was refilled, and `retry_after` is always
    /// enough.
    #[test]
    fn admitted_never_exceeds_burst_and_refill(requests in 1_u32..20, per_ms in 20_u64..5_000, steps in prop::collection::vec(0_u64..500, 1..200)) {
        let per = Duration::from_millis(per_ms);
        let mut config = RateLimitConfig::default().with(RouteBucket::Typing, rate(requests, per));
        config.global = rate(1_000_000, Duration::from_secs(1));
        let (limits, clock) = limits(config);
        let (mut passed, mut admitted) = (Duration::ZERO, 0_u32);
        for step in steps {
            clock.advance(Duration::from_millis(step));
            passed += Duration::from_millis(step);
            match limits.charge(caller(1), RouteBucket::Typing, Major(1), NOW) {
                Ok(_) => admitted += 1,
                Err(refused) => {
                    clock.advance(refused.limited.retry_after);
                    passed += refused.limited.retry_after;
                    prop_assert!(limits.charge(caller(1), RouteBucket::Typing, Major(1), NOW).is_ok());
                    admitted += 1;
                }
            }
            let refilled = passed.as_secs_f64() / per.as_secs_f64() * f64::from(requests);
            prop_assert!(f64::from(admitted) <= f64::from(requests) + refilled + 1e-3);
        }
    }
}
