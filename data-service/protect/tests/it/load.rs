//! Many callers at once, in virtual time: the number of reads in the store, and the callers' waits.

use std::time::Duration;

use weir_protect::{Gate, Outcome, ReadError, Stage};

use crate::{
    fake::{Bed, LATEST, MS, Step, pause, settle},
    scenario::flights::spawn,
};

/// Goal G1: simultaneous identical reads with the cache off.
#[tokio::test(start_paused = true)]
async fn twenty_thousand_simultaneous_reads_are_one() {
    let bed = Bed::new();
    bed.layer.gates().set(Gate::Cache, false);
    let reads: Vec<_> = (0..20_000).map(|_| spawn(&bed, bed.request(LATEST))).collect();
    let mut led = 0;
    for read in reads {
        led += u32::from(read.await.unwrap().unwrap().outcome() == Outcome::Led);
    }
    assert_eq!((bed.store.starts(), led), (1, 1));
}

/// Goal G1, staggered over one read's time.
#[tokio::test(start_paused = true)]
async fn staggered_reads_are_one() {
    let bed = Bed::new();
    bed.layer.gates().set(Gate::Cache, false);
    let mut reads = Vec::new();
    for _ in 0..99 {
        reads.extend((0..50).map(|_| spawn(&bed, bed.request(LATEST))));
        pause(MS).await;
    }
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(bed.store.starts(), 1);
}

/// Goal G2: half of the callers cancel, and the leader is one of them.
#[tokio::test(start_paused = true)]
async fn cancelled_leader_and_half_the_callers_cost_nothing() {
    let bed = Bed::new();
    bed.layer.gates().set(Gate::Cache, false);
    let reads: Vec<_> = (0..4_000).map(|_| spawn(&bed, bed.request(LATEST))).collect();
    settle().await;
    pause(50 * MS).await;
    for leaving in reads.iter().step_by(2) {
        leaving.abort();
    }
    for staying in reads.into_iter().skip(1).step_by(2) {
        staying.await.unwrap().unwrap();
    }
    assert_eq!(bed.store.starts(), 1);
}

/// Goal G2: a hung store and callers with 100 ms: one read for each store timeout, joined by all meanwhile.
#[tokio::test(start_paused = true)]
async fn hung_store_is_read_once_for_each_store_timeout() {
    let timeout = Duration::from_secs(2);
    let bed = Bed::with(|config| config.store_timeout = timeout);
    bed.store.usual(Step::Hang);
    let (begun, mut reads) = (tokio::time::Instant::now(), Vec::new());
    for _ in 0..80 {
        for _ in 0..50 {
            let mut request = bed.request(LATEST);
            request.deadline = bed.now().after(100 * MS);
            reads.push(spawn(&bed, request));
        }
        pause(99 * MS).await;
    }
    let elapsed = begun.elapsed();
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        let timely = matches!(
            error,
            ReadError::DeadlineExceeded { stage: Stage::Flight | Stage::Queue }
                | ReadError::StoreTimeout { .. }
        );
        assert!(timely, "{error:?}");
    }
    let most = elapsed.as_nanos().div_ceil(timeout.as_nanos());
    let starts = bed.store.starts();
    assert!(starts as u128 <= most, "{starts} reads in {elapsed:?}");
    pause(timeout).await;
    assert_eq!((bed.layer.flights(), bed.layer.partition_load(&1), bed.store.in_flight()), (0, (0, 0), 0));
}

/// A hot partition of many pages occupies no more than its places, and another partition does not feel it.
#[tokio::test(start_paused = true)]
async fn hot_partition_leaves_the_store_to_others() {
    let bed = Bed::with(|config| config.queue_wait_max = Duration::from_secs(60));
    let hot: Vec<_> =
        (0..200).map(|i| spawn(&bed, bed.request(crate::fake::Page::latest(1_000 + i)))).collect();
    settle().await;
    assert_eq!(bed.layer.partition_load(&1), (8, 192));
    let mut quiet = bed.request(LATEST);
    quiet.page.key = 2;
    let begun = tokio::time::Instant::now();
    bed.layer.read(quiet).await.unwrap();
    assert!(begun.elapsed() <= 101 * MS, "{:?}", begun.elapsed());
    for read in hot {
        read.await.unwrap().unwrap();
    }
    assert_eq!(bed.store.in_flight_max(), 9);
}

/// The future of a waiting read, with its flight's share, is what a waiter costs (goal G8: 1 KiB).
#[tokio::test(start_paused = true)]
async fn a_waiter_costs_less_than_a_kibibyte() {
    let bed = Bed::new();
    let read = bed.layer.read(bed.request(LATEST));
    let bytes = size_of_val(&read);
    assert!(bytes <= 1024, "{bytes} bytes");
}
