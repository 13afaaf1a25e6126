//! The newest message of channels: what `last_message_id` is.
//!
//! It is in no row: a hot channel would write that row with each message. The owner knows it of each channel
//! that was written to since it took over; of others it is read as a page of one row is, through the cache,
//! so that it is read once, and again only after somebody posted and the channel was forgotten since. It is
//! never above what is durable, which may be a moment ahead of what was acknowledged: a turn tells of an id
//! once it is committed, and a read finds the row as soon as it is there.
//!
//! It adorns an answer, and the answer does not wait for it long. A read that was given up goes on, so that
//! the next one who asks finds what it found; it is no longer counted in [`NEWEST_AT_ONCE`] then, but among
//! the flights (`flights_max`), which the store's timeout (`data.store_timeout`) ends, and among what the
//! store sends at once.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use weir_proto::{
    data::Channel,
    id::{ChannelId, MessageId},
};

use super::pipeline::{Failure, ReadPath};

/// Channels that guilds wait for, at once and in the whole node. A choice: a full guild that nobody has asked
/// for takes 16 round trips, and all guilds together, after a start, leave nine tenths of what the CQL store
/// sends at once (512) to others.
pub(crate) const NEWEST_AT_ONCE: usize = 32;
/// Longest time that an answer waits for them. A choice: a full guild is read in it if a channel takes 15 ms,
/// which is several times what a healthy database needs, and a session's begin, a join or a change is held up
/// by less than people notice.
const WITHIN_MAX: Duration = Duration::from_millis(250);
/// Discord's type of categories, which hold no messages.
const CATEGORY: u32 = 4;

/// How long an answer waits whose caller waits for `within`: most of the time is for what was asked for.
fn wait(within: Duration) -> Duration {
    WITHIN_MAX.min(within / 4)
}

impl ReadPath {
    /// A channel's newest message, for an answer to a caller that waits for `within`; `None` if it has none,
    /// holds none (a category), or if that was not found out within 250 ms or a quarter of that time. It is a
    /// part of the caller's request and charges none.
    pub(crate) async fn newest_of(&self, channel: &Channel, within: Duration) -> Option<MessageId> {
        if channel.r#type == CATEGORY {
            return None;
        }
        let id = ChannelId::try_from(channel.id).ok()?;
        self.newest_by(id, tokio::time::Instant::now() + wait(within)).await
    }

    /// The same of each channel, in their order, all within that time.
    pub(crate) async fn newest_ids(&self, channels: &[Channel], within: Duration) -> Vec<Option<MessageId>> {
        let until = tokio::time::Instant::now() + wait(within);
        let reads: Vec<_> = channels
            .iter()
            .map(|channel| async move {
                let id = ChannelId::try_from(channel.id).ok()?;
                // Without a permit what is in memory.
                match self.live.last_message_id(id) {
                    None if channel.r#type == CATEGORY => None,
                    None => {
                        let permit = tokio::time::timeout_at(until, self.newest.acquire()).await;
                        if permit.is_ok() { self.newest_by(id, until).await } else { None }
                    }
                    known => known,
                }
            })
            .collect();
        stream::iter(reads).buffered(NEWEST_AT_ONCE).collect().await
    }

    async fn newest_by(&self, channel_id: ChannelId, until: tokio::time::Instant) -> Option<MessageId> {
        let within = until.saturating_duration_since(tokio::time::Instant::now());
        // Without it the answer is worth as much.
        let read = tokio::time::timeout_at(until, self.newest_id(channel_id, within)).await;
        read.ok().and_then(Result::ok).flatten()
    }

    async fn newest_id(&self, channel_id: ChannelId, within: Duration) -> Result<Option<MessageId>, Failure> {
        let known = self.live.last_message_id(channel_id);
        if known.is_some() {
            return Ok(known);
        }
        let read = self.newest_row(channel_id, &mut self.admit_attendant(within)?).await?;
        Ok(read.max(self.live.last_message_id(channel_id)))
    }
}
