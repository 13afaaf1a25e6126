//! The methods over the embedded store, through the in-process transport, and its outbox with a bus that is
//! not its own log.

use std::{sync::Arc, time::Duration};

use weir_proto::data::OpenDirectRequest;

use crate::{
    fake_bus::FakeBus,
    node::{Place, Talk, embedded, open, options, over},
};

#[tokio::test]
async fn every_method_works_over_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    crate::methods::work(&node.client).await;
    node.close().await;
    store.close().await;
}

#[tokio::test]
async fn history_survives_a_reopened_store() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    for index in 0..3 {
        talk.create(&format!("m{index}")).await.unwrap();
    }
    let last = talk.create("last").await.unwrap();
    node.close().await;
    store.close().await;
    drop(store);

    let (node, store) = embedded(directory.path()).await;
    let talk = Talk(&node.client, place);
    assert_eq!(talk.contents(crate::node::At::Latest, 10).await, ["last", "m2", "m1", "m0"]);
    let next = talk.create("next").await.unwrap();
    assert!(next.id > last.id && next.rev > last.rev);
    node.close().await;
    store.close().await;
}

/// A listener's threads may end, or step back, while a change of one of its callers is under way.
#[tokio::test]
async fn a_change_outlives_the_runtime_of_whoever_asked_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    talk.create("before").await.unwrap();
    let client = node.client.clone();
    let asked = std::thread::spawn(move || {
        let theirs = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        theirs.block_on(async {
            let talk = Talk(&client, place);
            let mut create = std::pin::pin!(talk.create("asked for"));
            std::future::poll_fn(|context| std::task::Poll::Ready(create.as_mut().poll(context).is_pending()))
                .await
        })
    });
    assert!(asked.join().unwrap(), "it waits for its turn");
    // Changes of a channel are made one after the other.
    talk.create("after").await.unwrap();
    assert_eq!(talk.contents(crate::node::At::Latest, 10).await, ["after", "asked for", "before"]);
    node.close().await;
    store.close().await;
}

/// Waits until the bus has all of a scope's revisions: by itself, since nothing else happens.
async fn published(bus: &FakeBus, scope: u64, revs: &[u64]) {
    let has = |rev: &u64| bus.of(scope).iter().any(|record| record.rev == *rev);
    let all = async {
        while !revs.iter().all(has) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("published without another change");
}

#[tokio::test]
async fn what_another_bus_lost_is_published_again_from_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let (store, bus) = (open(directory.path()).await, FakeBus::new());
    let node = over(&store, Arc::clone(&bus) as _).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let made = talk.create("taken by a bus that had nobody to hand it to").await.unwrap();
    let edit = talk.edit(made.id, "edited").await.unwrap();
    published(&bus, place.channel, &[made.rev, edit.last_rev]).await;
    let friend = node.place().await.user;
    let request = OpenDirectRequest { user_id: place.user, recipient_id: friend };
    let direct = node.client.open_direct(&request, &options()).await.unwrap().message.channel.unwrap().id;
    let told = Talk(&node.client, Place { channel: direct, ..place }).create("to a user").await.unwrap();
    published(&bus, direct, &[told.rev]).await;
    bus.lose();
    published(&bus, place.channel, &[made.rev, edit.last_rev]).await;
    published(&bus, direct, &[told.rev]).await;
    let topics = bus.topics_of(direct);
    assert!(topics.iter().all(|topics| topics.contains(&place.user)), "{topics:?}");
    node.close().await;
    store.close().await;
}

#[tokio::test]
async fn what_a_killed_process_left_is_published_from_the_embedded_store_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (store, bus) = (open(directory.path()).await, FakeBus::new());
    let node = over(&store, Arc::clone(&bus) as _).await;
    let place = node.place().await;
    bus.down(true);
    let left = Talk(&node.client, place).create("acknowledged, then the power went").await.unwrap();
    bus.kill();
    let next = bus.fork();
    let second = over(&store, Arc::clone(&next) as _).await;
    published(&next, place.channel, &[left.rev]).await;
    second.close().await;
    store.close().await;
}
