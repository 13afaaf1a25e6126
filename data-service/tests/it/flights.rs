//! Crowds on one partition: the number of reads that reach the database.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use weir_data_client::{CallOptions, DataError};
use weir_protect::Gate;

use crate::node::{At, Talk, World, options, page_of};

#[tokio::test(start_paused = true)]
async fn twenty_thousand_simultaneous_reads_cost_two() {
    let (world, node, place) = World::with_cold_place(1).await;
    node.service.gates().set(Gate::Cache, false);
    world.store.answers_take(Duration::from_millis(50));
    let before = (world.store.index_reads(), world.store.partition_reads());
    let (page, far) = (page_of(place.channel, At::Latest, 50), options());
    let crowd = join_all((0..20_000).map(|_| node.client.list_messages(&page, &far))).await;
    assert!(crowd.iter().all(|reply| reply.as_ref().is_ok_and(|reply| reply.message.messages.len() == 50)));
    let index = world.store.index_reads() - before.0;
    let rows = world.store.partition_reads() - before.1;
    println!("20,000 simultaneous reads of a cold channel, cache off: {index} of the index, {rows} of rows");
    assert_eq!((index, rows), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_costs_nothing_more() {
    let (world, node, place) = World::with_cold_place(2).await;
    node.service.gates().set(Gate::Cache, false);
    world.store.answers_take(Duration::from_millis(50));
    let before = world.store.history_reads();
    let asked = Instant::now();
    let (page, far) = (page_of(place.channel, At::Latest, 50), options());
    let leader = async {
        tokio::select! {
            _ = node.client.list_messages(&page, &far) => panic!("answered too early"),
            () = sleep(Duration::from_millis(45)) => {}
        }
    };
    let followers = async {
        sleep(Duration::from_millis(1)).await;
        join_all((0..4_000).map(|_| node.client.list_messages(&page, &far))).await
    };
    let ((), crowd) = tokio::join!(leader, followers);
    assert!(crowd.iter().all(Result::is_ok));
    assert_eq!(world.store.history_reads() - before, 2, "nobody starts again");
    assert_eq!(asked.elapsed().as_millis(), 100, "two reads after one another, not three");
}

#[tokio::test(start_paused = true)]
async fn a_hung_database_is_asked_once_for_each_timeout() {
    let (world, node, place) = World::with_cold_place(3).await;
    world.store.reads_hang.store(true, SeqCst);
    let before = world.store.history_reads();
    let (page, short) =
        (page_of(place.channel, At::Latest, 50), CallOptions::within(Duration::from_millis(100)));
    // 4,000 callers over six seconds, each with a tenth of a second: three store timeouts of two seconds.
    let crowd = join_all((0..4_000_u64).map(|index| {
        let (client, page, short) = (&node.client, &page, &short);
        async move {
            sleep(Duration::from_micros(index * 1_500)).await;
            let asked = Instant::now();
            let answer = client.list_messages(page, short).await;
            (asked.elapsed(), answer)
        }
    }))
    .await;
    for (waited, answer) in crowd {
        assert!(waited <= Duration::from_millis(101), "{waited:?}");
        assert!(matches!(answer, Err(DataError::DeadlineExceeded | DataError::Refused { .. })), "{answer:?}");
    }
    let reads = world.store.history_reads() - before;
    println!("4,000 callers of a hung database with 100 ms each: {reads} reads in 6 s");
    assert!(reads <= 3, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_read_reaches_every_waiter_and_the_next_call_reads_again() {
    let (world, node, place) = World::with_cold_place(4).await;
    world.store.answers_take(Duration::from_millis(10));
    world.store.reads_fail.store(1, SeqCst);
    let before = world.store.history_reads();
    let page = page_of(place.channel, At::Latest, 50);
    let far = options();
    let crowd = join_all((0..1_000).map(|_| node.client.list_messages(&page, &far))).await;
    let failed = crowd.iter().filter(|answer| matches!(answer, Err(DataError::Refused { .. }))).count();
    assert_eq!(failed, 1_000, "told typed, with a time to come back");
    assert_eq!(world.store.history_reads() - before, 1);
    Talk(&node.client, place).list(At::Latest, 50).await.unwrap();
}

/// Rule 8 and the example of the design: a channel read and written at full speed costs no read in the
/// database.
#[tokio::test(start_paused = true)]
async fn a_warm_channel_is_read_and_written_without_a_database_read() {
    let (world, node, place) = World::with_cold_place(5).await;
    let talk = Talk(&node.client, place);
    talk.create("warm").await.unwrap();
    let before = world.store.history_reads();
    for round in 0..200 {
        let content = format!("m{round}");
        let row = talk.create(&content).await.unwrap();
        let seen = talk.list(At::Latest, 50).await.unwrap();
        assert_eq!((seen[0].id, seen.len()), (row.id, 50));
        assert_eq!(talk.list(At::Before(row.id), 10).await.unwrap().len(), 10);
        assert_eq!(talk.get(row.id).await.unwrap().unwrap().content, content);
        talk.edit(row.id, "edited").await.unwrap();
        assert_eq!(talk.list(At::Around(row.id), 4).await.unwrap()[0].content, "edited");
    }
    assert_eq!(world.store.history_reads() - before, 0);
}

#[tokio::test(start_paused = true)]
async fn old_pages_of_a_busy_channel_stay_in_memory() {
    let (world, node, place) = World::with_cold_place(6).await;
    let talk = Talk(&node.client, place);
    let newest = talk.list(At::Latest, 100).await.unwrap();
    // Beyond a tail of default size, so that the page is the cache's.
    for index in 0..450 {
        talk.create(&format!("n{index}")).await.unwrap();
    }
    let old = At::Before(newest[30].id);
    assert_eq!(talk.list(old, 10).await.unwrap().len(), 10);
    let before = world.store.history_reads();
    for index in 0..20 {
        talk.create(&format!("more {index}")).await.unwrap();
        assert_eq!(talk.list(old, 10).await.unwrap().len(), 10);
    }
    assert_eq!(world.store.history_reads() - before, 0, "appends do not touch pages below the tail");
    talk.edit(newest[35].id, "changed").await.unwrap();
    let page = talk.list(old, 10).await.unwrap();
    assert!(page.iter().any(|row| row.content == "changed"), "an edit does");
}
