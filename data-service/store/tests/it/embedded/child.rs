//! The store in a process that dies: killed at any moment, or on a full disk. The child is this test binary
//! again, which takes its instructions from its environment and prints what was acknowledged.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use weir_bus::Inbox as _;
use weir_proto::{data::Message, id::ScopeId};
use weir_store::{
    Commit, Halt, OutboxRecord, RowChange, Store, WriteError,
    embedded::{EmbeddedConfig, EmbeddedStore},
};

use crate::fixture::as_id;

/// Directory in which the child writes; absent in the parent.
const CHILD: &str = "WEIR_STORE_TEST_CHILD";
/// Set in the child if it must not flush: then its journal grows until the disk is full.
const NO_FLUSH: &str = "WEIR_STORE_TEST_NO_FLUSH";
/// Writers in the child, each with a channel of its own.
const WRITERS: u64 = 8;
/// Id of the first message; its successors follow.
const BASE: u64 = 1 << 60;
/// Bytes of a message's content.
const CONTENT_BYTES: usize = 2_000;

/// A store that flushes and compacts soon, so that the kill hits both.
fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = super::flushing_soon(directory);
    config.ring_records_max = 16;
    if env::var_os(NO_FLUSH).is_some() {
        config.messages_buffer_bytes = 1 << 30;
        config.log_buffer_bytes = 1 << 30;
        config.small_buffer_bytes = 1 << 30;
    }
    config
}

/// The command that runs the child test, with `shell` before it.
fn child(directory: &Path, shell: &str) -> Command {
    let binary = env::current_exe().expect("this binary");
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{shell} exec \"$0\" --exact embedded::child::writes_until_it_ends --nocapture"))
        .arg(binary)
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Number of the last message of each channel that the child printed as acknowledged, up to where `stop` ends
/// the reading.
fn acknowledged(
    output: impl std::io::Read,
    mut stop: impl FnMut(usize) -> bool,
) -> (BTreeMap<u64, u64>, Vec<String>) {
    let (mut last, mut said, mut count) = (BTreeMap::new(), Vec::new(), 0);
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        let Some(ack) = line.strip_prefix("ack ") else {
            said.push(line);
            continue;
        };
        let (channel, number) = ack.split_once(' ').expect("two numbers");
        last.insert(channel.parse().expect("a number"), number.parse().expect("a number"));
        count += 1;
        if stop(count) {
            break;
        }
    }
    (last, said)
}

/// The child's part: it writes without end, and ends on the first error. In the parent it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn writes_until_it_ends() {
    let Some(directory) = env::var_os(CHILD) else { return };
    let store = EmbeddedStore::open(config(Path::new(&directory))).expect("opens");
    let writers: Vec<_> = (1..=WRITERS).map(|channel| tokio::spawn(write(store.clone(), channel))).collect();
    for writer in writers {
        let error = writer.await.expect("no panic");
        say(&format!("error {error}"));
    }
    // All writers have seen the error, so the store must report it too.
    let ready = store.ready(Duration::from_secs(5)).await;
    say(&format!("ready {}", ready.is_ok()));
}

/// Prints one line at once: the parent reads it even if we are killed right after.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that has read enough closes the pipe.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn write(store: Arc<EmbeddedStore>, channel_id: u64) -> WriteError {
    let newest = weir_store::PartitionRange {
        after: None,
        before: None,
        order: weir_store::RowOrder::NewestFirst,
        limit: 1,
    };
    let bucket = weir_proto::bucket::Bucket::of_raw(BASE);
    let last = store.read_partition(as_id(channel_id), bucket, newest).await.expect("readable");
    let mut number = last.first().map_or(0, |message| message.id - BASE);
    loop {
        number += 1;
        if let Err(error) = store.commit(step(channel_id, number)).await {
            // A poisoned store stays so: every later write is refused and was not begun.
            let again = store.commit(step(channel_id, number + 1)).await;
            assert!(matches!(again, Err(WriteError::Halted(Halt::Lost { .. }))), "{again:?} after {error}");
            return error;
        }
        say(&format!("ack {channel_id} {number}"));
    }
}

