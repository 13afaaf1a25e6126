//! Errors and refusals: they are typed, shared by all waiters, and have one label each.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use weir_protect::{
    Bound, LimitKind, Outcome, Quota, ReadError, ReadRequest, Refusal, RefusalReason, Rule, Scope, Scopes,
    Selector, Stage,
};

use crate::{
    fake::{Bed, Broken, LATEST, MS, Page, Step, but, pause, settle},
    scenario::flights::spawn,
};

fn rule(kind: LimitKind, bound: Bound) -> Rule {
    Rule {
        name: "test".into(),
        selector: Selector::EachKey,
        kind,
        bound,
        expires_at_ms: None,
        dry_run: false,
    }
}

fn scoped(bed: &Bed, page: Page) -> ReadRequest<u64, Page> {
    ReadRequest { scopes: Scopes::new(&[Scope::Key(1)]), ..bed.request(page) }
}

#[test]
fn every_error_has_a_label_and_a_message() {
    let refusal = |reason| {
        let (scope, limit, retry_after) = (Some(Scope::All), Arc::from("x"), MS);
        ReadError::<Broken>::Refused(Refusal { reason, scope, limit, retry_after })
    };
    use RefusalReason as R;
    let table = [
        (ReadError::DeadlineExceeded { stage: Stage::Arrival }, "deadline_exceeded", false),
        (ReadError::Store(Broken), "store", true),
        (ReadError::StoreTimeout { after: MS }, "store_timeout", true),
        (ReadError::Panicked, "panicked", true),
        (ReadError::Stopped, "stopped", false),
        (refusal(R::RequestLimit), "request_limit", false),
        (refusal(R::DatabaseReadLimit), "database_read_limit", true),
        (refusal(R::WriteLimit), "write_limit", false),
        (refusal(R::BeyondBurst), "beyond_burst", false),
        (refusal(R::ConcurrencyQueueFull), "concurrency_queue_full", true),
        (refusal(R::ConcurrencyWait), "concurrency_wait", true),
        (refusal(R::FlightsFull), "flights_full", true),
    ];
    for (error, label, store_side) in table {
        assert_eq!((error.label(), error.is_store_side()), (label, store_side));
        assert_eq!(error.refusal().is_some(), matches!(error, ReadError::Refused(_)));
        let message = error.to_string();
        assert!(!message.is_empty() && !message.ends_with('.'), "{message}");
    }
    let source = std::error::Error::source(&ReadError::Store(Broken)).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("the fake store fails"));
    let labels = [Stage::Arrival, Stage::Flight, Stage::Queue].map(Stage::label);
    assert_eq!(labels, ["arrival", "flight", "queue"]);
}

