//! A missing piece of the store is reported; it never becomes an empty store.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use weir_proto::bucket::Bucket;
use weir_store::{
    Store,
    embedded::{EmbeddedConfig, EmbeddedStore, OpenError, VERSION_FILE, inspect},
};

use crate::fixture::{as_id, creates, message, next_id};

/// A directory with a store that holds one message and was closed.
async fn kept() -> (tempfile::TempDir, u64, u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let (channel, id) = (next_id(), next_id());
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path())).expect("opens");
    store.commit(creates(channel, &[message(channel, id, "kept")])).await.expect("committed");
    store.close().await;
    (directory, channel, id)
}

fn open(directory: &Path) -> Result<std::sync::Arc<EmbeddedStore>, OpenError> {
    EmbeddedStore::open(EmbeddedConfig::new(directory))
}

/// The only journal.
fn journal(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("lsm")).expect("there");
    let mut journals = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jnl"));
    let journal = journals.next().expect("one");
    assert!(journals.next().is_none());
    journal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_a_piece_is_refused_and_left_as_it_is() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 8] = [
        ("lsm/version", |tree| fs::remove_dir_all(tree).expect("gone")),
        ("lsm/version", |tree| fs::remove_file(tree.join("version")).expect("gone")),
        ("keyspaces/0/current", |tree| fs::remove_file(tree.join("keyspaces/0/current")).expect("gone")),
        ("keyspaces/0/current", |tree| fs::remove_dir_all(tree.join("keyspaces/0")).expect("gone")),
        ("keyspaces/1/current", |tree| fs::remove_file(tree.join("keyspaces/1/current")).expect("gone")),
        ("folders of lsm/keyspaces", |tree| fs::remove_dir_all(tree.join("keyspaces/1")).expect("gone")),
        ("the journal", |tree| fs::remove_file(journal(tree.parent().expect("one"))).expect("gone")),
        ("the end of the journal", |tree| {
            let file = OpenOptions::new().write(true).open(journal(tree.parent().expect("one")));
            file.expect("there").set_len(0).expect("shorter");
        }),
    ];
    for (piece, damage) in cases {
        let (directory, channel, id) = kept().await;
        // The test opens twice, because one opening must not hide the loss from the next.
        damage(&directory.path().join("lsm"));
        for _ in 0..2 {
            match open(directory.path()) {
                Err(error @ OpenError::Incomplete { .. }) => {
                    let message = error.to_string();
                    assert!(message.contains(piece) && message.contains("backup"), "{piece}: {message}");
                    assert!(message.contains(&directory.path().display().to_string()), "{message}");
                }
                other => panic!("{piece}: {:?}", other.map(|_store| (channel, id))),
            }
        }
        assert!(matches!(inspect(directory.path()), Err(OpenError::Incomplete { .. })), "{piece}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_without_its_version_is_refused_and_an_empty_directory_is_not() {
    let (directory, ..) = kept().await;
    assert_eq!(inspect(directory.path()).expect("whole"), Some(1));
    fs::remove_file(directory.path().join(VERSION_FILE)).expect("gone");
    assert!(matches!(open(directory.path()), Err(OpenError::NoVersion { .. })));
    assert!(matches!(inspect(directory.path()), Err(OpenError::NoVersion { .. })));
    fs::remove_dir_all(directory.path().join("lsm")).expect("gone");
    open(directory.path()).expect("a new store");
}

/// An older build left no note of its journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_build_that_noted_nothing_opens() {
    let (directory, channel, id) = kept().await;
    fs::remove_file(directory.path().join("JOURNAL")).expect("gone");
    for _ in 0..2 {
        let store = open(directory.path()).expect("opens");
        assert!(store.read_message(as_id(channel), as_id(id)).await.expect("readable").is_some());
        store.add_bucket(as_id(channel), Bucket(1)).await.expect("written");
        store.close().await;
    }
    assert!(directory.path().join("JOURNAL").exists());
}
