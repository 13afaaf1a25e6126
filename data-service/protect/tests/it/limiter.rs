//! The limiter against models: an exact bucket, a sliding window, and `governor` at constant quota.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use weir_protect::{
    Bound, Clock, LimitKind, Limits, Quota, RefusalReason, Rule, Scope, Selector,
    limit::{
        RuleError,
        gcra::{self, BURST_MAX, Verdict},
    },
};

use crate::scenario::limits::{Rig, quota, rule};

const KEY: &[Scope] = &[Scope::Key(1)];
/// How far the clock steps back.
const STEP: Duration = Duration::from_secs(200);

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(300))]

    /// At constant quota every answer is governor's, request by request, at the same moments.
    #[test]
    fn governor_agrees_at_constant_quota(
        // governor rounds the interval down, this crate up: these give both the same whole number of
        // nanoseconds.
        rate in proptest::sample::select(vec![1_u32, 2, 4, 5, 8, 10, 16, 20, 25, 40, 50, 100, 125, 250, 500, 1_000, 2_000]),
        burst in 1_u32..60,
        gaps_us in proptest::collection::vec(0_u64..40_000, 1..300),
    ) {
        let clock = FakeRelativeClock::default();
        let theirs = governor::Quota::per_second(NonZeroU32::new(rate).unwrap());
        let theirs = theirs.allow_burst(NonZeroU32::new(burst).unwrap());
        let oracle = governor::RateLimiter::direct_with_clock(theirs, clock.clone());
        let rig = Rig::new(64);
        rig.set(Selector::EachKey, quota(f64::from(rate), burst));
        for gap in gaps_us {
            clock.advance(Duration::from_micros(gap));
            rig.clock.advance(Duration::from_micros(gap));
            prop_assert_eq!(rig.admit(KEY), oracle.check().is_ok());
        }
    }

    /// So it is for amounts, those among them that never fit.
    #[test]
    fn governor_agrees_on_amounts(
        rate in proptest::sample::select(vec![1_u32, 2, 5, 10, 50, 100, 1_000]),
        burst in 1_u32..60,
        asked in proptest::collection::vec((0_u64..400_000, 1_u32..70), 1..200),
    ) {
        let clock = FakeRelativeClock::default();
        let theirs = governor::Quota::per_second(NonZeroU32::new(rate).unwrap());
        let theirs = theirs.allow_burst(NonZeroU32::new(burst).unwrap());
        let oracle = governor::RateLimiter::direct_with_clock(theirs, clock.clone());
        let rig = Rig::new(64);
        rig.set(Selector::EachKey, quota(f64::from(rate), burst));
        for (gap, amount) in asked {
            clock.advance(Duration::from_micros(gap));
            rig.clock.advance(Duration::from_micros(gap));
            let ours = rig.limits.charge_many(KEY, LimitKind::Requests, amount, rig.clock.now());
            match oracle.check_n(NonZeroU32::new(amount).unwrap()) {
                Ok(theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok()),
                Err(_) => prop_assert_eq!(ours.unwrap_err().reason, RefusalReason::BeyondBurst),
            }
        }
    }

    /// Hazard 24: in any window of length w at most burst + w / t are admitted, and no less than a bucket
    /// would.
    #[test]
    fn hazard_24_any_window_admits_at_most_burst_and_rate(
        rate in 1_u32..500,
        burst in 1_u32..30,
        gaps_us in proptest::collection::vec(0_u64..20_000, 1..400),
    ) {
        let rig = Rig::new(64);
        let quota = quota(f64::from(rate), burst);
        rig.set(Selector::EachKey, quota);
        let mut admitted: VecDeque<u64> = VecDeque::new();
        let mut tokens_ns = u128::from(quota.fill_ns());
        for gap in gaps_us {
            rig.clock.advance(Duration::from_micros(gap));
            tokens_ns = (tokens_ns + u128::from(gap) * 1_000).min(u128::from(quota.fill_ns()));
            let bucket = tokens_ns >= u128::from(quota.interval_ns());
            prop_assert_eq!(rig.admit(KEY), bucket, "an exact token bucket decides otherwise");
            if bucket {
                tokens_ns -= u128::from(quota.interval_ns());
                admitted.push_back(rig.clock.now().as_nanos());
            }
        }
        for (i, from) in admitted.iter().enumerate() {
            for (j, to) in admitted.iter().enumerate().skip(i) {
                let count = u64::try_from(j - i + 1).unwrap();
                let most = u64::from(burst) + (to - from) / quota.interval_ns();
                prop_assert!(count <= most, "{count} in {} ns", to - from);
            }
        }
    }

    /// Hazards 25 and 26: over any sequence of requests, changes, pauses and steps back of the clock, the
    /// limiter admits exactly what a token bucket does that keeps its tokens, up to the new burst, when its
    /// quota changes, and is empty after a step.
    #[test]
    fn hazard_25_changes_keep_the_tokens_in_hand(
        steps in proptest::collection::vec(
            (0_u64..200_000, 0_u32..8, 1_u32..50, 1_u32..40, 0_u64..200_000, 1_u32..8),
            1..120,
        ),
        seen in any::<bool>(),
    ) {
        let rig = Rig::new(64);
        // Late enough for 120 steps back.
        rig.clock.set(weir_protect::Nanos::ZERO.after(200 * STEP));
        let mut now = quota(10.0, 5);
        rig.set(Selector::EachKey, now);
        // In cells of the quota in force.
        let mut tokens = f64::from(now.burst());
        // Whether the table or the rule remembers anything that lies in the clock's future after a step.
        let mut remembered = seen;
        if seen {
            prop_assert!(rig.admit(KEY));
            tokens -= 1.0;
        }
        for (gap_us, choice, rate, burst, after_us, tries) in steps {
            let pass = |now: Quota, tokens: f64, us: u64| {
                rig.clock.advance(Duration::from_micros(us));
                let filled = tokens + Duration::from_micros(us).as_secs_f64() * now.rate();
                filled.min(f64::from(now.burst()))
            };
            tokens = pass(now, tokens, gap_us);
            if choice == 0 {
                // The change, and some time before the first request under it.
                now = quota(f64::from(rate), burst);
                rig.set(Selector::EachKey, now);
                tokens = pass(now, tokens.min(f64::from(burst)), after_us);
                remembered = true;
            }
            if choice == 1 {
                // Farther than the key can owe: more than the fill time and all the pauses since the last
                // step.
                rig.clock.set(rig.clock.now().before(STEP));
                tokens = if remembered { 0.0 } else { f64::from(now.burst()) };
            }
            if choice == 2 {
                // At once after a step, or any other moment: a change with nothing in between.
                now = quota(f64::from(rate), burst);
                rig.set(Selector::EachKey, now);
                tokens = tokens.min(f64::from(burst));
            }
            remembered = true;
            for _ in 0..tries {
                let peeked = rig.limits.peek(KEY, LimitKind::Requests, rig.clock.now());
                let admitted = rig.admit(KEY);
                prop_assert_eq!(peeked.is_none(), admitted, "a look told {:?}", peeked);
                // The model's fractions are floating point; the limiter's are rounded in favour of the limit.
                prop_assert!(!(admitted && tokens < 1.0 - 1e-3), "admitted with {tokens} tokens");
                prop_assert!(admitted || tokens < 1.0 + 1e-3, "refused with {tokens} tokens");
                if admitted {
                    tokens -= 1.0;
                }
            }
        }
    }

    /// A conversion never adds tokens, and there and back never gains any.
    #[test]
    fn conversion_grants_nothing(
        rates in (0.01_f64..1e6, 0.01_f64..1e6),
        bursts in (0_u32..1000, 0_u32..1000),
        debt in 0.0_f64..1.0,
    ) {
        let (from, to) = (quota(rates.0, bursts.0), quota(rates.1, bursts.1));
        let now = weir_protect::Nanos::from_nanos(10_u64.pow(15));
        let tat = now.after(Duration::from_nanos(from.fill_ns()).mul_f64(debt));
        let tokens = |q: Quota, tat: weir_protect::Nanos| {
            (now.as_nanos() + q.fill_ns()).saturating_sub(tat.as_nanos()) as f64 / q.interval_ns() as f64
        };
        let converted = gcra::convert(from, to, tat, now);
        prop_assert!(tokens(to, converted) <= tokens(from, tat) + 1e-6);
        prop_assert!(tokens(to, converted) <= f64::from(to.burst()));
        let back = gcra::convert(to, from, converted, now);
        prop_assert!(tokens(from, back) <= tokens(from, tat) + 1e-6);
    }
}

