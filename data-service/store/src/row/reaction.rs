//! Reactions: who reacted to a message, by emoji; and what one user reacted with, by ten-day bucket, so that
//! a page shows a viewer its own reactions by one read.

use weir_proto::{
    bucket::Bucket,
    data::{OwnReactions, Reaction},
    id::{ChannelId, MessageId, UserId},
};

use super::{Row, RowKey, Table};

/// The key above all reactions to a message.
#[must_use]
pub fn reactions_to(channel_id: ChannelId, message_id: MessageId) -> RowKey {
    RowKey::new([channel_id.get(), message_id.get()])
}

/// The key above the reactions to a message with the emoji of a slot.
#[must_use]
pub fn reactions_in(channel_id: ChannelId, message_id: MessageId, slot: u64) -> RowKey {
    RowKey::new([channel_id.get(), message_id.get(), slot])
}

/// The key above what a user reacted to messages of a bucket with.
#[must_use]
pub fn own_reactions_in(channel_id: ChannelId, bucket: Bucket, user_id: UserId) -> RowKey {
    RowKey::new([channel_id.get(), u64::from(bucket.0), user_id.get()])
}

impl Row for Reaction {
    const TABLE: &'static Table = &Table {
        name: "reactions",
        number: 20,
        of_channel: true,
        partition: &["channel_id", "message_id"],
        clustering: &["slot", "user_id"],
    };

    fn key(&self) -> RowKey {
        RowKey::new([self.channel_id, self.message_id, self.slot, self.user_id])
    }

    fn rev(&self) -> u64 {
        self.rev
    }
}

impl Row for OwnReactions {
    const TABLE: &'static Table = &Table {
        name: "own_reactions",
        number: 21,
        of_channel: true,
        partition: &["channel_id", "bucket", "user_id"],
        clustering: &["message_id"],
    };

    fn key(&self) -> RowKey {
        let bucket = u64::from(Bucket::of_raw(self.message_id).0);
        RowKey::new([self.channel_id, bucket, self.user_id, self.message_id])
    }

    fn rev(&self) -> u64 {
        self.rev
    }
}
