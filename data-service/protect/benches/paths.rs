//! What the layer costs: the limiter for each check and each key beside `governor`, and the hit, join and
//! lead paths.
//!
//! `cargo bench -p weir-protect`. Contenders take turns (A-B-B-A) so that a busy machine hits both; the
//! report gives the median and the worst round. Times are the thread's own (time that it did not run is not
//! counted), so that other work on the machine shows less.
#![cfg(not(weir_loom))]
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its report")]

use std::{
    collections::HashMap,
    convert::Infallible,
    hint::black_box,
    num::NonZeroU32,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use weir_protect::{
    Bound, Clock, Gate, LimitKind, Limits, PageCache, Protect, ProtectConfig, Query, Quota, ReadContext,
    ReadRequest, Rule, Scope, Scopes, Selector, Stamped, Store, TokioClock, Value,
};
use weir_report::{Goal, Report};

const KEYS: u64 = 1_000_000;
const ROUNDS: usize = 11;

type Keyed = governor::DefaultKeyedRateLimiter<u64>;

fn main() {
    let mut report = Report::new("protect", "What the protection layer costs, in the thread's own time");
    report.setting("rounds", ROUNDS);
    report.setting("keys", KEYS);
    limiter(&mut report);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(reads(&mut report));
    report.finish().unwrap();
}

/// Pseudo-random, so that each check meets a cold cache line as it would in service.
fn shuffled(i: u64) -> u64 {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7) % KEYS
}

/// One rule for each key, 10/s with a burst of 20.
fn limiter(report: &mut Report) {
    let before = resident();
    let ours = limits(1 << 20);
    let mut admitted = 0_u64;
    let clock = TokioClock::new();
    (0..KEYS).for_each(|key| {
        admitted += u64::from(ours.charge(&[Scope::Key(key)], REQUESTS, clock.now()).is_ok())
    });
    let middle = resident();
    let quota =
        governor::Quota::per_second(NonZeroU32::new(10).unwrap()).allow_burst(NonZeroU32::new(20).unwrap());
    let theirs = Keyed::keyed(quota);
    (0..KEYS).for_each(|key| admitted += u64::from(theirs.check_key(&key).is_ok()));
    let after = resident();
    assert_eq!(admitted, 2 * KEYS, "every first request is within its burst");
    let per_key = |bytes: u64| bytes as f64 / KEYS as f64;
    let ours_bytes = report.series("limiter, weir", "bytes/key", vec![per_key(middle - before)]);
    let theirs_bytes = report.series("limiter, governor", "bytes/key", vec![per_key(after - middle)]);
    report.ratio("limiter, bytes a key: weir / governor", ours_bytes, theirs_bytes, Some(Goal::AtMost(0.5)));
    report.note(format!("the limiter's table alone: {:.1} bytes a key", per_key(ours.bytes() as u64)));
    let n = 1_000_000;
    let a = || {
        (0..n).for_each(|i| drop(black_box(ours.charge(&[Scope::Key(shuffled(i))], REQUESTS, clock.now()))))
    };
    let b = || (0..n).for_each(|i| drop(black_box(theirs.check_key(&shuffled(i)))));
    versus(report, "spread", n, a, b);
    let a = || (0..n).for_each(|_| drop(black_box(ours.charge(&[Scope::Key(7)], REQUESTS, clock.now()))));
    let b = || (0..n).for_each(|_| drop(black_box(theirs.check_key(&7))));
    versus(report, "one key", n, a, b);
    let a = || {
        two_threads(|i| drop(black_box(ours.charge(&[Scope::Key(shuffled(i))], REQUESTS, clock.now()))), n)
    };
    let b = || two_threads(|i| drop(black_box(theirs.check_key(&shuffled(i)))), n);
    versus(report, "2 threads", n, a, b);
    let before = resident();
    for i in 0..10_000_000_u64 {
        drop(black_box(ours.charge(&[Scope::Key(i ^ 0x5555_0000_0000)], REQUESTS, clock.now())));
    }
    report.note(format!(
        "10,000,000 random keys: {:+} KiB resident",
        resident().cast_signed() / 1024 - before.cast_signed() / 1024
    ));
}

const REQUESTS: LimitKind = LimitKind::Requests;

fn limits(slots: usize) -> Limits {
    let limits = Limits::new(slots, Arc::new(TokioClock::new()));
    let bound = Bound::Rate(Quota::per_second(10.0, 20).unwrap());
    let (name, selector, kind) = ("each".into(), Selector::EachKey, REQUESTS);
    limits.set(Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false }).unwrap();
    limits
}