/// One message and its record.
fn step(channel_id: u64, number: u64) -> Commit {
    let message = Message {
        id: BASE + number,
        channel_id,
        author_id: 1,
        content: "x".repeat(CONTENT_BYTES),
        rev: number,
        last_rev: number,
        ..Message::default()
    };
    let record = Bytes::from(format!("{channel_id} {number}"));
    let record = OutboxRecord { guild_id: Some(as_id(1)), rev: number, record };
    Commit {
        scope_id: ScopeId::Channel(as_id(channel_id)),
        rev: number,
        rows: vec![RowChange::PutMessage(message)],
        records: vec![record],
        rows_are_outbox: true,
    }
}

/// Everything acknowledged is stored, rows and records agree, each of them exactly once, and positions are
/// dense.
async fn verify(directory: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let store = EmbeddedStore::open(config(directory)).expect("opens after the end");
    let mut rows = BTreeMap::new();
    for channel_id in 1..=WRITERS {
        rows.insert(channel_id, count_rows(&store, channel_id).await);
    }
    for (channel_id, number) in acknowledged {
        assert!(
            rows[channel_id] >= *number,
            "channel {channel_id}: {number} acknowledged, {} there",
            rows[channel_id]
        );
    }
    let mut recorded: BTreeMap<u64, u64> = (1..=WRITERS).map(|channel| (channel, 0)).collect();
    let mut after = 0;
    while after < store.head() {
        for (position, record) in store.read(after, 1_000).await.expect("kept").records {
            after += 1;
            assert_eq!(position, after, "positions are dense");
            let text = String::from_utf8(record.to_vec()).expect("text");
            let (channel, number) = text.split_once(' ').expect("two numbers");
            let last = recorded.get_mut(&channel.parse().expect("a number")).expect("one of the writers");
            assert_eq!(number.parse::<u64>().expect("a number"), *last + 1, "each once, in order");
            *last += 1;
        }
    }
    assert_eq!(recorded, rows, "a row and its record are one step");
    store.close().await;
}

/// Rows of a channel; their numbers must run from 1 without gaps.
async fn count_rows(store: &EmbeddedStore, channel_id: u64) -> u64 {
    let bucket = weir_proto::bucket::Bucket::of_raw(BASE);
    let mut number = 0;
    loop {
        let range = weir_store::PartitionRange {
            after: Some(as_id(BASE + number)),
            before: None,
            order: weir_store::RowOrder::OldestFirst,
            limit: 1_000,
        };
        let rows = store.read_partition(as_id(channel_id), bucket, range).await.expect("readable");
        if rows.is_empty() {
            return number;
        }
        for row in rows {
            number += 1;
            assert_eq!((row.id - BASE, row.content.len()), (number, CONTENT_BYTES));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_being_killed_at_any_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    // The kill comes after so many acknowledgements; the last numbers leave time for flushes, compactions and
    // a change of journal.
    for (round, acks) in [1, 7, 300, 2_000, 20_000, 50, 5_000].into_iter().enumerate() {
        let mut running = child(directory.path(), "").spawn().expect("starts");
        let output = running.stdout.take().expect("piped");
        let (acknowledged, _) = acknowledged(output, |count| count >= acks);
        running.kill().expect("it is ours");
        running.wait().expect("it ends");
        assert!(!acknowledged.is_empty(), "round {round}: nothing was acknowledged");
        verify(directory.path(), &acknowledged).await;
    }
}

/// A limit on the size of files stands for a full disk: both fail the write that exceeds them.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_poisons_the_store_and_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    // fjall sets a journal's size to 64 MiB at once and goes on beyond it: the limit (in blocks of 512 bytes)
    // lies just above. With the signal ignored, the write itself fails.
    let mut full = child(directory.path(), "trap '' XFSZ; ulimit -f 135000;");
    let mut running = full.env(NO_FLUSH, "1").spawn().expect("starts");
    let output = running.stdout.take().expect("piped");
    let (acknowledged, said) = acknowledged(output, |_| false);
    running.wait().expect("it ends");
    let errors: Vec<_> = said.iter().filter(|line| line.starts_with("error ")).collect();
    assert_eq!(errors.len() as u64, WRITERS, "every writer gets the error: {said:?}");
    let lost = |error: &&String| error.contains("is poisoned") || error.contains("is lost to this process");
    assert!(errors.iter().all(lost), "{errors:?}");
    assert!(
        errors.iter().any(|error| error.contains("File too large")),
        "the first error is named: {errors:?}"
    );
    assert!(said.iter().any(|line| line == "ready false"), "{said:?}");
    verify(directory.path(), &acknowledged).await;
}
