//! The small parts, each tested alone: generations, clock, scopes, the gate's queue.

use std::{sync::Arc, time::Duration};

use weir_protect::{
    Change, Clock, Dependence, Generations, ManualClock, Nanos, Scope, Scopes, TokioClock,
    concurrency::{ConcurrencyGate, QueueFull},
};

use crate::fake::{MS, settle};

#[test]
fn an_append_spares_what_depends_on_mutations_alone() {
    let generations = Generations::new(16);
    for (change, append_current, mutate_current) in
        [(Change::Append, false, true), (Change::Mutate, false, false), (Change::Both, false, false)]
    {
        let before = generations.snapshot("key");
        assert!(before.is_current(generations.snapshot("key"), Dependence::Append));
        generations.bump("key", change);
        let after = generations.snapshot("key");
        assert_eq!(before.is_current(after, Dependence::Append), append_current, "{change:?}");
        assert_eq!(before.is_current(after, Dependence::Mutate), mutate_current, "{change:?}");
    }
}

#[test]
fn cells_are_shared_never_missing() {
    let generations = Generations::new(1);
    let before = generations.snapshot(&1);
    generations.bump_append(&2);
    assert!(
        !before.is_current(generations.snapshot(&1), Dependence::Append),
        "one cell: every key is bumped"
    );
    assert_eq!(Generations::new(1000).bytes(), 1024 * 8 + 1024 * 4, "rounded up to a power of two");
    assert_eq!(Generations::new(1 << 20).bytes(), (8 << 20) + (4 << 12));
}

#[test]
fn unresolved_writes_are_counted() {
    let generations = Generations::new(16);
    let stamp = generations.snapshot(&7);
    let (first, second) = (generations.unresolved(&7), generations.unresolved(&7));
    assert!(!generations.is_servable(&7, generations.snapshot(&7), Dependence::Append));
    drop(first);
    assert!(generations.is_unresolved(&7), "one is left");
    drop(second);
    assert!(generations.is_servable(&7, generations.snapshot(&7), Dependence::Append));
    assert!(!generations.is_servable(&7, stamp, Dependence::Mutate), "everything before is stale");
}

#[test]
fn time_saturates() {
    assert_eq!(Nanos::ZERO.before(MS), Nanos::ZERO);
    assert_eq!(Nanos::NEVER.after(MS), Nanos::NEVER);
    assert_eq!(Nanos::ZERO.since(Nanos::NEVER), Duration::ZERO);
    assert_eq!(Nanos::ZERO.after(Duration::MAX), Nanos::NEVER);
    let clock = ManualClock::new(Nanos::from_nanos(5));
    clock.advance(3 * MS);
    assert_eq!((clock.now().as_nanos(), clock.wall_ms()), (3_000_005, 3));
}

#[tokio::test(start_paused = true)]
async fn tokios_clock_follows_virtual_time() {
    let clock = TokioClock::new();
    tokio::time::advance(5 * MS).await;
    assert_eq!(clock.now(), Nanos::ZERO.after(5 * MS));
    assert_eq!(clock.at(tokio::time::Instant::now() + MS), Nanos::ZERO.after(6 * MS));
    assert!(clock.wall_ms() > 1_600_000_000_000);
}

#[test]
fn scopes_are_kept_in_order() {
    let scopes = Scopes::new(&[Scope::Key(1), Scope::Group(2)]).and(Scope::Class(3)).and(Scope::All);
    assert_eq!(scopes.as_slice(), [Scope::Key(1), Scope::Group(2), Scope::Class(3), Scope::All]);
    assert!(Scopes::NONE.as_slice().is_empty());
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_turn() {
    let gate = Arc::new(ConcurrencyGate::<u64>::new(2));
    let first = gate.acquire(1, 1).unwrap().await;
    let (second, third) = (gate.acquire(1, 1).unwrap(), gate.acquire(1, 1).unwrap());
    assert_eq!(gate.acquire(1, 1).unwrap_err(), QueueFull { len: 2 });
    assert_eq!((gate.in_flight(&1), gate.queued(&1)), (1, 2));
    let third = tokio::spawn(third);
    drop(first);
    // The third was polled first, but the second came first.
    settle().await;
    assert!(!third.is_finished());
    drop(second.await);
    drop(third.await.unwrap());
    assert_eq!(gate.keys(), 0, "an idle key is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_holds_for_new_places() {
    let gate = Arc::new(ConcurrencyGate::<u64>::new(8));
    let (a, b) = (gate.acquire(1, 2).unwrap().await, gate.acquire(1, 2).unwrap().await);
    // Lowered: nobody new until both are back.
    let lowered = gate.acquire(1, 1).unwrap();
    drop(a);
    assert_eq!((gate.in_flight(&1), gate.queued(&1)), (1, 1));
    drop(b);
    let lowered = lowered.await;
    // Raised: the newcomer's limit lets the queue move at once.
    let waiting = gate.acquire(1, 1).unwrap();
    assert_eq!(gate.queued(&1), 1);
    let raised = gate.acquire(1, 3).unwrap();
    let (waiting, raised) = (waiting.await, raised.await);
    assert_eq!(gate.in_flight(&1), 3);
    assert!(gate.acquire(1, 0).is_err(), "a limit of nothing admits nothing and queues nobody");
    drop((lowered, waiting, raised));
    assert_eq!(gate.keys(), 0);
}

#[tokio::test]
async fn keys_do_not_wait_for_each_other() {
    let gate = Arc::new(ConcurrencyGate::<u64>::new(0));
    let permits: Vec<_> = (0..100).map(|key| gate.acquire(key, 1).unwrap()).collect();
    assert_eq!(gate.keys(), 100);
    drop(permits);
    assert_eq!(gate.keys(), 0);
}
