//! A channel's pinned messages.

use std::cmp::Reverse;

use weir_proto::{
    data::{Message, Pin},
    id::{ChannelId, MessageId},
};
use weir_store::row::{RowRange, pins_of};

use super::pipeline::{Failure, ReadOptions, ReadPath, Reading, Served};

/// Pinned messages in a page at most; Discord's bound, and the default.
pub(crate) const PINS_PAGE_MAX: usize = 50;
/// Messages read at once for one page: enough to hide the database's latency, few beside its own concurrency.
const AT_ONCE: usize = 25;

/// A page of pins.
pub(crate) struct PinsPage {
    /// The messages, the last one pinned first.
    pub(crate) messages: Vec<Message>,
    pub(crate) has_more: bool,
    pub(crate) served: Served,
}

impl ReadPath {
    /// At most `limit` messages that were pinned before a time (milliseconds since 1970-01-01T00:00Z; 0 for
    /// no bound). It is one request for the channel's history; what of it reaches the database is charged.
    pub(crate) async fn pins(
        &self,
        channel_id: ChannelId,
        (before_ms, limit): (u64, usize),
        options: ReadOptions,
    ) -> Result<PinsPage, Failure> {
        let mut reading = self.admit_history(channel_id, options).await?;
        let mut pins: Vec<Pin> = self.list_part(&mut reading, RowRange::whole(pins_of(channel_id))).await?;
        pins.retain(|pin| before_ms == 0 || pin.pinned_at_ms < before_ms);
        pins.sort_unstable_by_key(|pin| Reverse((pin.pinned_at_ms, pin.message_id)));
        let mut messages = Vec::with_capacity(limit + 1);
        for some in pins.chunks(AT_ONCE.min(limit + 1)) {
            let ids = some.iter().filter_map(|pin| MessageId::try_from(pin.message_id).ok());
            let mut parts: Vec<(Reading, MessageId)> = ids.map(|id| (reading.clone(), id)).collect();
            let reads = parts.iter_mut().map(|(part, id)| self.message_part(part, channel_id, *id));
            let found = futures_util::future::try_join_all(reads).await?;
            // A message that was unpinned or removed in between is none of the pins any more.
            let found = found.into_iter().flatten().filter(|row| row.pinned_at_ms != 0);
            messages.extend(found.map(|row| (*row).clone()));
            if messages.len() > limit {
                break;
            }
        }
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        Ok(PinsPage { messages, has_more, served: reading.served })
    }
}
