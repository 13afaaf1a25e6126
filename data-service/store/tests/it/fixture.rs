//! Rows and ids for tests. Every test makes its own ids, so that all of them can share one database.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{EPOCH_MS, ScopeId, SnowflakeError},
};
use weir_store::{Commit, OutboxRecord, PartitionRange, RowChange, RowOrder, Store};

/// Microseconds since 1970-01-01T00:00Z.
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A revision above all earlier ones of this process.
pub(crate) fn next_rev() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = now_us();
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1)));
    now.max(last.expect("the closure always answers") + 1)
}

/// An id that no other test of this process uses. It is of the present time, so that its bucket is a current
/// one.
pub(crate) fn next_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    // Ids are a second apart, so that what a test derives from one by adding small numbers never equals
    // another.
    (now_us() / 1_000 - EPOCH_MS + count * 1_000) << 22
}

/// An id of the kind that the place wants. Tests have numbers, and derive some from others.
pub(crate) fn as_id<Id: TryFrom<u64, Error = SnowflakeError>>(raw: u64) -> Id {
    Id::try_from(raw).expect("not 0")
}

/// A scope of a number. Which kind it is changes nothing in what a store keeps of a commit.
pub(crate) fn scope(raw: u64) -> ScopeId {
    ScopeId::Guild(as_id(raw))
}

/// A live message.
pub(crate) fn message(channel_id: u64, id: u64, content: &str) -> Message {
    let rev = next_rev();
    Message {
        id,
        channel_id,
        author_id: 77,
        content: content.to_owned(),
        rev,
        last_rev: rev,
        ..Message::default()
    }
}

/// A record with the content `text`.
pub(crate) fn record(rev: u64, text: &str) -> OutboxRecord {
    OutboxRecord { guild_id: Some(as_id(5)), rev, record: Bytes::from(text.to_owned()) }
}

/// The commit of newly created messages of one partition.
pub(crate) fn creates(channel_id: u64, messages: &[Message]) -> Commit {
    Commit {
        scope_id: ScopeId::Channel(as_id(channel_id)),
        rev: messages.iter().map(|message| message.rev).max().unwrap_or(0),
        rows: messages.iter().cloned().map(RowChange::PutMessage).collect(),
        records: messages.iter().map(|message| record(message.rev, &message.content)).collect(),
        rows_are_outbox: true,
    }
}

/// Any other commit, with one record.
pub(crate) fn change(scope_id: u64, rev: u64, rows: Vec<RowChange>) -> Commit {
    let records = vec![record(rev, "change")];
    Commit { scope_id: scope(scope_id), rev, rows, records, rows_are_outbox: false }
}

/// A range without borders.
pub(crate) fn newest(limit: usize) -> PartitionRange {
    PartitionRange { after: None, before: None, order: RowOrder::NewestFirst, limit }
}

/// Ids of a page.
pub(crate) async fn page(store: &dyn Store, channel_id: u64, id: u64, range: PartitionRange) -> Vec<u64> {
    let rows = store.read_partition(as_id(channel_id), Bucket::of_raw(id), range).await.expect("readable");
    rows.into_iter().map(|row| row.id).collect()
}

/// Runs a future that must end soon; hanging is a failure.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let within = Duration::from_secs(120);
    tokio::time::timeout(within, future).await.unwrap_or_else(|_| panic!("{what}: not within {within:?}"))
}

/// The number of a partition's messages, read page by page.
pub(crate) async fn count_rows(store: &dyn Store, channel_id: u64, bucket: Bucket) -> u64 {
    let (mut after, mut count) = (None, 0);
    loop {
        let range = PartitionRange { after, before: None, order: RowOrder::OldestFirst, limit: 50 };
        let rows = store.read_partition(as_id(channel_id), bucket, range).await.expect("reads go on");
        let Some(last) = rows.last() else { return count };
        after = Some(as_id(last.id));
        count += rows.len() as u64;
    }
}
