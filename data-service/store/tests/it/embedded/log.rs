//! The event log: dense, durable, bounded.

use std::sync::Arc;

use bytes::Bytes;
use weir_bus::{EventBus, Inbox, InboxError, Outgoing, Published, SessionRow, SessionStore};
use weir_store::{
    Active, Store,
    embedded::{EmbeddedConfig, EmbeddedStore},
};

use crate::fixture::{self, change, creates, message, next_id, next_rev, soon};

fn small(directory: &std::path::Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.log_records_max = 100;
    config.ring_records_max = 10;
    config
}

/// Commits `count` records, one at a time.
async fn commit(store: &EmbeddedStore, scope: u64, count: u64) {
    for _ in 0..count {
        store.commit(change(scope, next_rev(), vec![])).await.expect("committed");
    }
}

/// Everything above a position, in pages of 7; positions must be dense.
async fn follow(store: &EmbeddedStore, mut after: u64) -> u64 {
    let began = after;
    loop {
        let batch = store.read(after, 7).await.expect("kept");
        let Some((last, _)) = batch.records.last() else { return after - began };
        for (expected, (position, record)) in (after + 1..).zip(&batch.records) {
            assert_eq!((*position, record.as_ref()), (expected, b"change".as_slice()));
        }
        after = *last;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_puts_its_records_into_the_log_and_wakes_readers() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            store.wait(1).await;
            store.read(0, 10).await.expect("kept").records
        }
    });
    let channel = next_id();
    let rows = [message(channel, next_id(), "a"), message(channel, next_id(), "b")];
    store.commit(creates(channel, &rows)).await.expect("committed");
    let records = soon("the reader wakes", reader).await.expect("no panic");
    assert_eq!(records, [(1, Bytes::from_static(b"a")), (2, Bytes::from_static(b"b"))]);
    assert!(store.durable() && store.committed_with_store());
    // Publishing what was committed adds nothing.
    let out = Outgoing { topics: Vec::new(), record: Bytes::from_static(b"a") };
    assert_eq!(store.publish(vec![out]).await.expect("does nothing"), Published::Kept);
    assert_eq!(store.head(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_records_are_beside_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    let mut typing = store.subscribe_ephemeral();
    store.publish_ephemeral(Outgoing { topics: Vec::new(), record: Bytes::from_static(b"typing") }).await;
    assert_eq!(typing.recv().await.expect("sent"), Bytes::from_static(b"typing"));
    assert_eq!(store.head(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_trimmed_with_its_index_and_read_behind_the_ring() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(small(directory.path())).expect("opens");
    let scope = next_id();
    commit(&store, scope, 350).await;
    assert_eq!(store.head(), 350);
    let Err(InboxError::Truncated { floor }) = store.read(0, 10).await else { panic!("0 is long gone") };
    // A batch trims before it appends its own records.
    assert!((249..=250).contains(&floor), "{floor}");
    assert!(matches!(store.read(floor - 1, 10).await, Err(InboxError::Truncated { .. })));
    assert_eq!(follow(&store, floor).await, 350 - floor);
    let kept = store.read_changes(fixture::scope(scope), 0, 1_000).await.expect("readable");
    assert_eq!(kept.len() as u64, 350 - floor);
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_go_on_after_opening_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let scope = next_id();
    for opened in 0..3_u64 {
        let store = EmbeddedStore::open(small(directory.path())).expect("opens");
        assert_eq!(store.head(), opened * 60);
        commit(&store, scope, 60).await;
        let after = store.head() - 80_u64.min(store.head());
        assert_eq!(follow(&store, after).await, store.head() - after);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded_in_bytes_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = EmbeddedConfig::new(directory.path());
    config.log_bytes_max = 60;
    config.ring_records_max = 1;
    let store = EmbeddedStore::open(config).expect("opens");
    commit(&store, next_id(), 50).await;
    let Err(InboxError::Truncated { floor }) = store.read(0, 10).await else { panic!("0 is long gone") };
    // The bound holds ten records of six bytes.
    assert!((39..=40).contains(&floor), "{floor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_commit_is_in_the_log_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    let step = change(next_id(), next_rev(), vec![]);
    // They are sent at once, so that some share a batch.
    let repeats: Vec<_> = (0..20)
        .map(|_| {
            let (store, step): (Arc<EmbeddedStore>, _) = (store.clone(), step.clone());
            tokio::spawn(async move { store.commit(step).await })
        })
        .collect();
    for repeat in repeats {
        repeat.await.expect("no panic").expect("committed");
    }
    assert_eq!(store.head(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let row = |id: &str, state: &'static str| SessionRow {
        id: id.to_owned(),
        state: Bytes::from_static(state.as_bytes()),
    };
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    for row in [row("a", "old"), row("a", "new"), row("b", "gone"), row("c", "3")] {
        store.put(row).await.expect("kept");
    }
    store.delete("b").await.expect("forgotten");
    store.close().await;
    drop(store);
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    assert_eq!(store.get("a").await.expect("readable"), Some(row("a", "new")));
    assert_eq!(store.get("b").await.expect("readable"), None);
    assert_eq!(store.list(10).await.expect("readable"), [row("a", "new"), row("c", "3")]);
    assert_eq!(store.list(1).await.expect("readable").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_wrote_and_how_far_back_it_knows() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(small(directory.path())).expect("opens");
    let empty = store.read_active(0, 10).await.expect("readable");
    assert_eq!(empty, Active { scopes: Vec::new(), whole: true });
    // This one is minted before the others and committed after some of them. What lies behind it in the log
    // must be found all the same.
    let (early, one, two) = (next_rev(), next_id(), next_id());
    let since = next_rev();
    commit(&store, one, 1).await;
    store.commit(change(two, early, vec![])).await.expect("committed");
    commit(&store, two, 1).await;
    let mut active = store.read_active(since, 10).await.expect("readable");
    active.scopes.sort_unstable();
    assert_eq!(active, Active { scopes: vec![fixture::scope(one), fixture::scope(two)], whole: true });
    // The trimmed records may have been those of another scope.
    commit(&store, two, 150).await;
    let active = store.read_active(since, 10).await.expect("readable");
    assert_eq!(active, Active { scopes: vec![fixture::scope(two)], whole: false });
}
