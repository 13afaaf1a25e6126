//! Rebuilds the changes of a scope above a revision from the database: consumers of events fetch them when
//! they see a gap, and the outbox republishes them.

use bytes::Bytes;
use prost::Message as _;
use weir_proto::{
    bucket::Bucket,
    data::Message,
    event::{Record, record::Change},
    id::{ChannelId, EPOCH_MS, GuildId, MessageId, ScopeId, is_imported},
};
use weir_store::{PartitionRange, ReadError, RowOrder, Store};

use super::record::Audience;

/// Time for which changes other than creates are kept: the schema's TTL.
pub const KEPT_US: u64 = 24 * 60 * 60 * 1_000_000;
/// Buckets of a channel's index that are read: they cover 27 years.
const BUCKETS_MAX: usize = 1_000;
/// Rows of `changes` read at once.
const CHANGES_PAGE: usize = 500;
/// The first search for rows begins this many microseconds before a revision. A created row's id and its
/// revision are minted at the same moment, so nothing lies below if the clock was never set back; see
/// [`start`].
const SLACK_US: u64 = 2_000_000;
/// Rows of the first read below that, and of each later one.
const BACK_FIRST: usize = 32;
const BACK_PAGE: usize = 1_000;
/// Microseconds to search back, however many imported rows lie in them. A clock may be five minutes ahead at
/// any time, and further ahead only at a start; a day is also the time for which changes are kept.
const BACK_US: u64 = KEPT_US;
/// Imported rows searched below that: they make no records, and a channel may hold millions.
const BACK_ROWS_MAX: usize = 2_000;

/// A page of changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Records, oldest first, whose `rev` and `prev_rev` link them to each other and to the given revision.
    /// They are all that were committed before the reading began and still show: a create whose row is gone
    /// is left out, and its deletion follows.
    pub records: Vec<Record>,
    /// True if more records follow above the last one.
    pub more: bool,
}

/// True if all changes above `after_rev` are still kept at `now_us`.
#[must_use]
pub const fn is_kept(after_rev: u64, now_us: u64) -> bool {
    after_rev.saturating_add(KEPT_US) >= now_us
}

/// Reads changes of a scope above `after_rev`, at most `limit`. The caller must know that none of them is
/// older than what is kept: by [`is_kept`], or because it knows the change before the first one that it must
/// publish, however old that is.
///
/// # Errors
/// Those of the store.
pub async fn read(
    store: &dyn Store,
    scope_id: ScopeId,
    after_rev: u64,
    limit: usize,
) -> Result<Changes, ReadError> {
    let mut audience = Audience::default();
    let mut created = Created { rows: Vec::new(), to_rev: u64::MAX };
    if let ScopeId::Channel(channel_id) = scope_id {
        audience = Audience::of(store.read_channel(channel_id).await?.as_ref());
        created = created_after(store, channel_id, after_rev, limit).await?;
    }
    let (changed, changed_to) = changed_after(store, scope_id, after_rev, created.to_rev, limit).await?;
    if let (ScopeId::Channel(channel_id), Some(last)) = (scope_id, changed.last())
        && created.rows.last().is_none_or(|row| row.rev < last.rev)
        && created.to_rev == u64::MAX
    {
        // The two are read one after the other, and the channel may be written meanwhile: a create between
        // the reads and a change after it would look as if the change followed directly on the earlier ones.
        // Commits come one at a time, so rows that are read after a change include every create before it.
        // Creates after it may hide a change in turn; they are left for the next reading.
        created = created_after(store, channel_id, after_rev, limit).await?;
        created.rows.retain(|row| row.rev < last.rev);
    }
    let known_to = created.to_rev.min(changed_to);
    let mut records: Vec<Record> = created
        .rows
        .into_iter()
        .map(|row| Record {
            scope_id: scope_id.get(),
            guild_id: audience.guild_id().map_or(0, GuildId::get),
            recipient_ids: audience.recipient_ids(),
            rev: row.rev,
            change: Some(Change::MessageCreated(row)),
            ..Record::default()
        })
        .collect();
    records.extend(changed);
    records.retain(|record| record.rev <= known_to);
    records.sort_by_key(|record| record.rev);
    let more = known_to != u64::MAX || records.len() > limit;
    records.truncate(limit);
    let mut prev_rev = after_rev;
    for record in &mut records {
        record.prev_rev = prev_rev;
        record.recovered = true;
        prev_rev = record.rev;
    }
    Ok(Changes { records, more })
}

