//! The changes of a scope above a revision, rebuilt from the database: what a consumer of events fetches when it sees a gap, and what the
//! outbox publishes again.

use bytes::Bytes;
use prost::Message as _;
use weir_proto::{
    bucket::Bucket,
    data::Message,
    event::{Record, record::Change},
    id::{EPOCH_MS, unix_ms},
};
use weir_store::{PartitionRange, ReadError, RowOrder, Store};

/// How long changes other than creates are kept: the schema's TTL.
pub const KEPT_US: u64 = 24 * 60 * 60 * 1_000_000;
/// A created row's id and its revision are minted at the same moment; ids may run ahead of the clock by half a second, so rows are looked
/// for from this much before the revision. Rows whose id and revision lie further apart were imported and are not events.
const SLACK_US: u64 = 2_000_000;

/// A page of changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Records with `rev` and `prev_rev` chained to each other and to the asked revision; oldest first.
    pub records: Vec<Record>,
    /// More follow above the last one.
    pub more: bool,
    /// The asked revision is older than what is kept.
    pub truncated: bool,
}

/// Reads changes of a scope above `after_rev`, at most `limit`. `now_us` decides what is no longer kept.
///
/// # Errors
/// Those of the store.
pub async fn read(
    store: &dyn Store,
    scope_id: u64,
    is_channel: bool,
    after_rev: u64,
    limit: usize,
    now_us: u64,
) -> Result<Changes, ReadError> {
    if after_rev + KEPT_US < now_us {
        return Ok(Changes { truncated: true, ..Changes::default() });
    }
    let kept = store.read_changes(scope_id, after_rev, limit).await?;
    let mut more = kept.len() >= limit;
    let mut records = Vec::with_capacity(kept.len());
    for row in kept {
        let record = Record::decode(row.record).map_err(|error| ReadError::Corrupt {
            reason: format!("change {scope_id}/{}: {error}", row.rev),
        })?;
        // A store with a log keeps creates among the changes as well; they come from the rows below, once.
        if !matches!(record.change, Some(Change::MessageCreated(_))) {
            records.push(record);
        }
    }
    if is_channel {
        let guild_id = store.read_channel(scope_id).await?.map_or(0, |channel| channel.guild_id);
        let created = created_after(store, scope_id, after_rev, limit).await?;
        more |= created.len() >= limit;
        records.extend(created.into_iter().map(|row| Record {
            scope_id,
            guild_id,
            rev: row.rev,
            change: Some(Change::MessageCreated(row)),
            ..Record::default()
        }));
    }
    records.sort_by_key(|record| record.rev);
    records.truncate(limit);
    let mut prev_rev = after_rev;
    for record in &mut records {
        record.prev_rev = prev_rev;
        record.recovered = true;
        prev_rev = record.rev;
    }
    Ok(Changes { records, more, truncated: false })
}

/// Created rows with a revision above `after_rev`, oldest first, at most `limit`.
async fn created_after(
    store: &dyn Store,
    channel_id: u64,
    after_rev: u64,
    limit: usize,
) -> Result<Vec<Message>, ReadError> {
    let from_ms = (after_rev.saturating_sub(SLACK_US) / 1_000).saturating_sub(EPOCH_MS);
    let mut after = from_ms << 22;
    let buckets = store
        .read_buckets(channel_id, Bucket::of_raw(after), Bucket(u32::MAX), RowOrder::OldestFirst, 1_000)
        .await?;
    let mut found = Vec::new();
    for bucket in buckets {
        loop {
            let range = PartitionRange {
                after,
                before: u64::MAX,
                order: RowOrder::OldestFirst,
                limit: limit.min(1_000),
            };
            let rows = store.read_partition(channel_id, bucket, range).await?;
            let full = rows.len() == range.limit;
            after = rows.last().map_or(after, |row| row.id);
            found.extend(rows.into_iter().filter(|row| row.rev > after_rev && !is_imported(row)));
            if found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
            if !full {
                break;
            }
        }
    }
    Ok(found)
}

fn is_imported(row: &Message) -> bool {
    (unix_ms(row.id) * 1_000).abs_diff(row.rev) > SLACK_US
}

/// A record as the bus carries it.
#[must_use]
pub fn encode(record: &Record) -> Bytes {
    Bytes::from(record.encode_to_vec())
}
