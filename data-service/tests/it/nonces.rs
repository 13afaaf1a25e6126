//! Rule 5: the same nonce of the same author makes one message.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use weir_data_service::clock::WallClock;
use weir_proto::{
    bucket::Bucket,
    data::{CreateMessageRequest, CreateMessageResponse, Message},
    id::{ChannelId, EPOCH_MS},
};
use weir_store::{RowChange, Store};

use crate::{
    fake_store::Fate,
    node::{At, Node, Place, Talk, World, create_in, options, small},
    ownership::FakeOwnership,
};

fn with_nonce(place: Place, author_id: u64, nonce: &str) -> CreateMessageRequest {
    let mut request = create_in(place, "m");
    let message = request.message.as_mut().unwrap();
    (message.author_id, message.nonce) = (author_id, nonce.into());
    request
}

async fn send(node: &Node, request: &CreateMessageRequest) -> CreateMessageResponse {
    node.client.create_message(request, &options()).await.unwrap().message
}

#[tokio::test(start_paused = true)]
async fn a_nonce_makes_one_message_within_a_batch_and_across_batches() {
    let (world, node, place) = World::with_place(1).await;
    Talk(&node.client, place).create("warm").await.unwrap();
    // The first goes alone; the others wait and share a batch.
    world.store.script([Fate::Slow(Duration::from_millis(50))]);
    let request = with_nonce(place, 7, "n");
    let crowd = join_all((0..20).map(|_| send(&node, &request))).await;
    let ids: std::collections::BTreeSet<u64> =
        crowd.iter().map(|reply| reply.message.as_ref().unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(crowd.iter().filter(|reply| !reply.deduplicated).count(), 1);
    let twins = [with_nonce(place, 7, "twin"), with_nonce(place, 7, "twin"), with_nonce(place, 8, "twin")];
    world.store.hold_commits(true);
    let release = async {
        sleep(Duration::from_millis(10)).await;
        world.store.hold_commits(false);
    };
    let first = with_nonce(place, 9, "");
    let (_, a, b, c, ()) = tokio::join!(
        send(&node, &first),
        send(&node, &twins[0]),
        send(&node, &twins[1]),
        send(&node, &twins[2]),
        release
    );
    assert_eq!(a.message, b.message);
    assert!(!a.deduplicated && b.deduplicated && !c.deduplicated, "another author's is another message");
    let again = send(&node, &twins[0]).await;
    assert!(again.deduplicated && again.message == a.message);
    world.store.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn without_a_nonce_or_when_told_so_nothing_is_deduplicated() {
    let (world, node, place) = World::with_place(2).await;
    let empty = with_nonce(place, 7, "");
    assert!(!send(&node, &empty).await.deduplicated && !send(&node, &empty).await.deduplicated);
    let allowed = CreateMessageRequest { allow_duplicate_nonce: true, ..with_nonce(place, 7, "n") };
    assert!(!send(&node, &allowed).await.deduplicated && !send(&node, &allowed).await.deduplicated);
    assert_eq!(world.store.rows().history(place.channel).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_forgotten_after_five_minutes() {
    let (_world, node, place) = World::with_place(3).await;
    let request = with_nonce(place, 7, "n");
    send(&node, &request).await;
    sleep(Duration::from_secs(299)).await;
    assert!(send(&node, &request).await.deduplicated);
    sleep(Duration::from_secs(2)).await;
    assert!(!send(&node, &request).await.deduplicated);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_outlives_its_owner() {
    for between in [0, 50, 500, 3_000] {
        let (mut world, node, place) = World::with_place(4).await;
        let request = with_nonce(place, 7, "n");
        let first = send(&node, &request).await;
        let other = create_in(place, "m");
        let crowd = join_all((0..between).map(|_| send(&node, &other))).await;
        assert_eq!(crowd.len(), between);
        world.crash();
        let next =
            world.node_as(small(), FakeOwnership::new(2), std::sync::Arc::clone(&world.clock) as _).await;
        let again = send(&next, &request).await;
        assert!(again.deduplicated, "{between} messages later");
        assert_eq!(again.message.unwrap().id, first.message.unwrap().id);
        sleep(Duration::from_secs(301)).await;
        world.crash();
        let later = world.node().await;
        assert!(!send(&later, &request).await.deduplicated, "not longer than five minutes either");
    }
}

/// The rows of five minutes of the fastest channel are millions; most clients send no nonce.
#[tokio::test(start_paused = true)]
async fn looking_for_nonces_has_an_end() {
    let (mut world, _node, place) = World::with_place(9).await;
    let now_us = world.clock.wall_us();
    for index in 0..100_000_u64 {
        let rev = now_us - index * 1_000;
        let id = (rev / 1_000 - EPOCH_MS) << 22;
        let row =
            Message { id, rev, last_rev: rev, channel_id: place.channel, author_id: 5, ..Message::default() };
        world.store.rows().apply(&RowChange::PutMessage(row), rev, true);
    }
    let bucket = Bucket::of_raw((now_us / 1_000 - EPOCH_MS) << 22);
    let channel_id = ChannelId::try_from(place.channel).unwrap();
    world.store.add_bucket(channel_id, bucket).await.unwrap();
    world.crash();
    let next = world.node_as(small(), FakeOwnership::new(2), std::sync::Arc::clone(&world.clock) as _).await;
    let before = world.store.partition_reads();
    send(&next, &with_nonce(place, 7, "n")).await;
    let reads = world.store.partition_reads() - before;
    assert!((60..=70).contains(&reads), "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn a_repetition_after_doubt_finds_the_first() {
    let (world, node, place) = World::with_place(5).await;
    let talk = Talk(&node.client, place);
    talk.create("warm").await.unwrap();
    world.store.script([Fate::UnknownApplied]);
    let request = with_nonce(place, 7, "n");
    assert!(node.client.create_message(&request, &options()).await.is_err());
    let again = send(&node, &request).await;
    assert!(again.deduplicated);
    assert_eq!(talk.list(At::Latest, 10).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_of_an_edited_message_answers_with_the_row_as_it_is() {
    let (_world, node, place) = World::with_place(6).await;
    let request = with_nonce(place, 7, "n");
    let first = send(&node, &request).await.message.unwrap();
    Talk(&node.client, place).edit(first.id, "edited").await.unwrap();
    let again = send(&node, &request).await;
    assert_eq!((again.deduplicated, again.message.unwrap().content.as_str()), (true, "edited"));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_does_not_bring_a_deleted_message_back() {
    let (world, node, place) = World::with_place(8).await;
    let request = with_nonce(place, 7, "n");
    let made = send(&node, &request).await.message.unwrap();
    Talk(&node.client, place).delete(made.id).await.unwrap();
    let again = node.client.create_message(&request, &options()).await;
    assert!(matches!(again, Err(weir_data_client::DataError::NotFound { .. })), "{again:?}");
    assert!(world.store.rows().history(place.channel).is_empty());
}
