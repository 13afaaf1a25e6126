//! How a page of history is put together.

use std::sync::Arc;

use weir_protect::{
    Dependence, LimitKind, Outcome,
    tail::{TailAnchor, TailQuery},
};
use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{ChannelId, MessageId, UserId},
};
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
        channel_id: ChannelId,
        anchor: TailAnchor,
        limit: usize,
        options: ReadOptions,
    ) -> Result<Page, Failure> {
        let reading = self.admit_history(channel_id, options).await?;
        self.page_part(reading, channel_id, anchor, limit).await
    }

    /// A page with what the check of a user's permissions needs: admitted once, by the channel's limits, and
    /// then read at the same time. `None` if there is no such channel. The page may have failed where the
    /// context has not. The last is for what else the request reads for its viewer.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// # Cancel safety
    /// As [`ReadPath::page`].
    pub(crate) async fn viewed_page(
        &self,
        channel_id: ChannelId,
        viewer_id: UserId,
        anchor: TailAnchor,
        limit: usize,
        options: ReadOptions,
    ) -> Result<Option<(ChannelContext, Result<Page, Failure>, Reading)>, Failure> {
        let reading = self.admit_history(channel_id, options).await?;
        let of_viewer = reading.clone();
        // It is a part of this request, but its rows are the guild's and the viewer's: they are not charged
        // to the channel's reads of the database, and do not wait for its places there.
        let mut of_context = self.admit_part_of(&reading, options)?;
        let (context, page) = tokio::join!(
            self.context_part(&mut of_context, channel_id, viewer_id),
            self.page_part(reading, channel_id, anchor, limit)
        );
        // What is wrong with the page is for those who may see it.
        Ok(context?.map(|context| (context, page, of_viewer)))
    }

    async fn page_part(
        &self,
        mut reading: Reading,
        channel_id: ChannelId,
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
            TailAnchor::Latest => self.downwards(channel_id, None, widened(limit), &mut reading).await,
            // Nothing is below the first id.
            TailAnchor::Before(0) => Ok(Gathered::Own(Vec::new())),
            TailAnchor::Before(position) => {
                self.downwards(channel_id, border(position), limit, &mut reading).await
            }
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
    fn tail_page(&self, channel_id: ChannelId, query: TailQuery, reading: &mut Reading) -> Option<Page> {
        match self.tail(reading, Key::History(channel_id), ReadQuery::Page(query))? {
            (ReadValue::Page(encoded), rev) => Some(Page { encoded, rev, served: reading.served.clone() }),
            _ => None,
        }
    }

    /// The id of a channel's newest row, through the cache; `None` if it has none.
    pub(super) async fn newest_row(
        &self,
        channel_id: ChannelId,
        reading: &mut Reading,
    ) -> Result<Option<MessageId>, Failure> {
        let found = self.downwards(channel_id, None, 1, reading).await?;
        let rows = match &found {
            Gathered::Shared(shared) => shared.rows(),
            Gathered::Own(rows) => rows.as_slice(),
        };
        Ok(rows.first().and_then(|row| MessageId::try_from(row.id).ok()))
    }

    /// Rows below `before`, or from the newest one, newest first.
    async fn downwards(
        &self,
        channel_id: ChannelId,
        before: Option<MessageId>,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Gathered, Failure> {
        let mut rows: Vec<Message> = Vec::new();
        // No id is below the first one: the channel's buckets need not be looked through for it.
        if before.is_some_and(|before| before.get() == 1) {
            return Ok(Gathered::Own(rows));
        }
        let mut next = None;
        // A page below an id usually lies in that id's bucket: looked at first, without the index.
        if let Some(id) = before {
            let bucket = Bucket::of_raw(id.get() - 1);
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

    /// Rows above a position, oldest first.
    async fn upwards(
        &self,
        channel_id: ChannelId,
        after: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Vec<Message>, Failure> {
        if limit == 0 || after == u64::MAX {
            return Ok(Vec::new());
        }
        let oldest = |limit| PartitionRange {
            after: MessageId::try_from(after).ok(),
            before: None,
            order: RowOrder::OldestFirst,
            limit,
        };
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
        channel_id: ChannelId,
        position: u64,
        limit: usize,
        reading: &mut Reading,
    ) -> Result<Vec<Message>, Failure> {
        let half = limit / 2;
        let above = self.upwards(channel_id, position.saturating_sub(1), half + 1, reading).await?;
        let here = usize::from(above.first().is_some_and(|row| row.id == position));
        let mut page: Vec<Message> = above.into_iter().take(half + here).collect();
        page.reverse();
        if half > 0 && position > 0 {
            match self.downwards(channel_id, border(position), half, reading).await? {
                Gathered::Shared(shared) => page.extend(shared.rows().iter().cloned()),
                Gathered::Own(rows) => page.extend(rows),
            }
        }
        Ok(page)
    }

    async fn rows(
        &self,
        channel_id: ChannelId,
        bucket: Bucket,
        range: PartitionRange,
        reading: &mut Reading,
    ) -> Result<Rows, Failure> {
        // Below the channel's last committed id nothing is ever appended; above it, or while that id is not
        // known, anything may be.
        let below_tail = range.order == RowOrder::NewestFirst
            && range.before.is_some_and(|before| self.below_tail(channel_id, before));
        let dependence = if below_tail { Dependence::Mutate } else { Dependence::Append };
        match self.part(reading, Key::Rows(channel_id, bucket), ReadQuery::Range(range), dependence).await? {
            ReadValue::Rows(rows) => Ok(rows),
            other => Err(mismatch(&other)),
        }
    }

    /// A channel's buckets, newest first, for an operator.
    pub(crate) async fn buckets_of(&self, channel_id: ChannelId) -> Result<Arc<[Bucket]>, Failure> {
        self.buckets(channel_id, &mut self.admit_unlimited()?).await
    }

    async fn buckets(&self, channel_id: ChannelId, reading: &mut Reading) -> Result<Arc<[Bucket]>, Failure> {
        match self.part(reading, Key::Buckets(channel_id), ReadQuery::Whole, Dependence::Append).await? {
            ReadValue::Buckets(buckets) => Ok(buckets),
            other => Err(mismatch(&other)),
        }
    }

    /// One message, as a part of a request; `None` if it is not there.
    pub(crate) async fn message_part(
        &self,
        reading: &mut Reading,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Arc<Message>>, Failure> {
        let below_tail = self.below_tail(channel_id, message_id);
        let dependence = if below_tail { Dependence::Mutate } else { Dependence::Append };
        let key = Key::Rows(channel_id, Bucket::of(message_id.0));
        match self.part(reading, key, ReadQuery::Point(message_id), dependence).await? {
            ReadValue::Message(row) => Ok(row),
            other => Err(mismatch(&other)),
        }
    }

    /// True if an id is at or below the channel's last committed one, as far as that is known.
    fn below_tail(&self, channel_id: ChannelId, id: MessageId) -> bool {
        self.live.last_message_id(channel_id).is_some_and(|last| id <= last)
    }

    /// How a read of the channel's newest page would be served now: refused, if a limit would refuse it, else
    /// as it is served when it is made. Limits are looked at and not charged.
    pub(crate) async fn explain(&self, channel_id: ChannelId) -> Result<Served, Failure> {
        let guild = match self.guild_of(Some(channel_id)) {
            GuildOf::Unread => GuildOf::row(self.channel_row(channel_id).await?.as_deref()),
            known => known,
        };
        let scopes = scopes(Some(channel_id), &guild, CLASS_READS);
        self.protect.would_pass(scopes, LimitKind::Requests)?;
        let mut reading = self.admit_unlimited()?;
        reading.served = Served::nothing(true);
        let query = TailQuery { anchor: TailAnchor::Latest, limit: PAGE_DEFAULT };
        if self.tail_page(channel_id, query, &mut reading).is_none() {
            self.downwards(channel_id, None, PAGE_DEFAULT, &mut reading).await?;
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

/// The border of rows below a position, which is not 0; none for the greatest number, which is no id.
fn border(position: u64) -> Option<MessageId> {
    MessageId::try_from(position).ok().filter(|id| id.get() != u64::MAX)
}

fn newest(before: Option<MessageId>, limit: usize) -> PartitionRange {
    PartitionRange { after: None, before, order: RowOrder::NewestFirst, limit }
}

fn is_around(anchor: TailAnchor) -> bool {
    matches!(anchor, TailAnchor::Around(_))
}
