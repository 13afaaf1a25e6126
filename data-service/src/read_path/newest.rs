//! The newest message of channels: what `last_message_id` is.
//!
//! It is in no row: a hot channel would write that row with each message. The owner knows it of each channel that was written to since it
//! took over; of others it is read as a page of one row is, through the cache, so that it is read once, and again only after somebody posted
//! and the channel was forgotten since. It is never above what was acknowledged, because a turn tells of an id only once it is committed.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use weir_proto::data::Channel;

use super::{Failure, ReadOptions, ReadPath};

/// Channels whose newest message is being read for guilds, at once and in the whole node. A choice: a full guild that nobody has asked for
/// takes 16 round trips, and all guilds together, after a start, leave nine tenths of what the CQL store sends at once (512) to others.
pub(crate) const NEWEST_AT_ONCE: usize = 32;
/// Longest time that a guild waits for them: its sessions can begin without, and only on a database that is far behind.
const WITHIN_MAX: Duration = Duration::from_secs(2);
/// Discord's type of categories, which hold no messages.
const CATEGORY: u32 = 4;

impl ReadPath {
    /// A channel's newest message; 0 if it has none.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn newest_id(&self, channel_id: u64, options: ReadOptions) -> Result<u64, Failure> {
        let known = self.sequencer.last_message_id(channel_id);
        if known != 0 {
            return Ok(known);
        }
        // Not charged to the channel's request limit: nobody asked for its history.
        let mut reading = self.begin(0, options).await?;
        let read = self.newest_row(channel_id, &mut reading).await?;
        Ok(read.max(self.sequencer.last_message_id(channel_id)))
    }

    /// The newest message of each channel, in their order; 0 if it has none, or if that was not found out within two seconds, or half of the
    /// caller's time.
    pub(crate) async fn newest_ids(&self, channels: &[Channel], options: ReadOptions) -> Vec<u64> {
        let within = WITHIN_MAX.min(options.within / 2);
        let until = tokio::time::Instant::now() + within;
        let one = |channel: &Channel| {
            let (id, holds_messages) = (channel.id, channel.r#type != CATEGORY);
            async move {
                // Without a permit what is in memory.
                match self.sequencer.last_message_id(id) {
                    0 if holds_messages => {
                        let read = async {
                            let _permit = self.newest.acquire().await;
                            self.newest_id(id, ReadOptions { within, freshness: None }).await
                        };
                        tokio::time::timeout_at(until, read).await.ok().and_then(Result::ok).unwrap_or(0)
                    }
                    known => known,
                }
            }
        };
        let reads: Vec<_> = channels.iter().map(one).collect();
        stream::iter(reads).buffered(NEWEST_AT_ONCE).collect().await
    }
}
