//! Pinned messages: by channel, so that a channel's few pins are one read.

use weir_proto::{data::Pin, id::ChannelId};

use super::{Row, RowKey, Table};

/// The key above all pins of a channel.
#[must_use]
pub fn pins_of(channel_id: ChannelId) -> RowKey {
    RowKey::new([channel_id.get()])
}

impl Row for Pin {
    const TABLE: &'static Table = &Table {
        name: "pins",
        number: 19,
        of_channel: true,
        partition: &["channel_id"],
        clustering: &["message_id"],
    };

    fn key(&self) -> RowKey {
        RowKey::new([self.channel_id, self.message_id])
    }

    fn rev(&self) -> u64 {
        self.rev
    }
}
