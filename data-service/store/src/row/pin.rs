//! Pinned messages: by channel, so that a channel's few pins are one read.

use weir_proto::data::Pin;

use super::{Row, RowKey, Table};

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
