//! What a viewer reacted to the messages of a page with.

use std::collections::BTreeSet;

use weir_proto::{
    bucket::Bucket,
    data::OwnReactions,
    id::{ChannelId, UserId},
};
use weir_store::row::{ROWS_MAX, RowRange, own_reactions_in};

use super::pipeline::{Failure, ReadPath, Reading};

/// Ids of one day. A viewer's own reactions are read by days, whichever messages of the day are asked for, so
/// that what was read stays in the cache when others react.
const DAY_IDS: u64 = 86_400_000 << 22;
/// Days that are looked at for one page: a page of a channel in which somebody writes at least each other day
/// or so has fewer.
const DAYS_MAX: usize = 32;

impl ReadPath {
    /// What a viewer reacted to these messages of a channel with, ascending by message, as a part of a
    /// request. They are all that have reactions on one page; of those of more than 32 days, the newest ones
    /// are looked at.
    pub(crate) async fn own_reactions_part(
        &self,
        reading: &mut Reading,
        (channel_id, viewer_id): (ChannelId, UserId),
        message_ids: &[u64],
    ) -> Result<Vec<OwnReactions>, Failure> {
        let days: BTreeSet<u64> = message_ids.iter().map(|id| id / DAY_IDS).collect();
        let skipped = days.len().saturating_sub(DAYS_MAX);
        let mut own = Vec::new();
        for day in days.into_iter().skip(skipped) {
            let first = day * DAY_IDS;
            // A bucket is ten days.
            let under = own_reactions_in(channel_id, Bucket::of_raw(first), viewer_id);
            let (mut after, before) = (first.saturating_sub(1), first.saturating_add(DAY_IDS));
            loop {
                let range = RowRange { under, after, before, limit: ROWS_MAX };
                let rows = self.list_part::<OwnReactions>(reading, range).await?;
                let last = rows.last().filter(|_| rows.len() == ROWS_MAX).map(|row| row.message_id);
                own.extend(rows.into_iter().filter(|row| message_ids.contains(&row.message_id)));
                // Rows of deleted messages may fill a read.
                let Some(last) = last else { break };
                after = last;
            }
        }
        Ok(own)
    }
}
