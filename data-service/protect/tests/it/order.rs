//! The order of the gates: a request that is refused at one gate has not touched the later ones.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use weir_protect::{
    Bound, Gate, LimitKind, Nanos, NoCache, Observer, Outcome, PageCache, Protect, ProtectConfig, Quota,
    ReadContext, ReadError, ReadRequest, RefusalReason, Rule, Scope, Scopes, Selector, Stage, Stamped, Store,
    TailAnswer, TailSource,
};

use crate::fake::{Broken, LATEST, MS, Page, Rows, page_of, pause, settle};

/// Every gate's collaborator writes down that it was asked.
#[derive(Debug, Clone, Default)]
struct Trace(Arc<Mutex<Vec<&'static str>>>);

impl Trace {
    fn say(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Store for Trace {
    type Key = u64;
    type Query = Page;
    type Value = Rows;
    type Error = Broken;

    async fn read(&self, _: &u64, query: &Page, _: ReadContext) -> Result<Rows, Broken> {
        self.say("store");
        pause(10 * MS).await;
        Ok(page_of(&[1, 2, 3], *query))
    }
}

impl TailSource<u64, Page, Rows> for Trace {
    fn serve(&self, _: &u64, _: &Page) -> Option<TailAnswer<Rows>> {
        self.say("tail");
        None
    }
}

impl PageCache<u64, Page, Rows> for Trace {
    fn get(&self, _: &u64, _: &Page) -> Option<Stamped<Rows>> {
        self.say("cache");
        None
    }

    fn put(&self, _: &u64, _: &Page, _: Stamped<Rows>) {
        self.say("fill");
    }
}

impl Observer<u64> for Trace {
    fn on_read(&self, _: &u64, outcome: Outcome, _: Duration) {
        self.say(outcome.label());
    }

    fn on_refused(&self, _: &u64, reason: RefusalReason) {
        self.say(reason.label());
    }

    fn on_db_read(&self, _: &u64, _: Duration, ok: bool, waiters: u32) {
        assert!(ok && waiters == 1);
        self.say("db_read");
    }
}

fn traced(config: ProtectConfig) -> (Trace, Protect<Trace>) {
    let trace = Trace::default();
    let part = || Arc::new(trace.clone());
    let builder = Protect::builder(trace.clone()).config(ProtectConfig { generation_cells: 16, ..config });
    let layer = builder.tail(part()).cache(part()).observer(part()).build();
    (trace, layer)
}

fn request(layer: &Protect<Trace>) -> ReadRequest<u64, Page> {
    let deadline = layer.clock().now().after(Duration::from_secs(10));
    ReadRequest { scopes: Scopes::new(&[Scope::Key(1)]), ..ReadRequest::new(1, LATEST, deadline) }
}

fn block(layer: &Protect<Trace>, kind: LimitKind) {
    let bound = match kind {
        LimitKind::Concurrency => Bound::AtOnce(0),
        LimitKind::Requests | LimitKind::DatabaseReads | LimitKind::Writes => Bound::Rate(Quota::BLOCKED),
    };
    let (name, selector) = ("blocked".into(), Selector::EachKey);
    layer.limits().set(Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false }).unwrap();
}

const ALL: [&str; 7] = ["tail", "cache", "cache", "store", "db_read", "fill", "led"];

#[tokio::test(start_paused = true)]
async fn a_read_meets_the_gates_in_their_order() {
    let (trace, layer) = traced(ProtectConfig::default());
    layer.read(request(&layer)).await.unwrap();
    assert_eq!(trace.take(), ALL);
}

/// From the last gate to the first: each refuses before anything behind it is touched.
#[tokio::test(start_paused = true)]
async fn each_gate_refuses_before_the_next() {
    let (trace, layer) = traced(ProtectConfig::default());
    for (kind, seen) in [
        (LimitKind::Concurrency, &["tail", "cache", "cache", "concurrency_queue_full"][..]),
        (LimitKind::DatabaseReads, &["tail", "cache", "cache", "database_read_limit"]),
        (LimitKind::Requests, &["request_limit"]),
    ] {
        block(&layer, kind);
        let refusal = layer.read(request(&layer)).await.unwrap_err();
        assert_eq!(refusal.refusal().unwrap().limit.as_ref(), "blocked");
        assert_eq!(trace.take(), seen);
    }
    let late = ReadRequest { deadline: Nanos::ZERO, ..request(&layer) };
    let late = layer.read(late).await.unwrap_err();
    assert_eq!(late, ReadError::DeadlineExceeded { stage: Stage::Arrival });
    assert_eq!(trace.take(), [""; 0], "a late request meets no gate");
    assert_eq!(layer.flights(), 0);
}

/// A full flight table refuses between the cache and the database's budget.
#[tokio::test(start_paused = true)]
async fn full_flight_table_refuses_after_the_cache() {
    let (trace, layer) = traced(ProtectConfig { flights_max: 0, ..ProtectConfig::default() });
    let refused = layer.read(request(&layer)).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().reason, RefusalReason::FlightsFull);
    assert_eq!(trace.take(), ["tail", "cache", "cache", "flights_full"]);
}

/// Hits and joined reads spend no database budget: a budget of one read serves everyone.
#[tokio::test(start_paused = true)]
async fn hits_and_joined_reads_cost_no_budget() {
    let bed = crate::fake::Bed::new();
    let bound = Bound::Rate(Quota::per_second(0.001, 1).unwrap());
    let (name, selector, kind) = ("one".into(), Selector::EachKey, LimitKind::DatabaseReads);
    bed.layer
        .limits()
        .set(Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false })
        .unwrap();
    let scoped = || ReadRequest { scopes: Scopes::new(&[Scope::Key(1)]), ..bed.request(LATEST) };
    let reads: Vec<_> = (0..50).map(|_| crate::scenario::flights::spawn(&bed, scoped())).collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(bed.layer.read(scoped()).await.unwrap().outcome(), Outcome::Hit);
    let other = crate::fake::but(scoped(), |page| page.query = Page::latest(9));
    let refused = bed.layer.read(other).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().reason, RefusalReason::DatabaseReadLimit);
    assert_eq!(bed.store.starts(), 1);
}