#[test]
fn retry_after_is_exact() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 3));
    assert_eq!(rig.burst(KEY, 5), 3);
    let refusal = rig.limits.charge(KEY, LimitKind::Requests, rig.clock.now()).unwrap_err();
    assert_eq!(refusal.retry_after, Duration::from_millis(100));
    assert_eq!((refusal.reason, refusal.scope), (RefusalReason::RequestLimit, Some(Scope::Key(1))));
    rig.clock.advance(refusal.retry_after - Duration::from_nanos(1));
    assert!(!rig.admit(KEY));
    rig.clock.advance(Duration::from_nanos(1));
    assert!(rig.admit(KEY));
}

#[test]
fn the_longest_wait_is_reported() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 1));
    rig.set(Selector::EachGroup, quota(1.0, 1));
    let scopes = &[Scope::Key(1), Scope::Group(2)];
    assert!(rig.admit(scopes));
    let refusal = rig.limits.charge(scopes, LimitKind::Requests, rig.clock.now()).unwrap_err();
    assert_eq!((refusal.scope, refusal.retry_after), (Some(Scope::Group(2)), Duration::from_secs(1)));
}

#[test]
fn a_rule_of_its_own_goes_before_the_one_for_each() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(1.0, 2));
    rig.set(Selector::One(Scope::Key(1)), quota(1.0, 5));
    // Raised from 2 to 5 while settled: the two in hand stay two.
    assert_eq!(rig.burst(KEY, 10), 2);
    assert_eq!(rig.burst(&[Scope::Key(3)], 10), 2);
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(rig.burst(KEY, 10), 5);
    assert!(rig.limits.remove(Selector::One(Scope::Key(1)), LimitKind::Requests, false));
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(rig.burst(KEY, 10), 2);
}

