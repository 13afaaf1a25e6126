//! Exhaustive interleavings of the cores, up to three preemptions.
//!
//! `RUSTFLAGS="--cfg weir_loom" cargo test -p weir-protect --release --test loom`. In every other build this
//! file is empty.
#![cfg(weir_loom)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may unwrap")]

use std::{
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    thread,
};
use weir_protect::{
    Bound, Dependence, Generation, Generations, LimitKind, Limits, ManualClock, Nanos, Priority, Quota, Rule,
    Scope, Selector, Stamped,
    concurrency::ConcurrencyGate,
    flight::{Entered, FlightTable, Lead, Want, table::Begun},
};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Remembers that it was called. Not modelled: the slot's lock orders it.
#[derive(Default)]
struct Called(std::sync::atomic::AtomicBool);

impl Wake for Called {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, called: &std::sync::Arc<Called>) -> Poll<F::Output> {
    let waker = Waker::from(std::sync::Arc::clone(called));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

// ---- hazards 3, 4 and 5: fill, writers, reader -----------------------------------------------------------

/// A cache of one page beside a database of two bits. Whether the page is put and whether it is a hit is
/// decided by the functions that decide it in the layer.
#[derive(Clone)]
struct Cached {
    database: Arc<AtomicU64>,
    acknowledged: Arc<AtomicU64>,
    generations: Arc<Generations>,
    page: Arc<Mutex<Option<Stamped<u64>>>>,
}

impl Cached {
    fn new() -> Self {
        Self {
            database: Arc::new(AtomicU64::new(0)),
            acknowledged: Arc::new(AtomicU64::new(0)),
            generations: Arc::new(Generations::new(1)),
            page: Arc::new(Mutex::new(None)),
        }
    }

    /// A flight: the generation is captured, the database is read, the page is put.
    fn fill(&self) {
        let generation = self.generations.snapshot(&1);
        let value = self.database.load(SeqCst);
        let (dependence, floor, read_at) = (Dependence::Append, 0, Nanos::ZERO);
        let page = Stamped { value, generation, dependence, floor, read_at };
        if page.is_worth_keeping(&1, &self.generations) {
            *self.page.lock().unwrap() = Some(page);
        }
    }

    fn write(&self, bit: u64) {
        self.database.fetch_or(bit, SeqCst);
        self.generations.bump_append(&1);
        self.acknowledged.fetch_or(bit, SeqCst);
    }

    fn write_through(&self, bit: u64) {
        self.database.fetch_or(bit, SeqCst);
        self.generations.bump_append(&1);
        self.fill();
        self.acknowledged.fetch_or(bit, SeqCst);
    }

    /// A write that timed out and lands before its fate is known.
    fn write_late(&self, bit: u64) {
        self.generations.mark_unresolved(&1);
        self.database.fetch_or(bit, SeqCst);
        self.generations.mark_resolved(&1);
        self.acknowledged.fetch_or(bit, SeqCst);
    }

    /// A hit contains everything that was acknowledged before it was asked for.
    fn hit(&self) {
        let acknowledged = self.acknowledged.load(SeqCst);
        let page = self.page.lock().unwrap().clone();
        if let Some(page) = page.filter(|page| page.is_current(&1, &self.generations)) {
            assert_eq!(page.value & acknowledged, acknowledged, "a hit misses an acknowledged write");
        }
    }