/// Each switch takes exactly its gate out of the path, live.
#[tokio::test(start_paused = true)]
async fn switches_take_gates_out() {
    let (trace, layer) = traced(ProtectConfig::default());
    for kind in [LimitKind::Requests, LimitKind::DatabaseReads, LimitKind::Concurrency] {
        block(&layer, kind);
    }
    for (gate, seen) in [
        (Gate::RequestLimit, &["tail", "cache", "cache", "database_read_limit"][..]),
        (Gate::DatabaseReadLimit, &["tail", "cache", "cache", "concurrency_queue_full"]),
        (Gate::Concurrency, &ALL),
        // A leader that coalesces with nobody looks into the cache once.
        (Gate::Coalesce, &["tail", "cache", "store", "db_read", "fill", "led"]),
        (Gate::Cache, &["store", "db_read", "led"]),
    ] {
        layer.gates().set(gate, false);
        assert!(!layer.gates().is_on(gate));
        let _ = layer.read(request(&layer)).await;
        assert_eq!(trace.take(), seen, "without {}", gate.label());
    }
    Gate::ALL.into_iter().for_each(|gate| layer.gates().set(gate, true));
    assert!(layer.read(request(&layer)).await.is_err());
}

/// With coalescing off each caller reads for itself.
#[tokio::test(start_paused = true)]
async fn without_coalescing_each_reads() {
    let bed = crate::fake::Bed::with(|config| config.partition_concurrency = NonZeroU32::new(100));
    bed.layer.gates().set(Gate::Coalesce, false);
    let reads: Vec<_> = (0..10).map(|_| crate::scenario::flights::spawn(&bed, bed.request(LATEST))).collect();
    settle().await;
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().outcome(), Outcome::Led);
    }
    assert_eq!(bed.store.starts(), 10);
}

#[test]
fn no_cache_holds_nothing() {
    let entry: Option<Stamped<Rows>> = NoCache.get(&1_u64, &LATEST);
    assert!(entry.is_none());
}
