//! A clock that ran ahead once and was set back: changes are refused in plain words, the lag is visible, and
//! it ends when the clock has caught up.

use std::time::Duration;

use tokio::time::sleep;
use weir_data_client::DataError;
use weir_proto::data::{ListChangesRequest, RefusalReason};

use crate::node::{At, Node, Talk, World, options};

/// As far as a clock may go ahead at once: four minutes.
const AHEAD_US: i64 = 240 * 1_000_000;
const DAY_US: i64 = 86_400 * 1_000_000;

fn gauge(node: &Node) -> u64 {
    let shown = node.registry.encode();
    let line = shown.lines().find_map(|line| line.strip_prefix("weir_data_clock_ahead_seconds "));
    line.expect("registered").parse().expect("a number")
}

fn reasons(node: &Node) -> Vec<String> {
    let reasons = node.readiness.reasons();
    reasons.into_iter().map(|reason| format!("{}: {}", reason.check, reason.reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_ran_ahead_is_told_until_it_has_caught_up() {
    let (world, node, place) = World::with_place(1).await;
    let talk = Talk(&node.client, place);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((gauge(&node), reasons(&node)), (0, Vec::new()));
    world.clock.set_skew(AHEAD_US);
    talk.create("dated four minutes ahead").await.unwrap();
    world.clock.set_skew(0);
    match talk.create("refused").await {
        Err(DataError::Refused { reason: RefusalReason::Clock, retry_after, message, .. }) => {
            assert_eq!(retry_after, Duration::from_secs(60));
            assert!(message.contains("behind its stored ids by 240.0 s"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    sleep(Duration::from_secs(2)).await;
    assert!((230..=240).contains(&gauge(&node)), "{}", gauge(&node));
    let told = reasons(&node);
    assert!(told.len() == 1 && told[0].starts_with("clock: this service's clock is behind"), "{told:?}");
    // Set right, or waited for.
    world.clock.set_skew(AHEAD_US);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((gauge(&node), reasons(&node)), (0, Vec::new()));
    talk.create("taken again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_channel_whose_ids_are_ahead_leaves_the_rest_ready() {
    let (world, first) = World::with_node(2).await;
    let (ahead, well) = (first.place().await, first.place().await);
    world.clock.set_skew(AHEAD_US);
    Talk(&first.client, ahead).create("dated four minutes ahead").await.unwrap();
    world.clock.set_skew(0);
    first.close().await;
    // A new process has minted nothing yet; the channel's tail says how far it is.
    world.ownership.gain(2);
    let node = world.node().await;
    assert!(Talk(&node.client, ahead).create("refused").await.is_err());
    Talk(&node.client, well).create("taken").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(gauge(&node) > 200, "it is seen");
    assert_eq!(reasons(&node), Vec::<String>::new(), "and the others are served");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_is_not_believed_until_it_is_right_again() {
    let (world, node, place) = World::with_place(1).await;
    let talk = Talk(&node.client, place);
    let before = talk.create("before").await.unwrap();
    world.clock.set_skew(400 * DAY_US);
    match talk.create("dated 400 days ahead").await {
        Err(DataError::Refused { reason: RefusalReason::Clock, retry_after, message, .. }) => {
            assert!(retry_after > Duration::ZERO);
            assert!(message.contains("jumped ahead by 34560000 s"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(talk.edit(before.id, "nor is a change dated so").await.is_err());
    assert_eq!(talk.contents(At::Latest, 10).await, ["before"], "reads go on");
    sleep(Duration::from_secs(2)).await;
    let told = reasons(&node);
    assert!(told.len() == 1 && told[0].starts_with("clock: this node's clock jumped ahead"), "{told:?}");
    world.clock.set_skew(0);
    let after = talk.create("after").await.unwrap();
    assert!(after.id > before.id);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((gauge(&node), reasons(&node)), (0, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_for_long_goes_on() {
    let (world, node) = World::with_node(1).await;
    let talk = Talk(&node.client, node.place().await);
    talk.create("before").await.unwrap();
    world.clock.sleep_through(Duration::from_secs(100 * 86_400));
    talk.create("after").await.unwrap();
}

/// Revisions follow the clock of every change, ids that of creates only: here the two of one row are four
/// minutes apart.
#[tokio::test(start_paused = true)]
async fn what_is_posted_after_the_clock_was_set_back_is_published_whatever_dies() {
    let (mut world, node, place) = World::with_place(5).await;
    let talk = Talk(&node.client, place);
    let before = talk.create("before").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    world.clock.set_skew(AHEAD_US);
    let edit = talk.edit(before.id, "dated four minutes ahead").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    world.clock.set_skew(0);
    world.bus.down(true);
    let left = talk.create("its id is of now, its revision above the edit's").await.unwrap();
    let after = talk.create("and one more").await.unwrap();
    assert!(left.rev > edit.last_rev && left.id > before.id);
    let asked = ListChangesRequest { scope_id: place.channel, after_rev: edit.last_rev, limit: 0 };
    let told = node.client.list_changes(&asked, &options()).await.unwrap().message;
    assert_eq!(told.records.len(), 2, "a gateway that asks is told of both");
    world.crash();
    world.bus.down(false);
    let _next = world.node().await;
    sleep(Duration::from_secs(2)).await;
    let published: Vec<u64> = world.bus.of(place.channel).iter().map(|record| record.rev).collect();
    assert!(published.contains(&left.rev) && published.contains(&after.rev), "{published:?}");
}