    /// Runs `act` in a thread of its own.
    fn spawn(&self, act: fn(&Self)) -> thread::JoinHandle<()> {
        let cached = self.clone();
        thread::spawn(move || act(&cached))
    }
}

/// The writer puts what it has written into the cache; an older flight may not put its page over it.
fn filler_writer_through_and_reader() {
    let cached = Cached::new();
    let threads = [cached.spawn(Cached::fill), cached.spawn(|c| c.write_through(1))];
    cached.hit();
    threads.into_iter().for_each(|t| t.join().unwrap());
    cached.hit();
}

#[test]
fn hazard_03_write_through_races_a_fill() {
    explore(filler_writer_through_and_reader);
}

fn filler_two_writers_and_reader() {
    let cached = Cached::new();
    let threads = [cached.spawn(Cached::fill), cached.spawn(|c| c.write(1)), cached.spawn(|c| c.write(2))];
    cached.hit();
    threads.into_iter().for_each(|t| t.join().unwrap());
    cached.hit();
}

#[test]
fn hazard_04_stamped_fill_races_two_writers_and_a_reader() {
    explore(filler_two_writers_and_reader);
}

/// Nothing that was filled while a write was unresolved is served once it is resolved.
fn filler_late_writer_and_reader() {
    let cached = Cached::new();
    let (writer, filler) = (cached.spawn(|c| c.write_late(1)), cached.spawn(Cached::fill));
    cached.hit();
    writer.join().unwrap();
    cached.hit();
    filler.join().unwrap();
    cached.hit();
}

#[test]
fn hazard_05_unresolved_window_leaves_nothing_behind() {
    explore(filler_late_writer_and_reader);
}

// ---- hazards 7, 10 and 15: the flight --------------------------------------------------------------------

type Table = FlightTable<u64, u64, Result<u64, ()>>;

fn enter(table: &std::sync::Arc<Table>) -> Entered<u64, u64, Result<u64, ()>, ()> {
    enter_with(table, None)
}

fn enter_with(table: &std::sync::Arc<Table>, floor: Option<u64>) -> Entered<u64, u64, Result<u64, ()>, ()> {
    let (dependence, priority) = (Dependence::Append, Priority::Interactive);
    let want = Want { dependence, floor, deadline: Nanos::NEVER, priority };
    table.enter(&1, &1, &[], &want, Generation::default, || None)
}

/// Runs a flight as the shell does; `reading` counts reads of this generation in the store.
fn run(lead: Lead<u64, u64, Result<u64, ()>>, reading: &AtomicU32, starts: &AtomicU32) {
    let begun = Begun { generation: Generation::default(), floor: 0 };
    if lead.begin(Nanos::ZERO, begun, true).is_none() {
        return lead.finish(Err(()));
    }
    starts.fetch_add(1, SeqCst);
    assert_eq!(reading.fetch_add(1, SeqCst), 0, "two flights of one generation");
    reading.fetch_sub(1, SeqCst);
    lead.finish(Ok(7));
}

/// Reads a store that asks a quorum, and so sees the 3, only for a caller with a token.
fn read_replicas(lead: Lead<u64, u64, Result<u64, ()>>) {
    let begun = Begun { generation: Generation::default(), floor: 3 };
    if lead.begin(Nanos::ZERO, begun, false).is_none() {
        return lead.finish(Err(()));
    }
    let seen = if lead.flight().floor() > 0 { 3 } else { 0 };
    lead.finish(Ok(seen));
}

/// A caller with a token comes while the read of one without begins.
fn token_races_the_beginning() {
    let table = Table::with_shards(1, 10, |_| Err(()));
    let Entered::Led(lead, first) = enter(&table) else { panic!("nobody else can lead") };
    let shell = thread::spawn(move || read_replicas(lead));
    let mut waiter = match enter_with(&table, Some(3)) {
        Entered::Joined(waiter) => waiter,
        Entered::Led(lead, waiter) => {
            read_replicas(lead);
            waiter
        }
        Entered::Found(()) | Entered::Subsumed(..) | Entered::Full => panic!("none of these was asked for"),
    };
    shell.join().unwrap();
    let answer = poll(&mut waiter, &std::sync::Arc::default());
    assert_eq!(answer, Poll::Ready(Ok(3)), "a token was answered by a replica that lags");
    drop(first);
}

#[test]
fn hazard_07_token_races_the_beginning_of_a_read() {
    explore(token_races_the_beginning);
}

/// The last waiter leaves while another comes: count 1, 0, 1.
fn last_waiter_leaves_while_another_joins() {
    let table = Table::with_shards(1, 10, |_| Err(()));
    let (reading, starts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let Entered::Led(lead, first) = enter(&table) else { panic!("nobody else can lead") };
    let shell = {
        let (reading, starts) = (reading.clone(), starts.clone());
        thread::spawn(move || run(lead, &reading, &starts))
    };
    let leaver = thread::spawn(move || drop(first));
    let called = std::sync::Arc::new(Called::default());
    let mut waiter = match enter(&table) {
        Entered::Joined(waiter) => waiter,
        Entered::Led(lead, waiter) => {
            run(lead, &reading, &starts);
            waiter
        }
        Entered::Found(()) | Entered::Subsumed(..) | Entered::Full => panic!("none of these was asked for"),
    };
    let early = poll(&mut waiter, &called);
    shell.join().unwrap();
    leaver.join().unwrap();
    if early.is_pending() {
        assert!(called.0.load(std::sync::atomic::Ordering::SeqCst), "a lost wake");
    }
    assert_eq!(poll(&mut waiter, &called), Poll::Ready(Ok(7)), "a caller that waits gets the answer");
    assert_eq!((table.live(), waiter.flight().waiters()), (0, 1));
}

#[test]
fn hazard_10_last_waiter_leaves_while_another_joins() {
    explore(last_waiter_leaves_while_another_joins);
}

/// A call that begins after the failure has been seen does not meet it again.
fn error_is_not_joined_after_it_was_seen() {
    let table = Table::with_shards(1, 10, |_| Err(()));
    let Entered::Led(lead, mut waiter) = enter(&table) else { panic!("nobody else can lead") };
    let shell = thread::spawn(move || lead.finish(Err(())));
    let called = std::sync::Arc::new(Called::default());
    if poll(&mut waiter, &called).is_ready() {
        assert!(matches!(enter(&table), Entered::Led(..)), "joined a failed flight");
    }
    shell.join().unwrap();
}

#[test]
fn hazard_15_error_is_not_joined_after_it_was_seen() {
    explore(error_is_not_joined_after_it_was_seen);
}

// ---- hazard 24: the limiter ------------------------------------------------------------------------------

/// Three threads, two cells, overlapping scopes in opposite order, over two shards.
fn charges_race() {
    let clock = std::sync::Arc::new(ManualClock::new(Nanos::from_nanos(1_000_000_000_000)));
    let limits = Arc::new(Limits::new(16, clock));
    let bound = Bound::Rate(Quota::per_second(1.0, 2).unwrap());
    for selector in [Selector::EachKey, Selector::EachGroup] {
        let (name, kind) = ("two".into(), LimitKind::Requests);
        limits.set(Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false }).unwrap();
    }
    let now = Nanos::from_nanos(1_000_000_000_000);
    let admitted = Arc::new(AtomicU32::new(0));
    let spawn = |scopes: [Scope; 2]| {
        let (limits, admitted) = (limits.clone(), admitted.clone());
        thread::spawn(move || {
            let charged = limits.charge(&scopes, LimitKind::Requests, now).is_ok();
            admitted.fetch_add(u32::from(charged), SeqCst);
        })
    };
    let (key, group) = (Scope::Key(1), Scope::Group(1));
    let threads = [spawn([key, group]), spawn([group, key]), spawn([Scope::Key(2), group])];
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(admitted.load(SeqCst), 2, "admitted of a burst of two");
}

#[test]
fn hazard_24_charges_race_for_the_last_cell() {
    explore(charges_race);
}

// ---- hazards 27 and 28: the gate -------------------------------------------------------------------------

/// Two threads use the one place in turn, or leave; a third never polls its turn.
fn places_race() {
    let gate = std::sync::Arc::new(ConcurrencyGate::<u64>::with_shards(1, 10));
    let inside = Arc::new(AtomicU32::new(0));
    let spawn = |polls: bool| {
        let (gate, inside) = (gate.clone(), inside.clone());
        thread::spawn(move || {
            let mut turn = gate.acquire(1, 1).unwrap();
            let called = std::sync::Arc::new(Called::default());
            if let (true, Poll::Ready(permit)) = (polls, poll(&mut turn, &called)) {
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "two inside a gate of one");
                assert_eq!(gate.in_flight(&1), 1, "the gauge is above the limit");
                inside.fetch_sub(1, SeqCst);
                drop(permit);
            }
        })
    };
    let threads = [spawn(true), spawn(true), spawn(false)];
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(gate.keys(), 0, "a place is missing");
}

#[test]
fn hazards_27_and_28_places_race() {
    explore(places_race);
}

/// Whoever waits is woken when the place comes back.
#[test]
fn hazard_28_released_place_wakes_the_next() {
    explore(|| {
        let gate = std::sync::Arc::new(ConcurrencyGate::<u64>::with_shards(1, 10));
        let called = std::sync::Arc::new(Called::default());
        let mut first = gate.acquire(1, 1).unwrap();
        let Poll::Ready(permit) = poll(&mut first, &called) else { panic!("the gate is empty") };
        let holder = thread::spawn(move || drop(permit));
        let mut second = gate.acquire(1, 1).unwrap();
        let early = poll(&mut second, &called);
        holder.join().unwrap();
        if early.is_pending() {
            assert!(called.0.load(std::sync::atomic::Ordering::SeqCst), "a lost wake");
            assert!(poll(&mut second, &called).is_ready(), "woken for nothing");
        }
        drop(early);
        drop(second);
        assert_eq!(gate.keys(), 0, "a place is missing");
    });
}