#[test]
fn kinds_scopes_and_keys_are_counted_apart() {
    let rig = Rig::new(64);
    for selector in [Selector::EachKey, Selector::EachGroup, Selector::EachClass, Selector::One(Scope::All)] {
        rig.set(selector, quota(1.0, 1));
    }
    rig.limits.set(Rule { kind: LimitKind::Writes, ..rule(Selector::EachKey, quota(1.0, 1)) }).unwrap();
    for scope in [Scope::Key(0), Scope::Group(0), Scope::Class(0), Scope::All, Scope::Key(1)] {
        assert!(rig.admit(&[scope]), "{scope:?}");
        assert!(!rig.admit(&[scope]), "{scope:?}");
    }
    assert!(rig.limits.charge(KEY, LimitKind::Writes, rig.clock.now()).is_ok());
    assert!(rig.limits.charge(KEY, LimitKind::DatabaseReads, rig.clock.now()).is_ok(), "no rule, no limit");
}

#[test]
fn dry_run_counts_and_admits() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(1.0, 5));
    let stricter = Rule { name: "stricter".into(), dry_run: true, ..rule(Selector::EachKey, quota(1.0, 1)) };
    rig.limits.set(stricter).unwrap();
    let charge = || rig.limits.charge(KEY, LimitKind::Requests, rig.clock.now());
    assert_eq!(charge().unwrap().would_refuse, None);
    assert_eq!(charge().unwrap().would_refuse.as_deref(), Some("stricter"));
    assert_eq!(rig.burst(KEY, 10), 3, "the enforced rule still holds");
    let counts: Vec<_> =
        rig.limits.list().iter().map(|v| (v.rule.dry_run, v.refused, v.would_refuse)).collect();
    assert!(counts.contains(&(false, 7, 0)) && counts.contains(&(true, 0, 4)), "{counts:?}");
}

#[test]
fn a_rule_expires_by_the_wall_clock() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(1.0, 100));
    let own = rule(Selector::One(Scope::Key(1)), Quota::BLOCKED);
    rig.limits.set(Rule { expires_at_ms: Some(5_000), ..own }).unwrap();
    assert_eq!(rig.burst(KEY, 10), 0);
    rig.clock.set_wall_ms(4_999);
    assert_eq!(rig.burst(KEY, 10), 0);
    rig.clock.set_wall_ms(5_000);
    rig.clock.advance(Duration::from_secs(3));
    assert_eq!(rig.burst(KEY, 10), 3, "from blocked, no token is left over: only what has accrued since");
}

#[test]
fn blocked_admits_nothing_and_unblocking_grants_no_burst() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, Quota::BLOCKED);
    assert_eq!(rig.burst(KEY, 10), 0);
    rig.set(Selector::EachKey, quota(10.0, 10));
    assert_eq!(rig.burst(KEY, 10), 0);
    rig.clock.advance(Duration::from_millis(200));
    assert_eq!(rig.burst(KEY, 10), 2);
}

/// A key that lost its slot while settled is treated like one that kept it.
#[test]
fn raising_grants_nothing_to_keys_without_a_slot() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 10));
    rig.set(Selector::EachKey, quota(100.0, 50));
    assert_eq!(rig.burst(KEY, 100), 10);
    // Said again a moment later, it must not change what is left.
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 10));
    rig.set(Selector::EachKey, quota(100.0, 50));
    rig.set(Selector::EachKey, quota(100.0, 50));
    assert_eq!(rig.burst(KEY, 100), 10);
}

