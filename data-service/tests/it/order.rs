//! Rules 1 and 2: one order for each channel, and the behaviour while a commit's outcome is not known.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use weir_data_client::{CallOptions, DataError};
use weir_data_service::clock::WallClock;
use weir_proto::{
    admin::ExplainChannelRequest,
    bucket::Bucket,
    id::{EPOCH_MS, unix_ms},
};

use crate::{
    fake_store::Fate,
    node::{At, Node, Place, Talk, World, options, page_of},
};

/// The chain of a scope's records as the bus got them: strictly rising, each naming the one before it.
pub(crate) fn assert_chained(world: &World, scope_id: u64) {
    let records = world.bus.of(scope_id);
    for pair in records.windows(2) {
        assert!(pair[0].rev < pair[1].rev, "records out of order: {} then {}", pair[0].rev, pair[1].rev);
        assert_eq!(pair[1].prev_rev, pair[0].rev, "the chain is broken at {}", pair[1].rev);
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_writers_share_commits_and_everything_rises() {
    let (world, node, place) = World::with_place(1).await;
    world.store.slow(Duration::from_millis(5));
    let replies = Mutex::new(Vec::new());
    let before = world.store.seen().len();
    let writers = (0..50).map(|writer| {
        let (talk, replies) = (Talk(&node.client, place), &replies);
        async move {
            for index in 0..20 {
                let row = talk.create(&format!("{writer}/{index}")).await.unwrap();
                replies.lock().unwrap().push(row.rev);
                if index % 5 == 4 {
                    let edited = talk.edit(row.id, "edited").await.unwrap();
                    replies.lock().unwrap().push(edited.last_rev);
                }
                if index % 10 == 9 {
                    let rev = talk.delete(row.id).await.unwrap();
                    replies.lock().unwrap().push(rev);
                }
            }
        }
    });
    join_all(writers).await;
    sleep(Duration::from_secs(1)).await;

    world.store.assert_sound();
    let replies = replies.into_inner().unwrap();
    assert!(replies.is_sorted_by(|a, b| a < b), "replies leave in the order of revisions");
    let history = world.store.rows().history(place.channel);
    assert_eq!(history.len(), 900);
    assert!(history.is_sorted_by(|a, b| a.id < b.id && a.rev < b.rev), "ids and revisions rise together");
    assert_chained(&world, place.channel);
    assert_eq!(world.bus.of(place.channel).len(), 1_300, "a record for each change, once");
    let commits = world.store.seen().len() - before;
    // 300 edits and removals go alone; the thousand creates share.
    assert!(commits < 300 + 500, "{commits} commits for 1,300 changes");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_crowd_goes_in_batches_of_at_most_64_kib() {
    let (world, node, place) = World::with_place(2).await;
    let talk = Talk(&node.client, place);
    talk.create("warm").await.unwrap();
    world.store.hold_commits(true);
    let before = world.store.seen_of(place.channel).len();
    let crowd = (0..200).map(|_| talk.create("x".repeat(2_000).leak()));
    let release = async {
        sleep(Duration::from_millis(10)).await;
        world.store.hold_commits(false);
    };
    let (made, ()) = tokio::join!(join_all(crowd), release);
    assert!(made.iter().all(Result::is_ok));
    world.store.assert_sound();
    let commits = world.store.seen_of(place.channel).len() - before;
    // 64 KiB hold 30 messages of 2,000 bytes and their overhead; the first goes alone.
    assert!((7..=9).contains(&commits), "{commits} commits");
}

#[tokio::test(start_paused = true)]
async fn a_batch_never_crosses_a_bucket_border() {
    let (world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    // One millisecond before the border, and time stands still: 4,096 ids use the millisecond up, the next
    // ones are in the next bucket.
    let now_ms = world.clock.wall_ms();
    let next = Bucket(((now_ms - EPOCH_MS) / weir_proto::bucket::BUCKET_MS) as u32 + 1);
    let border_ms = unix_ms(next.first_raw());
    world.clock.sleep_through(Duration::from_micros((border_ms - 1) * 1_000 - world.clock.wall_us()));
    for _ in 0..10 {
        let wave = join_all((0..450).map(|_| talk.create("m"))).await;
        assert!(wave.iter().all(Result::is_ok), "{:?}", wave.iter().find(|made| made.is_err()));
    }
    world.store.assert_sound();
    let history = world.store.rows().history(place.channel);
    let buckets: HashSet<u32> = history.iter().map(|row| Bucket::of_raw(row.id).0).collect();
    assert_eq!((history.len(), buckets.len()), (4_500, 2));
    let newest = talk.list(At::Latest, 100).await.unwrap();
    assert!(newest.iter().map(|row| row.id).eq(history.iter().rev().take(100).map(|row| row.id)));
    let border = Bucket::of_raw(newest[0].id).first_raw();
    let across = talk.list(At::Around(border), 20).await.unwrap();
    assert_eq!(across.len(), 20, "a page across the border is whole");
}

/// What a test does to a channel while the outcome is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Create,
    Edit,
    Delete,
}

async fn unresolved(node: &Node, place: Place) -> bool {
    let request = ExplainChannelRequest { channel_id: place.channel };
    node.client.explain_channel(&request, &options()).await.unwrap().message.unresolved_write
}

async fn served_from_memory(node: &Node, place: Place) -> bool {
    let asking = CallOptions { explain: true, ..options() };
    let reply = node.client.list_messages(&page_of(place.channel, At::Latest, 5), &asking).await.unwrap();
    reply.explain.unwrap().to_str().unwrap().contains("outcome=hit")
}

async fn doubt(act: Act, fates: &[Fate], applied: bool) {
    let (world, node, place) = World::with_place(4).await;
    let talk = Talk(&node.client, place);
    let first = talk.create("first").await.unwrap();
    let target = talk.create("target").await.unwrap();
    assert!(served_from_memory(&node, place).await, "warm before");

    world.store.script(fates.iter().copied());
    let asked = Instant::now();
    let answer = match act {
        Act::Create => talk.create("doubtful").await.map(drop),
        Act::Edit => talk.edit(target.id, "doubtful").await.map(drop),
        Act::Delete => talk.delete(target.id).await.map(drop),
    };
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{act:?}: {answer:?}");
    assert!(asked.elapsed() < Duration::from_millis(10), "callers are told at once");
    let doubted = world.store.seen().len();
    let next = tokio::spawn({
        let (client, place) = (node.client.clone(), place);
        async move { Talk(&client, place).create("next").await }
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.store.seen().len(), doubted, "nothing else is written while it is not known");
    assert!(unresolved(&node, place).await);
    assert!(!served_from_memory(&node, place).await);
    assert!(!served_from_memory(&node, place).await, "nothing is filled either");

    let next = next.await.unwrap().expect("written once the outcome is known");
    sleep(Duration::from_secs(5)).await;
    world.store.assert_sound();
    assert!(!unresolved(&node, place).await);
    let expected: &[&str] = match (act, applied) {
        (Act::Create, true) => &["next", "doubtful", "target", "first"],
        (Act::Edit, true) => &["next", "doubtful", "first"],
        (Act::Delete, true) => &["next", "first"],
        (_, false) => &["next", "target", "first"],
    };
    assert_eq!(talk.contents(At::Latest, 50).await, expected);
    assert!(served_from_memory(&node, place).await);
    assert_chained(&world, place.channel);
    let published = world.bus.of(place.channel);
    assert_eq!(published.len(), 3 + usize::from(applied), "each change once");
    assert!(first.rev < next.rev && published.last().unwrap().rev == next.rev);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_repeated_until_it_is_known() {
    for act in [Act::Create, Act::Edit, Act::Delete] {
        for fate in [
            Fate::UnknownApplied,
            Fate::UnknownNotApplied,
            Fate::UnknownLater(Duration::from_millis(20)),
            Fate::UnknownLater(Duration::from_millis(400)),
            Fate::UnknownLater(Duration::from_secs(3)),
        ] {
            doubt(act, &[fate], true).await;
            doubt(act, &[fate, Fate::UnknownNotApplied, Fate::NotApplied, fate], true).await;
        }
    }
}

/// A channel that is never idle has no moment in which a reader could seed its tail: its turns do it.
#[tokio::test(start_paused = true)]
async fn a_busy_channel_is_served_from_memory_again_after_a_doubt() {
    let (world, node, place) = World::with_place(14).await;
    let talk = Talk(&node.client, place);
    talk.create("first").await.unwrap();
    let slow = Fate::Slow(Duration::from_millis(20));
    world.store.script([Fate::UnknownApplied, Fate::Applied].into_iter().chain([slow; 12]));
    talk.create("doubtful").await.unwrap_err();
    // Two writers, each sending while the other's commit is under way: the queue is never empty.
    let writers = [0, 10].map(|after_ms| {
        let client = node.client.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(100 + after_ms)).await;
            for _ in 0..6 {
                Talk(&client, place).create("busy").await.unwrap();
            }
        })
    });
    sleep(Duration::from_millis(115)).await;
    assert!(!served_from_memory(&node, place).await, "the doubt dropped the tail");
    sleep(Duration::from_millis(20)).await;
    let before = world.store.history_reads();
    for _ in 0..5 {
        sleep(Duration::from_millis(10)).await;
        assert!(served_from_memory(&node, place).await);
    }
    assert_eq!(world.store.history_reads(), before);
    for writer in writers {
        assert!(!writer.is_finished(), "still busy");
        writer.await.unwrap();
    }
    let all = talk.contents(At::Latest, 50).await;
    assert_eq!((all.len(), all[12].as_str(), all[13].as_str()), (14, "doubtful", "first"));
    world.store.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_happen_is_refused_and_leaves_nothing() {
    let (world, node, place) = World::with_place(5).await;
    let talk = Talk(&node.client, place);
    let first = talk.create("first").await.unwrap();
    for act in [Act::Create, Act::Edit, Act::Delete] {
        world.store.script([Fate::NotApplied]);
        let answer = match act {
            Act::Create => talk.create("no").await.map(drop),
            Act::Edit => talk.edit(first.id, "no").await.map(drop),
            Act::Delete => talk.delete(first.id).await.map(drop),
        };
        assert!(matches!(answer, Err(DataError::Refused { .. })), "{answer:?}");
        assert_eq!(talk.contents(At::Latest, 5).await, ["first"]);
        // Hazard 6: an error before the commit must not keep the channel out of memory.
        assert!(served_from_memory(&node, place).await);
    }
    talk.create("second").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_chained(&world, place.channel);
    assert_eq!(world.bus.of(place.channel).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_never_answers_costs_its_callers_their_deadline_and_readers_nothing() {
    let (world, node, place) = World::with_place(6).await;
    let talk = Talk(&node.client, place);
    talk.create("first").await.unwrap();
    world.store.script([Fate::Hang]);
    let asked = Instant::now();
    let within = CallOptions::within(Duration::from_millis(100));
    let answer = node.client.create_message(&crate::node::create_in(place, "lost"), &within).await;
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{answer:?}");
    assert_eq!(asked.elapsed().as_millis(), 100);
    assert_eq!(talk.contents(At::Latest, 5).await, ["first"]);
    let answer = node.client.create_message(&crate::node::create_in(place, "behind it"), &within).await;
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waited_past_its_deadline_is_not_made() {
    let (world, node, place) = World::with_place(7).await;
    let talk = Talk(&node.client, place);
    let first = talk.create("first").await.unwrap();
    world.store.script([Fate::Slow(Duration::from_secs(1))]);
    let within = CallOptions::within(Duration::from_millis(100));
    let late = crate::node::create_in(place, "too late");
    let edit = weir_proto::data::EditMessageRequest {
        channel_id: place.channel,
        message_id: first.id,
        content: Some("too late".into()),
        ..Default::default()
    };
    let behind = async {
        sleep(Duration::from_millis(10)).await;
        tokio::join!(node.client.create_message(&late, &within), node.client.edit_message(&edit, &within))
    };
    let (slow, (late, edit)) = tokio::join!(talk.create("slow"), behind);
    slow.unwrap();
    assert!(late.is_err() && edit.is_err());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(talk.contents(At::Latest, 5).await, ["slow", "first"]);
    assert_eq!(world.store.seen_of(place.channel).len(), 2);
}

/// A turn that panics may have committed: whoever asked is told that it is not known, and nothing from before
/// it is served.
#[tokio::test(start_paused = true)]
async fn a_turn_that_panics_leaves_no_old_page_behind() {
    let (world, node, place) = World::with_place(15).await;
    let talk = Talk(&node.client, place);
    let mut rows = Vec::new();
    for index in 0..5 {
        rows.push(talk.create(&format!("m{index}")).await.unwrap());
    }
    // Not the turns' own memory: pages that were read.
    let reader = world.node().await;
    let seen = Talk(&reader.client, place);
    let page = At::Before(rows[4].id + 1);
    assert_eq!(seen.contents(page, 2).await, ["m4", "m3"]);
    world.store.script([Fate::Panic]);
    let answer = seen.edit(rows[4].id, "edited").await;
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{answer:?}");
    assert_eq!(seen.contents(page, 2).await, ["edited", "m3"]);
    seen.create("and on").await.unwrap();
    assert_eq!(seen.contents(At::Latest, 2).await, ["and on", "edited"]);
    assert!(reader.registry.encode().contains("weir_data_turns_panicked_total 1"));
}

/// A read of the channel's end that began before a doubtful write lands after its resolution: what it saw
/// must not become the tail.
#[tokio::test(start_paused = true)]
async fn a_read_from_before_a_doubtful_write_does_not_become_the_tail() {
    let (world, writer, place) = World::with_place(8).await;
    let first = Talk(&writer.client, place).create("first").await.unwrap();
    let node = world.node().await;
    let talk = Talk(&node.client, place);
    // The index of buckets is in memory; the newest page is not.
    talk.list(At::Before(first.id + 1), 50).await.unwrap();
    world.store.answers_take(Duration::from_millis(500));
    let client = node.client.clone();
    let early = tokio::spawn(async move { Talk(&client, place).contents(At::Latest, 50).await });
    sleep(Duration::from_millis(10)).await;
    world.store.answers_take(Duration::ZERO);
    world.store.script([Fate::UnknownApplied]);
    assert!(matches!(talk.create("doubtful").await, Err(DataError::OutcomeUnknown { .. })));
    sleep(Duration::from_millis(200)).await;
    assert!(!unresolved(&node, place).await);
    assert_eq!(early.await.unwrap(), ["first"], "it saw what was there before");
    assert_eq!(talk.contents(At::Latest, 50).await, ["doubtful", "first"]);
}
