//! Rates: the cells admitted in any window, across changes of quota, steps of the clock and full tables.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use weir_protect::{Bound, Clock, LimitKind, Limits, ManualClock, Nanos, Quota, Rule, Scope, Selector};

use crate::fake::{Verdict, must};

pub(crate) fn quota(rate: f64, burst: u32) -> Quota {
    Quota::per_second(rate, burst).unwrap()
}

pub(crate) fn rule(selector: Selector, quota: Quota) -> Rule {
    Rule {
        name: "test".into(),
        selector,
        kind: LimitKind::Requests,
        bound: Bound::Rate(quota),
        expires_at_ms: None,
        dry_run: false,
    }
}

/// Limits on a clock of their own.
pub(crate) struct Rig {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) limits: Arc<Limits>,
}

impl Rig {
    pub(crate) fn new(slots: usize) -> Self {
        let clock = Arc::new(ManualClock::new(Nanos::from_nanos(3_600_000_000_000)));
        let limits = Arc::new(Limits::new(slots, Arc::clone(&clock) as _));
        Self { clock, limits }
    }

    pub(crate) fn set(&self, selector: Selector, quota: Quota) {
        self.limits.set(rule(selector, quota)).unwrap();
    }

    pub(crate) fn admit(&self, scopes: &[Scope]) -> bool {
        self.limits.charge(scopes, LimitKind::Requests, self.clock.now()).is_ok()
    }

    /// How many of `tries` requests at this moment are admitted.
    pub(crate) fn burst(&self, scopes: &[Scope], tries: usize) -> usize {
        (0..tries).filter(|_| self.admit(scopes)).count()
    }
}

const KEY: &[Scope] = &[Scope::Key(1)];

/// Hazard 24: threads race for the last cells of a burst, at one moment.
pub(crate) async fn over_admission_under_contention() -> Verdict {
    const BURST: usize = 5;
    let threads = 4;
    for _ in 0..200 {
        let rig = Rig::new(64);
        rig.set(Selector::EachKey, quota(1.0, u32::try_from(BURST).unwrap()));
        let (admitted, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(threads)));
        let race = || {
            let (limits, now) = (Arc::clone(&rig.limits), rig.clock.now());
            let (admitted, barrier) = (Arc::clone(&admitted), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                for _ in 0..BURST {
                    if limits.charge(KEY, LimitKind::Requests, now).is_ok() {
                        admitted.fetch_add(1, SeqCst);
                    }
                }
            })
        };
        let racing: Vec<_> = (0..threads).map(|_| race()).collect();
        racing.into_iter().for_each(|thread| thread.join().unwrap());
        let admitted = admitted.load(SeqCst);
        must(admitted == BURST, || format!("{admitted} admitted of a burst of {BURST}"))?;
    }
    Ok(())
}

/// Rule 13: a refused channel must not have charged its guild.
pub(crate) async fn refused_child_charges_its_parent() -> Verdict {
    let rig = Rig::new(64);
    rig.set(Selector::One(Scope::Key(1)), quota(1.0, 1));
    rig.set(Selector::EachGroup, quota(1.0, 10));
    let child = &[Scope::Group(9), Scope::Key(1)];
    let admitted = rig.burst(child, 100);
    must(admitted == 1, || format!("{admitted} admitted of a burst of 1"))?;
    let parent = rig.burst(&[Scope::Group(9)], 100);
    must(parent == 9, || format!("{parent} left of 9 for the rest of the group"))
}

/// Hazard 25: b10 becomes b50 when `used` of the ten tokens are gone; then b50 becomes b10. With none used
/// the key has no slot when the quota changes.
pub(crate) async fn changed_quota(used: usize) -> Verdict {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 10));
    must(rig.burst(KEY, used) == used, || "the first burst is short".to_owned())?;
    rig.set(Selector::EachKey, quota(100.0, 50));
    let at_once = rig.burst(KEY, 100);
    must(at_once == 10 - used, || format!("raised with {} in hand: {at_once} admitted", 10 - used))?;
    rig.clock.advance(Duration::from_millis(100));
    let tenth = rig.burst(KEY, 100);
    must(tenth == 10, || format!("{tenth} admitted in 100 ms at 100/s: the change is ignored"))?;
    rig.clock.advance(Duration::from_secs(10));
    rig.set(Selector::EachKey, quota(10.0, 10));
    let lowered = rig.burst(KEY, 100);
    must(lowered == 10, || format!("lowered: {lowered} admitted at once"))
}

/// Hazard 26: the clock steps back, three times. Each time the key counts as empty, and fills from there at
/// its rate: so a clock that steps grants nothing, and blocks nobody for as long as it stepped.
pub(crate) async fn clock_steps_back() -> Verdict {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 10));
    must(rig.burst(KEY, 100) == 10, || "the first burst is not 10".to_owned())?;
    for step in 1..=3 {
        rig.clock.set(rig.clock.now().before(Duration::from_secs(1_000)));
        let at_once = rig.burst(KEY, 100);
        must(at_once == 0, || format!("step {step} granted {at_once}"))?;
        rig.clock.advance(Duration::from_millis(500));
        let filled = rig.burst(KEY, 100);
        must(filled > 0, || format!("blocked for as long as step {step}"))?;
        must(filled == 5, || format!("{filled} admitted 500 ms after step {step}"))?;
        rig.clock.advance(Duration::from_secs(2));
        let full = rig.burst(KEY, 100);
        must(full == 10, || format!("{full} admitted when full again after step {step}"))?;
    }
    Ok(())
}

/// Hazard 26: the limit was changed before the step; a key that nobody has seen is told when to come back,
/// and it is not when the clock shows that time again.
pub(crate) async fn clock_steps_back_before_a_change() -> Verdict {
    let rig = Rig::new(64);
    rig.set(Selector::EachKey, quota(10.0, 10));
    rig.set(Selector::EachKey, quota(100.0, 50));
    rig.clock.set(rig.clock.now().before(Duration::from_secs(1_000)));
    let peeked = rig.limits.peek(KEY, LimitKind::Requests, rig.clock.now());
    let charged = rig.limits.charge(KEY, LimitKind::Requests, rig.clock.now());
    must(peeked.as_ref() == charged.as_ref().err(), || format!("peeked {peeked:?}, charged {charged:?}"))?;
    let wait = charged.map_or_else(|refusal| refusal.retry_after, |_| Duration::ZERO);
    must(wait <= Duration::from_millis(10), || format!("an unseen key is blocked for {wait:?}"))?;
    must(!wait.is_zero(), || "the step granted an unseen key something".to_owned())
}

/// Rule 13: a caller rotates keys through a full table; it must not get a fresh burst for each.
pub(crate) async fn rotated_keys() -> Verdict {
    let slots = 64;
    let rig = Rig::new(slots);
    rig.set(Selector::EachKey, quota(1.0, 2));
    let admitted: usize = (0..10_000).map(|key| rig.burst(&[Scope::Key(key)], 2)).sum();
    must(admitted <= slots * 2, || format!("{admitted} admitted through {slots} slots of burst 2"))
}