#[test]
fn versions_rise() {
    let rig = Rig::new(64);
    rig.limits.install(2, vec![rule(Selector::EachKey, quota(1.0, 1))]).unwrap();
    rig.limits.install(3, vec![rule(Selector::EachGroup, quota(1.0, 1))]).unwrap();
    let late = rig.limits.install(2, vec![rule(Selector::EachKey, quota(1.0, 1))]);
    assert_eq!(late, Err(RuleError::Outdated { in_force: 3 }));
    let selectors: Vec<_> = rig.limits.list().iter().map(|view| view.rule.selector).collect();
    assert_eq!(selectors, [Selector::EachGroup]);
}

#[test]
fn bounds_must_suit_their_kinds() {
    let rig = Rig::new(64);
    let rate = Rule { kind: LimitKind::Concurrency, ..rule(Selector::EachKey, quota(1.0, 1)) };
    assert_eq!(rig.limits.set(rate), Err(RuleError::BoundDoesNotSuit));
    let number = Rule { bound: Bound::AtOnce(3), ..rule(Selector::EachKey, quota(1.0, 1)) };
    assert_eq!(rig.limits.set(number.clone()), Err(RuleError::BoundDoesNotSuit));
    rig.limits.set(Rule { kind: LimitKind::Concurrency, ..number }).unwrap();
    assert_eq!(rig.limits.at_once(Scope::Key(9)).map(|(limit, _)| limit), Some(3));
    assert!(rig.limits.list().len() == 1 && rig.limits.at_once(Scope::All).is_none());
}

#[test]
fn quotas_have_a_range() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e8, 1e-9] {
        assert!(Quota::per_second(bad, 1).is_err(), "{bad}");
    }
    assert!(Quota::per_second(1.0, BURST_MAX + 1).is_err());
    let widest = Quota::per_second(0.001, BURST_MAX).unwrap();
    let now = weir_protect::Nanos::from_nanos(u64::MAX / 2);
    assert!(matches!(gcra::check(widest, now, now), Verdict::Admit(_)), "no overflow at the widest");
}

/// 70,000 distinct quotas, more than can be numbered: the numbers of those no longer in force are given out
/// again.
#[test]
fn numbers_of_old_quotas_are_reused() {
    let rig = Rig::new(64);
    for i in 0..70_000_u32 {
        rig.set(Selector::EachKey, quota(1.0 + f64::from(i) / 16.0, 1));
    }
    assert_eq!(rig.burst(KEY, 10), 1);
}

#[test]
fn memory_is_flat_under_random_keys() {
    let rig = Rig::new(1 << 10);
    rig.set(Selector::EachKey, quota(1.0, 1));
    let before = rig.limits.bytes();
    for key in 0..100_000 {
        rig.admit(&[Scope::Key(key)]);
    }
    assert_eq!(rig.limits.bytes(), before);
    assert!(before <= 1024 * 16 + 128 * 64, "{before} bytes for 1,024 slots");
    let _: &Limits = &rig.limits;
}

#[test]
fn a_peek_tells_what_a_charge_would_and_changes_nothing() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(1.0, 2));
    let peek = || rig.limits.peek(KEY, LimitKind::Requests, rig.clock.now());
    for _ in 0..5 {
        assert!(peek().is_none(), "it takes nothing");
    }
    assert!(rig.admit(KEY) && rig.admit(KEY));
    let refusal = peek().expect("the burst is used up");
    assert_eq!(refusal.reason, RefusalReason::RequestLimit);
    assert_eq!(refusal.retry_after, Duration::from_secs(1));
    assert!(rig.limits.peek(&[Scope::Key(2)], LimitKind::Requests, rig.clock.now()).is_none());
    rig.clock.advance(Duration::from_secs(1));
    assert!(peek().is_none());
    assert!(rig.admit(KEY) && !rig.admit(KEY));
    assert_eq!(rig.limits.list()[0].refused, 1, "a look is not counted");
}

/// Several cells together are as many single ones at one moment, or none of them.
#[test]
fn an_amount_is_charged_whole_or_not_at_all() {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 5));
    let charge = |amount| rig.limits.charge_many(KEY, LimitKind::Requests, amount, rig.clock.now());
    assert!(charge(3).is_ok());
    let refusal = charge(3).unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.retry_after),
        (RefusalReason::RequestLimit, Duration::from_millis(100))
    );
    assert!(charge(2).is_ok(), "the refused ones were not taken");
    assert!(charge(1).is_err());
    let never = charge(6).unwrap_err();
    assert_eq!((never.reason, never.retry_after), (RefusalReason::BeyondBurst, Duration::ZERO));
    rig.clock.advance(Duration::from_millis(500));
    assert!(charge(5).is_ok(), "a whole burst after the time in which it fills");
}
