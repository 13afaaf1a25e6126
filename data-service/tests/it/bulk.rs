//! Several messages removed in one step: there is one commit and one record, and the same after a crash.

use std::time::Duration;

use tokio::time::sleep;
use weir_data_client::DataError;
use weir_proto::{
    data::{DeleteMessagesRequest, RefusalReason},
    event::{Record, record::Change},
};

use crate::{
    fake_bus::Consumer,
    node::{At, Talk, World, options},
};

/// The ids that each record of several removals in the channel tells of.
fn told(records: Vec<Record>) -> Vec<(u64, Vec<u64>)> {
    let mut consumer = Consumer::default();
    consumer.take(records);
    let removals = consumer.taken.iter().filter_map(|record| match &record.change {
        Some(Change::MessagesDeleted(gone)) => Some((record.rev, gone.ids.clone())),
        Some(Change::MessageDeleted(gone)) => panic!("{} was told of by itself", gone.id),
        _ => None,
    });
    removals.collect()
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_several_is_one_commit_and_one_record() {
    let (world, node, place) = World::with_place(1).await;
    let talk = Talk(&node.client, place);
    let mut ids = Vec::new();
    for index in 0..6 {
        ids.push(talk.create(&format!("m{index}")).await.unwrap().id);
    }
    // In any order, one twice, and one that is nobody's.
    let removed = talk.delete_together(&[ids[3], ids[1], ids[3], 77 << 22]).await.unwrap();
    assert_eq!(removed.message_ids, [ids[1], ids[3]]);
    assert_eq!(talk.contents(At::Latest, 10).await, ["m5", "m4", "m2", "m0"]);
    assert_eq!(talk.get(ids[1]).await.unwrap(), None);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(told(world.bus.of(place.channel)), [(removed.rev, vec![ids[1], ids[3]])]);
    // Nothing is there any more: nothing is told.
    let again = talk.delete_together(&[ids[1], ids[3]]).await.unwrap();
    assert_eq!((again.rev, again.message_ids), (removed.rev, vec![]));
    let after = talk.create("after").await.unwrap();
    assert!(after.rev > removed.rev);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(told(world.bus.of(place.channel)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_several_that_was_not_published_is_told_whole_by_the_next_start() {
    let (mut world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    let (a, b) = (talk.create("a").await.unwrap().id, talk.create("b").await.unwrap().id);
    sleep(Duration::from_secs(5)).await;
    world.bus.down(true);
    let removed = talk.delete_together(&[a, b]).await.unwrap();
    world.crash();
    assert!(told(world.bus.of(place.channel)).is_empty());
    let next = world.node().await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(told(world.bus.of(place.channel)), [(removed.rev, vec![a, b])]);
    assert!(Talk(&next.client, place).contents(At::Latest, 10).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_names_1_to_100_messages() {
    let (_world, node, place) = World::with_place(5).await;
    for message_ids in [vec![], vec![0], (1..=101).collect()] {
        let request = DeleteMessagesRequest { channel_id: place.channel, message_ids, context: None };
        let refused = node.client.delete_messages(&request, &options()).await;
        assert!(matches!(refused, Err(DataError::Invalid { .. })), "{refused:?}");
    }
}

/// Sets a limit for writes of the place's channel, after a pause in which every burst is full again.
async fn limit_writes(client: &weir_data_client::DataClient, channel_id: u64, burst: u64) {
    let limit = weir_proto::admin::Limit {
        scope: format!("channel/{channel_id}"),
        kind: weir_proto::admin::LimitKind::Writes.into(),
        rate: 1.0,
        burst,
        set_by: "ada".into(),
        reason: "an incident".into(),
        ..weir_proto::admin::Limit::default()
    };
    let request = weir_proto::admin::SetLimitRequest { limit: Some(limit) };
    client.set_limit(&request, &options()).await.unwrap();
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_charged_whole_or_not_at_all() {
    let (_world, node, place) = World::with_place(6).await;
    let talk = Talk(&node.client, place);
    let mut ids = Vec::new();
    for index in 0..12 {
        ids.push(talk.create(&format!("m{index}")).await.unwrap().id);
    }
    limit_writes(&node.client, place.channel, 6).await;
    talk.create("one").await.unwrap();
    talk.create("two").await.unwrap();
    // Four are left, and five are asked for: none is taken, and the wait is the one after which they are
    // there.
    let refused = talk.delete_together(&ids[..5]).await;
    let Err(DataError::Refused { reason: RefusalReason::WriteLimit, retry_after, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1), "{retry_after:?}");
    assert_eq!(talk.delete_together(&ids[..4]).await.unwrap().message_ids.len(), 4);
    // More than the burst never fits, and takes nothing either.
    let refused = talk.delete_together(&ids[4..11]).await;
    let Err(
        error @ DataError::Refused { reason: RefusalReason::WriteBurst, retry_after: Duration::ZERO, .. },
    ) = refused
    else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains("ever lets through"), "{error}");
    // The time that is told is enough.
    let refused = talk.delete_together(&ids[4..10]).await;
    let Err(DataError::Refused { retry_after, .. }) = refused else { panic!("{refused:?}") };
    assert!(retry_after > Duration::from_secs(5), "{retry_after:?}");
    sleep(retry_after).await;
    assert_eq!(talk.delete_together(&ids[4..10]).await.unwrap().message_ids.len(), 6);
}
