//! Hazard 8: many registers, each with one write, its insert. "Not found" is a value like any other: a read
//! that returns it after the insert was acknowledged is stale.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use weir_protect::{
    Change, Clock, Dependence, Outcome, Protect, ProtectConfig, Query, ReadContext, ReadRequest, Store,
    TokioClock, Value,
};

use crate::{
    checker::{Kind, Operation, atomic, regular},
    fake::{Broken, MapCache, Seeded, Verdict, must, pause},
};

/// Registers, spread over the partitions.
const ROWS: u64 = 12;
const PARTITIONS: u64 = 3;

/// One row of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Point(u64);

impl Query for Point {}

/// Whether the row is there.
#[derive(Debug, Clone)]
struct Found(bool);

impl Value<Point> for Found {
    /// A row that is there is only altered. One that is not there may be appended.
    fn dependence(&self, _: &Point, requested: Dependence) -> Dependence {
        if self.0 { Dependence::Mutate } else { requested }
    }
}

#[derive(Debug, Clone)]
struct Rows {
    rows: Arc<Mutex<HashSet<u64>>>,
    random: Arc<Mutex<Seeded>>,
    /// Whether reads take effect in the order in which they were sent.
    in_order: bool,
}

impl Store for Rows {
    type Key = u64;
    type Query = Point;
    type Value = Found;
    type Error = Broken;

    async fn read(&self, _: &u64, row: &Point, _: ReadContext) -> Result<Found, Broken> {
        let [before, after] = [(); 2].map(|()| self.random.lock().unwrap().up_to(20));
        if !self.in_order {
            pause(before).await;
        }
        let found = self.rows.lock().unwrap().contains(&row.0);
        pause(after).await;
        Ok(Found(found))
    }
}

#[derive(Clone)]
struct Registers {
    store: Rows,
    layer: Protect<Rows>,
    histories: Arc<Mutex<HashMap<u64, Vec<Operation>>>>,
    origin: Instant,
}

impl Registers {
    fn new(seed: u64, in_order: bool) -> Self {
        let random = Arc::new(Mutex::new(Seeded(seed)));
        let store = Rows { rows: Arc::default(), random, in_order };
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        // As many cells as three partitions need in order not to hide each other's missing bumps.
        let config = ProtectConfig { generation_cells: 1 << 10, ..ProtectConfig::default() };
        let cache = Arc::new(MapCache::<Point, Found>::default());
        let layer = Protect::builder(store.clone()).config(config).clock(clock).cache(cache).build();
        Self { store, layer, histories: Arc::default(), origin: Instant::now() }
    }

    async fn read(&self, row: u64) -> (bool, Outcome) {
        let (partition, begun) = (row % PARTITIONS, self.origin.elapsed());
        let deadline = self.layer.clock().now().after(Duration::from_secs(60));
        let read = self.layer.read(ReadRequest::new(partition, Point(row), deadline)).await.unwrap();
        let value = u64::from(read.value.0);
        self.record(row, Operation { kind: Kind::Read, value, begun, ended: self.origin.elapsed() });
        (read.value.0, read.outcome())
    }

    async fn insert(&self, row: u64, before: Duration, after: Duration) {
        let (partition, begun) = (row % PARTITIONS, self.origin.elapsed());
        let pending = self.layer.generations().write(&partition, Change::Append);
        pause(before).await;
        self.store.rows.lock().unwrap().insert(row);
        pause(after).await;
        pending.settle();
        self.record(row, Operation { kind: Kind::Write, value: 1, begun, ended: self.origin.elapsed() });
    }

    fn record(&self, row: u64, operation: Operation) {
        self.histories.lock().unwrap().entry(row).or_default().push(operation);
    }
}

/// Every row is read until its absence is cached, then inserted while readers race, then read again.
async fn absence_is_a_value(seed: u64, in_order: bool) -> Verdict {
    let registers = Registers::new(seed, in_order);
    for row in 0..ROWS {
        let (missing, cached) = (registers.read(row).await, registers.read(row).await);
        must(!missing.0 && cached == (false, Outcome::Hit), || format!("absence is not cached: {cached:?}"))?;
    }
    let mut tasks = Vec::new();
    for reader in 0..4 {
        let (registers, mut random) = (registers.clone(), Seeded(seed ^ (reader + 1)));
        tasks.push(tokio::spawn(async move {
            for _ in 0..60 {
                pause(random.up_to(10)).await;
                registers.read(random.below(ROWS)).await;
            }
        }));
    }
    // One writer, in an order that follows from the seed: 5 and 12 have no common factor.
    let mut random = Seeded(seed);
    let first = random.below(ROWS);
    for step in 0..ROWS {
        pause(random.up_to(20)).await;
        let (before, after) = (random.up_to(10), random.up_to(10));
        registers.insert((first + step * 5) % ROWS, before, after).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    for row in 0..ROWS {
        registers.read(row).await;
    }
    let check = if in_order { atomic } else { regular };
    for (row, history) in &*registers.histories.lock().unwrap() {
        check(history).map_err(|violation| format!("row {row}, seed {seed}: {violation}"))?;
    }
    Ok(())
}

/// A hundred seeds, each in a runtime of its own.
fn absence_is_always_a_value(in_order: bool) {
    for seed in (u64::from(!in_order)..200).step_by(2) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let verdict = runtime.unwrap().block_on(absence_is_a_value(seed, in_order));
        assert_eq!(verdict, Ok(()));
    }
}

#[test]
fn hazard_08_absence_is_a_value() {
    absence_is_always_a_value(false);
}

#[test]
fn hazard_08_absence_is_a_value_over_a_store_that_keeps_the_order() {
    absence_is_always_a_value(true);
}