/// The leader's refusal reaches those who joined before it, with reason and wait, and nobody touches the
/// store.
#[tokio::test(start_paused = true)]
async fn refusal_behind_the_flight_reaches_everyone() {
    let bed = Bed::new();
    bed.layer.limits().set(rule(LimitKind::Concurrency, Bound::AtOnce(1))).unwrap();
    let occupant = spawn(&bed, scoped(&bed, Page::latest(3)));
    settle().await;
    bed.store.usual(Step::Hang);
    // The queue of the scope's gate admits 256; fill it with flights of other pages.
    let queue: Vec<_> = (0..256).map(|i| spawn(&bed, scoped(&bed, Page::latest(100 + i)))).collect();
    settle().await;
    drop(queue);
    let refused: Vec<_> = (0..3).map(|_| spawn(&bed, scoped(&bed, LATEST))).collect();
    for read in refused {
        let error = read.await.unwrap().unwrap_err();
        let refusal = error.refusal().expect("refused");
        assert!(refusal.retry_after > Duration::ZERO);
        assert!(matches!(
            refusal.reason,
            RefusalReason::ConcurrencyQueueFull | RefusalReason::ConcurrencyWait
        ));
    }
    occupant.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_by_the_database_read_limit_with_the_wait() {
    let bed = Bed::new();
    let quota = Quota::per_second(10.0, 1).unwrap();
    bed.layer.limits().set(rule(LimitKind::DatabaseReads, Bound::Rate(quota))).unwrap();
    bed.layer.read(scoped(&bed, Page::latest(2))).await.unwrap();
    let reads: Vec<_> = (0..5).map(|_| spawn(&bed, scoped(&bed, LATEST))).collect();
    let mut refused = 0;
    for read in reads {
        refused += u32::from(read.await.unwrap().is_err());
    }
    // 100 ms passed during the first read: one cell is there, one of the five leads and the others join it.
    assert_eq!((refused, bed.store.starts()), (0, 2));
    let first = bed.layer.read(scoped(&bed, Page::latest(7))).await;
    let second = bed.layer.read(scoped(&bed, Page::latest(8))).await;
    let errors: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    for error in errors {
        let refusal = error.refusal().unwrap().clone();
        assert_eq!(refusal.reason, RefusalReason::DatabaseReadLimit);
        pause(refusal.retry_after).await;
        bed.layer.read(scoped(&bed, Page::latest(9))).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_ends_at_the_longest_wait() {
    let bed = Bed::with(|config| {
        config.partition_concurrency = NonZeroU32::new(1);
        config.queue_wait_max = 50 * MS;
    });
    let occupant = spawn(&bed, bed.request(Page::latest(3)));
    settle().await;
    let begun = tokio::time::Instant::now();
    let refused = bed.layer.read(bed.request(LATEST)).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().reason, RefusalReason::ConcurrencyWait);
    assert!(begun.elapsed() <= 51 * MS, "{:?}", begun.elapsed());
    occupant.await.unwrap().unwrap();
    assert_eq!((bed.store.starts(), bed.layer.partition_load(&1)), (1, (0, 0)));
}

/// Work that nobody waits for any more is dropped before the store, not in it.
#[tokio::test(start_paused = true)]
async fn expired_work_never_reaches_the_store() {
    let bed = Bed::with(|config| config.partition_concurrency = NonZeroU32::new(1));
    let occupant = spawn(&bed, bed.request(Page::latest(3)));
    settle().await;
    let mut short = bed.request(LATEST);
    short.deadline = bed.now().after(20 * MS);
    let error = bed.layer.read(short).await.unwrap_err();
    assert!(matches!(error, ReadError::DeadlineExceeded { .. }), "{error:?}");
    let gone = spawn(&bed, bed.request(Page::latest(5)));
    settle().await;
    gone.abort();
    occupant.await.unwrap().unwrap();
    settle().await;
    assert_eq!((bed.store.starts(), bed.layer.flights()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn hung_read_is_abandoned_typed_and_its_place_is_free() {
    let bed = Bed::with(|config| {
        config.partition_concurrency = NonZeroU32::new(1);
        config.store_timeout = 300 * MS;
    });
    bed.store.script([Step::Hang]);
    let error = bed.layer.read(bed.request(LATEST)).await.unwrap_err();
    assert_eq!(error, ReadError::StoreTimeout { after: 300 * MS });
    let next = bed.layer.read(bed.request(LATEST)).await.unwrap();
    assert_eq!((next.outcome(), bed.store.in_flight()), (Outcome::Led, 0));
}

#[tokio::test(start_paused = true)]
async fn stale_answers_only_to_those_who_accept_them_and_marked() {
    let bed = Bed::new();
    bed.acknowledged(1, 3);
    bed.layer.read(bed.request(LATEST)).await.unwrap();
    bed.acknowledged(1, 4);
    bed.store.usual(Step::Fail(MS));
    pause(Duration::from_secs(5)).await;
    assert_eq!(bed.layer.read(bed.request(LATEST)).await.unwrap_err(), ReadError::Store(Broken));
    let accepting = |stale_max| but(bed.request(LATEST), |page| page.stale_max = Some(stale_max));
    let stale = bed.layer.read(accepting(Duration::from_secs(60))).await.unwrap();
    assert_eq!((stale.outcome(), stale.value.newest(), stale.explain.floor), (Outcome::Stale, 3, 0));
    assert!(stale.explain.age >= Duration::from_secs(5));
    assert!(bed.layer.read(accepting(Duration::from_secs(1))).await.is_err(), "too old for this caller");
}

#[tokio::test(start_paused = true)]
async fn explanations_tell_age_times_and_dry_run() {
    let bed = Bed::new();
    let stricter = Rule { dry_run: true, ..rule(LimitKind::DatabaseReads, Bound::Rate(Quota::BLOCKED)) };
    bed.layer.limits().set(stricter).unwrap();
    let led = bed.layer.read(scoped(&bed, LATEST)).await.unwrap().explain;
    assert_eq!((led.outcome, led.age, led.would_refuse.as_deref()), (Outcome::Led, 100 * MS, Some("test")));
    assert_eq!(
        (led.times.store, led.times.flight, led.times.concurrency),
        (100 * MS, 100 * MS, Duration::ZERO)
    );
    pause(Duration::from_secs(3)).await;
    let hit = bed.layer.read(scoped(&bed, LATEST)).await.unwrap().explain;
    assert_eq!((hit.outcome, hit.age), (Outcome::Hit, Duration::from_millis(3_100)));
    let young = but(scoped(&bed, LATEST), |page| page.age_max = Some(Duration::from_secs(1)));
    assert_eq!(bed.layer.read(young).await.unwrap().outcome(), Outcome::Led);
}

/// A runtime that stops under a read tells its waiters so, as far as they still run.
#[test]
fn stopping_runtime_strands_nobody() {
    let reading =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let waiting = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let bed = reading.block_on(async { Bed::new() });
    bed.store.usual(Step::Hang);
    let leader = reading.spawn({
        let bed = bed.clone();
        async move { bed.layer.read(bed.request(LATEST)).await }
    });
    let answer = waiting.block_on(async {
        while bed.store.starts() == 0 {
            tokio::task::yield_now().await;
        }
        let follower = spawn(&bed, bed.request(LATEST));
        settle().await;
        reading.shutdown_background();
        follower.await.unwrap()
    });
    assert_eq!(answer.unwrap_err(), ReadError::Stopped);
    drop(leader);
}

/// Who leads may leave with its whole runtime, or have threads that step back: the flight is the layer's, and
/// others have joined it.
#[tokio::test(start_paused = true)]
async fn a_flight_outlives_the_runtime_of_its_leader() {
    let bed = Bed::new();
    bed.store.usual(Step::Reply(MS, MS));
    let leader = bed.clone();
    let asked = std::thread::spawn(move || {
        let theirs = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        theirs.block_on(async {
            let mut read = std::pin::pin!(leader.layer.read(leader.request(LATEST)));
            std::future::poll_fn(|context| std::task::Poll::Ready(read.as_mut().poll(context).is_pending()))
                .await
        })
    });
    assert!(asked.join().unwrap(), "it waits for the store");
    let joined = bed.layer.read(bed.request(LATEST)).await.unwrap();
    assert_eq!((joined.outcome(), bed.store.starts()), (Outcome::Joined, 1));
}
