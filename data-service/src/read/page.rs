//! How a page of history is put together.

use std::sync::Arc;

use weir_protect::{
    Dependence, LimitKind, Outcome,
    tail::{TailAnchor, TailQuery},
};
use weir_proto::{bucket::Bucket, data::Message};
use weir_store::{PartitionRange, RowOrder};

pub use super::query::{PAGE_DEFAULT, PAGE_MAX};
use super::{
    directory::ChannelContext,
    pipeline::{Failure, GuildOf, ReadOptions, ReadPath, Reading, Served, scopes},
    query::{ReadQuery, ReadValue, Rows, mismatch},
};
use crate::{
    key::{CLASS_READS, Key},
    live::{EncodedPage, encode_page},
};

/// A page with how it was served.
#[derive(Debug, Clone)]
pub struct Page {
    /// The reply.
    pub encoded: EncodedPage,
    /// Revision that the page is known to contain.
    pub rev: u64,
    /// How it was served.
    pub served: Served,
}

/// Rows on their way into a page: one partition's shared answer, or rows of several.
enum Gathered {
    Shared(Rows),
    Own(Vec<Message>),
}

impl ReadPath {
    /// A page of a channel's history, newest first. `limit`: 1 to [`PAGE_MAX`].
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// # Cancel safety
    /// Safe; reads under way go on for others.
    pub async fn page(
        &self,
        channel_id: u64,
        anchor: TailAnchor,
        limit: usize,
        options: ReadOptions,
    ) -> Result<Page, Failure> {
        let reading = self.admit_history(channel_id, options).await?;
        self.page_part(reading, channel_id, anchor, limit).await
    }

    /// A page with what the check of a user's permissions needs: admitted once, by the channel's limits, and then read at the same time.
    /// `None` if there is no such channel. The page may have failed where the context has not. The last is for what else the request reads
    /// for its viewer.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// # Cancel safety
    /// As [`ReadPath::page`].
    pub(crate) async fn viewed_page(
        &self,
        channel_id: u64,
        viewer_id: u64,
        anchor: TailAnchor,
        limit: usize,
        options: ReadOptions,
    ) -> Result<Option<(ChannelContext, Result<Page, Failure>, Reading)>, Failure> {
        let reading = self.admit_history(channel_id, options).await?;
        // It is a part of this request, but its rows are the guild's and the viewer's: they are not charged
        // to the channel's reads of the database, and do not wait for its places there.
        let mut of_context = self.admit_part_of(&reading, options)?;
        let (context, page) = tokio::join!(
            self.context_part(&mut of_context, channel_id, viewer_id),
            self.page_part(reading, channel_id, anchor, limit)
        );
        // What is wrong with the page is for those who may see it.
        Ok(context?.map(|context| (context, page, of_context)))
    }

    async fn page_part(
        &self,
        mut reading: Reading,
        channel_id: u64,
        anchor: TailAnchor,
        limit: usize,
    ) -> Result<Page, Failure> {
        if let Some(page) = self.tail_page(channel_id, TailQuery { anchor, limit }, &mut reading) {
            return Ok(page);
        }
        // Taken before the first read: what is read is at least this new.
        let (rev, seedable) = match anchor {
            TailAnchor::Latest if self.cache_on() => self.live.seed_ticket(channel_id),
            _ => (self.live.resolved_rev(channel_id), None),
        };
        let gathered = match anchor {
            TailAnchor::Latest => self.downwards(channel_id, u64::MAX, widened(limit), &mut reading).await,
            TailAnchor::Before(position) => self.downwards(channel_id, position, limit, &mut reading).await,
            TailAnchor::After(position) => {
                let rows = self.upwards(channel_id, position, limit, &mut reading).await;
                rows.map(|rows| Gathered::Own(rows.into_iter().rev().collect()))
            }
            TailAnchor::Around(position) => {
                self.around(channel_id, position, limit, &mut reading).await.map(Gathered::Own)
            }
        };
        let gathered = gathered.inspect_err(|_| {
            if seedable.is_some() {
                self.live.unseeded(channel_id);
            }
        })?;
        let encoded = match &gathered {
            Gathered::Shared(shared) => shared.first(limit).encoded(),
            Gathered::Own(rows) => encode_page(rows.iter().take(limit + usize::from(is_around(anchor)))),
        };
        if let Some(ticket) = seedable {
            let rows = match &gathered {
                Gathered::Shared(shared) => shared.rows().to_vec(),
                Gathered::Own(rows) => rows.clone(),
            };
            self.live.seed(channel_id, ticket, rows, widened(limit));
        }
        Ok(Page { encoded, rev, served: reading.served })
    }