/// Changes other than creates above `after_rev` and up to `to_rev`, oldest first, and the revision up to
/// which they are complete: at least `limit` of them, or all. A store with a log keeps creates among the
/// changes as well; they come from the rows, so here they are skipped.
async fn changed_after(
    store: &dyn Store,
    scope_id: ScopeId,
    mut after_rev: u64,
    to_rev: u64,
    limit: usize,
) -> Result<(Vec<Record>, u64), ReadError> {
    let mut found = Vec::new();
    loop {
        let kept = store.read_changes(scope_id, after_rev, CHANGES_PAGE).await?;
        let full = kept.len() >= CHANGES_PAGE;
        for row in kept {
            after_rev = row.rev;
            let record = Record::decode(row.record).map_err(|error| ReadError::Corrupt {
                reason: format!("change {scope_id}/{}: {error}", row.rev),
            })?;
            if !matches!(record.change, Some(Change::MessageCreated(_))) {
                found.push(record);
            }
        }
        if !full {
            return Ok((found, u64::MAX));
        }
        if found.len() >= limit || after_rev >= to_rev {
            return Ok((found, after_rev));
        }
    }
}

/// Creates of a channel, and the revision up to which they are complete.
struct Created {
    rows: Vec<Message>,
    to_rev: u64,
}

/// Created rows with a revision above `after_rev`, oldest first, at most `limit`.
async fn created_after(
    store: &dyn Store,
    channel_id: ChannelId,
    after_rev: u64,
    limit: usize,
) -> Result<Created, ReadError> {
    let mut buckets = store
        .read_buckets(channel_id, Bucket(0), Bucket(u32::MAX), RowOrder::NewestFirst, BUCKETS_MAX)
        .await?;
    let mut after = start(store, channel_id, after_rev, &buckets).await?;
    buckets.retain(|bucket| *bucket >= Bucket::of_raw(after));
    let mut found = Vec::new();
    for bucket in buckets.into_iter().rev() {
        loop {
            let range = PartitionRange {
                after: MessageId::try_from(after).ok(),
                before: None,
                order: RowOrder::OldestFirst,
                limit: limit.min(1_000),
            };
            let rows = store.read_partition(channel_id, bucket, range).await?;
            let full = rows.len() == range.limit;
            after = rows.last().map_or(after, |row| row.id);
            found.extend(rows.into_iter().filter(|row| row.rev > after_rev && !is_imported(row.id)));
            if found.len() >= limit {
                found.truncate(limit);
                let to_rev = found.last().map_or(u64::MAX, |row: &Message| row.rev);
                return Ok(Created { rows: found, to_rev });
            }
            if !full {
                break;
            }
        }
    }
    Ok(Created { rows: found, to_rev: u64::MAX })
}

/// The id above which every row lies that was created above `after_rev`. `buckets` are the channel's, newest
/// first.
///
/// The revision's time cannot serve as this id. Edits take revisions from a clock that is ahead; after that
/// clock was set right, the next creates have revisions above those but ids of the present. Both rise from
/// one create of a channel to the next. So the first created row found below, with no greater revision, has
/// no wanted row below it.
async fn start(
    store: &dyn Store,
    channel_id: ChannelId,
    after_rev: u64,
    buckets: &[Bucket],
) -> Result<u64, ReadError> {
    let id_at = |us: u64| (us / 1_000).saturating_sub(EPOCH_MS) << 22;
    let expected = id_at(after_rev.saturating_sub(SLACK_US));
    let enough = id_at(after_rev.saturating_sub(BACK_US));
    let (mut start, mut looked_at, mut limit) = (expected, 0, BACK_FIRST);
    for bucket in buckets.iter().filter(|bucket| **bucket <= Bucket::of_raw(expected)) {
        let mut before = expected.saturating_add(1);
        loop {
            let range = PartitionRange {
                after: None,
                before: MessageId::try_from(before).ok(),
                order: RowOrder::NewestFirst,
                limit,
            };
            let rows = store.read_partition(channel_id, *bucket, range).await?;
            for row in rows.iter().filter(|row| !is_imported(row.id)) {
                if row.rev <= after_rev {
                    return Ok(start);
                }
                start = row.id - 1;
            }
            let Some(oldest) = rows.last() else { break };
            before = oldest.id;
            looked_at += rows.len();
            if before < enough && looked_at >= BACK_ROWS_MAX {
                return Ok(start);
            }
            if rows.len() < limit {
                break;
            }
            limit = BACK_PAGE;
        }
    }
    Ok(start)
}

/// The revision of the last record that a row shows; 0 if the row was imported and not changed since.
pub(crate) fn recorded_rev(row: &Message) -> u64 {
    if row.last_rev > row.rev || !is_imported(row.id) { row.last_rev } else { 0 }
}

/// A record as the bus carries it.
#[must_use]
pub fn encode(record: &Record) -> Bytes {
    Bytes::from(record.encode_to_vec())
}