/// The calling thread does half of the work, beside another; its own time is what counts.
fn two_threads(act: impl Fn(u64) + Sync, n: u64) {
    std::thread::scope(|scope| {
        scope.spawn(|| (0..n).for_each(&act));
        (n..2 * n).for_each(&act);
    });
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn versus(report: &mut Report, what: &str, n: u64, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            a.push(timed(n, &mut ours));
            b.push(timed(n, &mut theirs));
        } else {
            b.push(timed(n, &mut theirs));
            a.push(timed(n, &mut ours));
        }
    }
    let a = report.series(&format!("limiter, {what}, weir"), "ns", a);
    let b = report.series(&format!("limiter, {what}, governor"), "ns", b);
    report.ratio(&format!("limiter, {what}: weir / governor"), a, b, Some(Goal::AtMost(1.0)));
}

fn timed(n: u64, act: &mut impl FnMut()) -> f64 {
    let begun = Stopwatch::start();
    act();
    begun.ns() / n as f64
}

/// This thread's own time; wall time where the kernel does not tell.
struct Stopwatch(Option<u64>, Instant);

impl Stopwatch {
    fn start() -> Self {
        Self(cpu_ns(), Instant::now())
    }

    fn ns(&self) -> f64 {
        let cpu = cpu_ns().zip(self.0).map(|(end, begin)| (end - begin) as f64);
        cpu.unwrap_or_else(|| self.1.elapsed().as_nanos() as f64)
    }
}

/// Nanoseconds that this thread has run, where the kernel tells (to a few milliseconds).
fn cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// Answers at once, or when it is let go.
struct Instantly {
    open: watch::Receiver<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Page(u32);

impl Query for Page {}

#[derive(Debug, Clone)]
struct Body(Arc<[u8]>);

impl Value<Page> for Body {}

impl Store for Instantly {
    type Key = u64;
    type Query = Page;
    type Value = Body;
    type Error = Infallible;

    async fn read(&self, _: &u64, _: &Page, _: ReadContext) -> Result<Body, Infallible> {
        let mut open = self.open.clone();
        let _ = open.wait_for(|open| *open).await;
        Ok(Body(Arc::from([0; 64])))
    }
}

#[derive(Default)]
struct Map(RwLock<HashMap<(u64, Page), Stamped<Body>>>);

impl PageCache<u64, Page, Body> for Map {
    fn get(&self, key: &u64, query: &Page) -> Option<Stamped<Body>> {
        self.0.read().unwrap().get(&(*key, *query)).cloned()
    }

    fn put(&self, key: &u64, query: &Page, entry: Stamped<Body>) {
        self.0.write().unwrap().insert((*key, *query), entry);
    }
}

/// Six limits in force, a store that answers at once, a current-thread runtime.
async fn reads(report: &mut Report) {
    let (gate, open) = watch::channel(true);
    let layer =
        Protect::builder(Instantly { open }).cache(Arc::new(Map::default())).config(ProtectConfig::default());
    let layer = layer.build();
    for selector in [Selector::EachKey, Selector::EachGroup, Selector::One(Scope::All)] {
        for kind in [LimitKind::Requests, LimitKind::DatabaseReads] {
            let bound = Bound::Rate(Quota::per_second(10_000_000.0, 1_000_000).unwrap());
            layer
                .limits()
                .set(Rule { name: "x".into(), selector, kind, bound, expires_at_ms: None, dry_run: false })
                .unwrap();
        }
    }
    let request = |page| {
        let deadline = layer.clock().now().after(Duration::from_secs(60));
        let scopes = Scopes::new(&[Scope::Key(1), Scope::Group(1), Scope::All]);
        ReadRequest { scopes, ..ReadRequest::new(1, Page(page), deadline) }
    };
    layer.read(request(0)).await.unwrap();
    let n: u32 = 200_000;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Stopwatch::start();
        for _ in 0..n {
            black_box(layer.read(request(0)).await.unwrap().value.0.len());
        }
        rounds.push(begun.ns() / f64::from(n));
    }
    report.series("hit", "ns", rounds);
    layer.gates().set(Gate::Cache, false);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Stopwatch::start();
        for page in 0..n / 4 {
            black_box(layer.read(request(page)).await.unwrap().value.0.len());
        }
        rounds.push(begun.ns() / f64::from(n / 4));
    }
    report.series("lead (task and store read included)", "ns", rounds);
    let (mut joins, mut wakes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        gate.send_replace(false);
        let begun = Stopwatch::start();
        let readers: Vec<_> = (0..20_000)
            .map(|_| {
                let (layer, request) = (layer.clone(), request(0));
                tokio::spawn(async move { layer.read(request).await.map(|reply| reply.outcome()) })
            })
            .collect();
        while layer.flights() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        joins.push(begun.ns() / 20_000.0);
        let begun = Stopwatch::start();
        gate.send_replace(true);
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        wakes.push(begun.ns() / 20_000.0);
    }
    report.series("join (task spawn included)", "ns", joins);
    report.series("wake, reply and task end, of 20,000", "ns", wakes);
}
