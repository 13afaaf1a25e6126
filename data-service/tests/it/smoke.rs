//! The methods over the embedded store, through the in-process transport.

use crate::node::{Talk, embedded};

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