    /// The page from the channel's tail, if it is warm, ours and certain.
    fn tail_page(&self, channel_id: u64, query: TailQuery, reading: &mut Reading) -> Option<Page> {
        match self.tail(reading, Key::History(channel_id), ReadQuery::Page(query))? {
            (ReadValue::Page(encoded), rev) => Some(Page { encoded, rev, served: reading.served.clone() }),
            _ => None,
        }
    }

    /// The id of a channel's newest row, through the cache; 0 if it has none.
    pub(super) async fn newest_row(&self, channel_id: u64, reading: &mut Reading) -> Result<u64, Failure> {
        let found = self.downwards(channel_id, u64::MAX, 1, reading).await?;
        let rows = match &found {
            Gathered::Shared(shared) => shared.rows(),
            Gathered::Own(rows) => rows.as_slice(),
        };
        Ok(rows.first().map_or(0, |row| row.id))
    }

    /// Rows below `before`, newest first.
    async fn downwards(
        &self,
        channel_id: u64,
        before: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Gathered, Failure> {
        let mut rows: Vec<Message> = Vec::new();
        // No id is below the first one: the channel's buckets need not be looked through for it.
        if before <= 1 {
            return Ok(Gathered::Own(rows));
        }
        let mut next = None;
        // A page below an id usually lies in that id's bucket: looked at first, without the index.
        if before != u64::MAX && before > 0 {
            let bucket = Bucket::of_raw(before - 1);
            let found = self.rows(channel_id, bucket, newest(before, limit), reading).await?;
            if found.rows().len() >= limit {
                return Ok(Gathered::Shared(found));
            }
            rows.extend(found.rows().iter().cloned());
            next = Some(bucket);
        }
        let index = self.buckets(channel_id, reading).await?;
        // `next` itself was read; the index is newest first.
        let older = index.iter().filter(|bucket| next.is_none_or(|read| **bucket < read));
        for bucket in older {
            let found = self.rows(channel_id, *bucket, newest(before, limit - rows.len()), reading).await?;
            if rows.is_empty() && found.rows().len() >= limit {
                return Ok(Gathered::Shared(found));
            }
            rows.extend(found.rows().iter().cloned());
            if rows.len() >= limit {
                break;
            }
        }
        Ok(Gathered::Own(rows))
    }

    /// Rows above `after`, oldest first.
    async fn upwards(
        &self,
        channel_id: u64,
        after: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Vec<Message>, Failure> {
        if limit == 0 || after == u64::MAX {
            return Ok(Vec::new());
        }
        let oldest = |limit| PartitionRange { after, before: u64::MAX, order: RowOrder::OldestFirst, limit };
        let first = Bucket::of_raw(after + 1);
        let mut rows = self.rows(channel_id, first, oldest(limit), reading).await?.rows().to_vec();
        if rows.len() >= limit {
            return Ok(rows);
        }
        let index = self.buckets(channel_id, reading).await?;
        for bucket in index.iter().rev().filter(|bucket| **bucket > first) {
            let found = self.rows(channel_id, *bucket, oldest(limit - rows.len()), reading).await?;
            rows.extend(found.rows().iter().cloned());
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }

    /// `limit / 2` rows on each side of a position, and its own if it is there; newest first.
    async fn around(
        &self,
        channel_id: u64,
        position: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Vec<Message>, Failure> {
        let half = limit / 2;
        let above = self.upwards(channel_id, position.saturating_sub(1), half + 1, reading).await?;
        let here = usize::from(above.first().is_some_and(|row| row.id == position));
        let mut page: Vec<Message> = above.into_iter().take(half + here).collect();
        page.reverse();
        if half > 0 {
            match self.downwards(channel_id, position, half, reading).await? {
                Gathered::Shared(shared) => page.extend(shared.rows().iter().cloned()),
                Gathered::Own(rows) => page.extend(rows),
            }
        }
        Ok(page)
    }

    async fn rows(
        &self,
        channel_id: u64,
        bucket: Bucket,
        range: PartitionRange,
        reading: &mut Reading,
    ) -> Result<Rows, Failure> {
        // Below the channel's last committed id nothing is ever appended; above it, or while that id is not
        // known, anything may be.
        let below_tail =
            range.order == RowOrder::NewestFirst && range.before <= self.live.last_message_id(channel_id);
        let dependence = if below_tail { Dependence::Mutate } else { Dependence::Append };
        match self.part(reading, Key::Rows(channel_id, bucket), ReadQuery::Range(range), dependence).await? {
            ReadValue::Rows(rows) => Ok(rows),
            other => Err(mismatch(&other)),
        }
    }

    /// A channel's buckets, newest first, for an operator.
    pub(crate) async fn buckets_of(&self, channel_id: u64) -> Result<Arc<[Bucket]>, Failure> {
        self.buckets(channel_id, &mut self.admit_unlimited()?).await
    }

    async fn buckets(&self, channel_id: u64, reading: &mut Reading) -> Result<Arc<[Bucket]>, Failure> {
        match self.part(reading, Key::Buckets(channel_id), ReadQuery::Whole, Dependence::Append).await? {
            ReadValue::Buckets(buckets) => Ok(buckets),
            other => Err(mismatch(&other)),
        }
    }

    /// One message, as a part of a request; `None` if it is not there.
    pub(crate) async fn message_part(
        &self,
        reading: &mut Reading,
        channel_id: u64,
        message_id: u64,
    ) -> Result<Option<Arc<Message>>, Failure> {
        let below_tail = message_id <= self.live.last_message_id(channel_id);
        let dependence = if below_tail { Dependence::Mutate } else { Dependence::Append };
        let key = Key::Rows(channel_id, Bucket::of_raw(message_id));
        match self.part(reading, key, ReadQuery::Point(message_id), dependence).await? {
            ReadValue::Message(row) => Ok(row),
            other => Err(mismatch(&other)),
        }
    }

    /// How a read of the channel's newest page would be served now: refused, if a limit would refuse it, else
    /// as it is served when it is made. Limits are looked at and not charged.
    pub(crate) async fn explain(&self, channel_id: u64) -> Result<Served, Failure> {
        let guild = match self.guild_of(channel_id) {
            GuildOf::Unread => match self.channel_row(channel_id).await? {
                Some(channel) if channel.guild_id != 0 => GuildOf::Guild(channel.guild_id),
                Some(_) | None => GuildOf::Nobodys,
            },
            known => known,
        };
        let scopes = scopes(channel_id, &guild, CLASS_READS);
        self.protect.would_pass(scopes, LimitKind::Requests)?;
        let mut reading = self.admit_unlimited()?;
        reading.served = Served::nothing(true);
        let query = TailQuery { anchor: TailAnchor::Latest, limit: PAGE_DEFAULT };
        if self.tail_page(channel_id, query, &mut reading).is_none() {
            self.downwards(channel_id, u64::MAX, PAGE_DEFAULT, &mut reading).await?;
        }
        // Only what reaches the database is charged for it.
        if reading.served.outcome == Outcome::Led {
            self.protect.would_pass(scopes, LimitKind::DatabaseReads)?;
        }
        Ok(reading.served)
    }
}

/// The newest page is read in one of two sizes, so that callers with different limits share one read.
const fn widened(limit: usize) -> usize {
    if limit <= PAGE_DEFAULT { PAGE_DEFAULT } else { PAGE_MAX }
}

fn newest(before: u64, limit: usize) -> PartitionRange {
    PartitionRange { after: 0, before, order: RowOrder::NewestFirst, limit }
}

fn is_around(anchor: TailAnchor) -> bool {
    matches!(anchor, TailAnchor::Around(_))
}
