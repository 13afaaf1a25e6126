//! Tests of the embedded store alone.

mod child;
mod damage;
mod full;
mod integrity;
mod log;
mod scarce;

use std::sync::Arc;

use weir_proto::{bucket::Bucket, data::Reaction};
use weir_store::{
    RowChange, Store, described,
    embedded::{EmbeddedConfig, EmbeddedStore, OpenError},
    row::{REMOVED_UNDER_MAX, RowRange, reactions_in},
};

use crate::{
    conformance,
    fixture::{as_id, change, creates, message, newest, next_id, next_rev, page},
};

/// A store in a directory.
fn open(directory: &std::path::Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(EmbeddedConfig::new(directory)).expect("opens")
}

/// The configuration of a store that flushes and compacts soon.
fn flushing_soon(directory: &std::path::Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.messages_buffer_bytes = 1 << 20;
    config.log_buffer_bytes = 1 << 20;
    config.small_buffer_bytes = 1 << 18;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    conformance::run(store.clone()).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_removes_no_more_rows_under_keys_than_it_may() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let (channel_id, message_id) = (next_id(), next_id());
    // Two keys of as many rows each, which together are a hundred too many.
    let each = REMOVED_UNDER_MAX / 2 + 50;
    let rev = next_rev();
    for slot in [1, 2] {
        let row = |user_id| RowChange::put(&Reaction { channel_id, message_id, slot, user_id, rev });
        let rows = (1..=each as u64).map(row).collect();
        store.commit(change(channel_id, next_rev(), rows)).await.expect("committed");
    }
    let under = [1, 2].map(|slot| reactions_in(as_id(channel_id), as_id(message_id), slot));
    let rev = next_rev();
    let remove = under.map(|under| RowChange::remove_under::<Reaction>(under, rev)).to_vec();
    store.commit(change(channel_id, rev, remove)).await.expect("committed");
    let mut left = Vec::new();
    for under in under {
        let rows = described::list::<Reaction>(&*store, RowRange::whole(under)).await.expect("readable");
        left.push(rows.len());
    }
    assert_eq!(left, [0, 100]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_opening_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (channel, id) = (next_id(), next_id());
    let row = message(channel, id, "kept");
    for _ in 0..2 {
        let store = open(directory.path());
        store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
        store.add_bucket(as_id(channel), Bucket(1)).await.expect("written");
        store.close().await;
        drop(store);
    }
    let store = open(directory.path());
    assert_eq!(store.read_message(as_id(channel), as_id(id)).await.expect("readable"), Some(row));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_learns_who_holds_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    match EmbeddedStore::open(EmbeddedConfig::new(directory.path())) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("opened twice: {other:?}"),
    }
    // A store that is only dropped releases its lock when its threads have ended, for which nothing waits.
    store.close().await;
    drop(store);
    open(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_takes_no_writes_and_says_that_they_did_not_happen() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.close().await;
    let refused = store.add_bucket(as_id(1), Bucket(1)).await;
    assert!(matches!(refused, Err(weir_store::WriteError::NotApplied { .. })), "{refused:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_wait_share_a_batch() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let (channel, base) = (next_id(), next_id());
    let writers = (1..=200).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.commit(creates(channel + n, &[message(channel + n, base + n, "")])).await
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic").expect("committed");
    }
    assert!(store.batches() < 200, "{} batches for 200 writers", store.batches());
}

/// One read of the tree serves a page, both in a partition of three rows and in one of ten thousand behind
/// deleted ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_one_read_whatever_the_age_of_the_channel() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let (channel, base) = (next_id(), next_id());
    for count in [3, 10_000] {
        let rows = (1..=count).map(|n| RowChange::PutMessage(message(channel, base + n, "")));
        store.put_rows(rows.collect(), next_rev()).await.expect("loaded");
        let before = store.counters().reads;
        assert_eq!(page(&*store, channel, base, newest(3)).await.len(), 3);
        assert_eq!(store.counters().reads - before, 1);
    }
}
