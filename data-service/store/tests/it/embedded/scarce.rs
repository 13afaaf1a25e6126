//! The store in a process without free file descriptors. A write that needs one is refused with the reason,
//! nothing is lost, nothing ends, and with the first free descriptors everything goes on. The child is this
//! test binary again, because descriptors belong to a process.

use std::{
    env,
    fs::File,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_proto::bucket::Bucket;
use weir_store::{Store, WriteError, embedded::EmbeddedStore};

use super::flushing_soon;
use crate::fixture::{count_rows, creates, message};

/// How the child runs out of descriptors; absent in the parent.
const CHILD: &str = "WEIR_STORE_TEST_SCARCE";
/// Descriptors that the child may open; they are few, so that they are soon gone.
const LIMIT: u64 = 256;
/// Id of the first message.
const BASE: u64 = 1 << 60;
const CHANNEL: u64 = 7;
/// Bytes of a message: with buffers of a mebibyte, every few dozen of them make a table.
const CONTENT_BYTES: usize = 16 * 1024;
/// Messages of each phase: enough for several tables, so that flushes and compactions happen meanwhile.
const MESSAGES: u64 = 160;
/// Descriptors that are lost with each message.
const LEAK: usize = 4;
/// Longest wait for something that takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);

fn run(how: &str) {
    let child = Command::new(env::current_exe().expect("this binary"))
        .args(["--exact", "embedded::scarce::serves_without_descriptors", "--nocapture"])
        .env(CHILD, how)
        .output()
        .expect("starts");
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("went on"), "it ran");
}

#[test]
fn a_process_whose_descriptors_are_taken_refuses_writes_and_goes_on() {
    run("leak");
}

#[test]
fn a_process_whose_limit_is_lowered_while_it_runs_refuses_writes_and_goes_on() {
    run("lower");
}

/// A leak: each call loses a few more descriptors.
fn leak(lost: &mut Vec<File>) {
    lost.extend((0..LEAK).map_while(|_| File::open("/dev/null").ok()));
}

/// Takes away the right to open any file; calling the result gives it back.
fn lower() -> impl FnOnce() {
    let before = getrlimit(Resource::Nofile);
    // The next number that would be given out is the first that is not allowed.
    let next =
        File::open("/dev/null").map(|file| std::os::fd::AsRawFd::as_raw_fd(&file)).expect("one is left");
    let none = Rlimit { current: u64::try_from(next).ok(), maximum: before.maximum };
    setrlimit(Resource::Nofile, none).expect("lowered");
    move || setrlimit(Resource::Nofile, before).expect("raised")
}

/// Writes one message; true if it was acknowledged, false if it was refused for want of descriptors.
async fn write(store: &EmbeddedStore, number: u64) -> bool {
    let row = message(CHANNEL, BASE + number, &"x".repeat(CONTENT_BYTES));
    match store.commit(creates(CHANNEL, &[row])).await {
        Ok(()) => true,
        Err(WriteError::Halted(halt)) => {
            assert!(halt.to_string().contains("file descriptors"), "{halt}");
            false
        }
        Err(other) => panic!("message {number}: {other}"),
    }
}

async fn count(store: &EmbeddedStore) -> u64 {
    count_rows(store, CHANNEL, Bucket::of_raw(BASE)).await
}

async fn ready(store: &EmbeddedStore) -> Result<(), String> {
    store.ready(Duration::from_secs(5)).await.map_err(|error| error.to_string())
}

/// The child's part. In the parent it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn serves_without_descriptors() {
    let Ok(how) = env::var(CHILD) else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).expect("lowered");
    let directory = tempfile::tempdir().expect("a directory");
    let store: Arc<EmbeddedStore> = EmbeddedStore::open(flushing_soon(directory.path())).expect("opens");
    let (mut number, mut written) = (0, 0);
    for _ in 0..MESSAGES {
        number += 1;
        written += u64::from(write(&store, number).await);
    }
    assert_eq!(written, MESSAGES);
    let began = Instant::now();
    while store.working() > 0 {
        assert!(began.elapsed() < PATIENCE, "it does not come to rest");
        tokio::task::yield_now().await;
    }
    let (mut lost, give_back) = (Vec::new(), (how == "lower").then(lower));
    let mut refused = 0;
    for _ in 0..MESSAGES {
        number += 1;
        // The descriptors that the store releases serve the work that it has begun, and reads.
        if how == "leak" && refused == 0 {
            leak(&mut lost);
        }
        match write(&store, number).await {
            true => written += 1,
            false => refused += 1,
        }
    }
    assert!(refused > 0, "{how}: nothing was refused");
    assert_eq!(count(&store).await, written, "{how}");
    let message = ready(&store).await.expect_err("not ready");
    assert!(message.contains("file descriptors"), "{message}");
    assert_eq!(store.poisoned(), None);
    drop(lost);
    if let Some(give_back) = give_back {
        give_back();
    }
    let began = Instant::now();
    while !write(&store, number + 1).await {
        assert!(began.elapsed() < PATIENCE, "it stays refused");
        tokio::task::yield_now().await;
    }
    (number, written) = (number + 1, written + 1);
    assert_eq!(ready(&store).await, Ok(()));
    for _ in 0..MESSAGES {
        number += 1;
        assert!(write(&store, number).await);
        written += 1;
    }
    assert_eq!(count(&store).await, written);
    store.close().await;
    drop(store);
    let store = EmbeddedStore::open(flushing_soon(directory.path())).expect("opens again");
    assert_eq!(count(&store).await, written);
    println!("went on");
}
