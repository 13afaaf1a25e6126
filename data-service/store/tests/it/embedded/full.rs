//! The store on a real disk of 48 MiB that fills up, where this process may mount one. Elsewhere the test
//! says that it is skipped. The unit tests of `guard` do the same on a disk that only reports little room.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use weir_proto::bucket::Bucket;
use weir_store::{Halt, Store, WriteError, embedded::EmbeddedStore};

use super::flushing_soon;
use crate::fixture::{count_rows, creates, message};

const CHANNEL: u64 = 7;
/// Id of the first message.
const BASE: u64 = 1 << 60;
const CONTENT_BYTES: usize = 16 * 1024;
/// Longest wait for something that takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small file system, unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m", "none"]).arg(directory.path());
        mount.output().is_ok_and(|done| done.status.success()).then(|| Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

async fn write(store: &EmbeddedStore, number: u64) -> Result<(), WriteError> {
    let row = message(CHANNEL, BASE + number, &"x".repeat(CONTENT_BYTES));
    store.commit(creates(CHANNEL, &[row])).await
}

async fn count(store: &EmbeddedStore) -> u64 {
    count_rows(store, CHANNEL, Bucket::of_raw(BASE)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_writes_before_the_store_is_lost() {
    let Some(disk) = Disk::mount() else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    let directory = disk.path().join("data");
    let store = EmbeddedStore::open(flushing_soon(&directory)).expect("opens");
    let mut written = 0;
    let refused = loop {
        match write(&store, written + 1).await {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, WriteError::Halted(Halt::DiskFull { .. })), "after {written}: {refused}");
    assert!(written > 100, "{written} messages of 16 KiB on 48 MiB: {refused}");
    // It finishes the work that it has begun: the full disk loses nothing.
    let began = Instant::now();
    while store.working() > 0 {
        assert!(began.elapsed() < PATIENCE, "it does not come to rest");
        tokio::task::yield_now().await;
    }
    assert_eq!((count(&store).await, store.poisoned()), (written, None));
    let message = store.ready(PATIENCE).await.expect_err("not ready").to_string();
    assert!(message.contains("is full"), "{message}");
    let grown = Command::new("mount").args(["-o", "remount,size=256m"]).arg(disk.path()).status();
    assert!(grown.expect("runs").success());
    for number in written + 1..=written + 200 {
        write(&store, number).await.expect("there is room again");
    }
    store.ready(PATIENCE).await.expect("ready again");
    store.close().await;
    drop(store);
    let store = EmbeddedStore::open(flushing_soon(&directory)).expect("opens again");
    assert_eq!(count(&store).await, written + 200);
    store.close().await;
}
