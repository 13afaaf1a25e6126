//! Pinning and unpinning a message.

use async_trait::async_trait;
use weir_proto::{
    data::{Message, Pin},
    event::{PinsChanged, record::Change},
};
use weir_store::{
    RowChange, Store, described,
    row::{Row as _, RowRange, pins_of},
};

use super::{Alteration, At, Planned};
use crate::{
    key::Key,
    write::error::{ChangeError, Maximum, PINS_MAX},
};

/// Pins the message, or unpins it.
pub(crate) struct SetPinned(pub(crate) bool);

#[async_trait]
impl Alteration for SetPinned {
    fn label(&self) -> &'static str {
        "Pin"
    }

    /// The edit of the message, and the channel's pins.
    fn events(&self) -> usize {
        2
    }

    async fn plan(
        &self,
        store: &dyn Store,
        before: &Message,
        at: At,
    ) -> Result<Option<Planned>, ChangeError> {
        let pins = described::list::<Pin>(store, RowRange::whole(pins_of(at.channel_id))).await?;
        // The two differ if an owner lost its lease, or a build that knows no pins removed or loaded the
        // message again. Then the change makes them agree.
        let listed = pins.iter().any(|pin| pin.message_id == before.id);
        if self.0 == (before.pinned_at_ms != 0) && self.0 == listed {
            return Ok(None);
        }
        plan(self.0, before, &pins, at).map(Some)
    }
}

fn plan(pinned: bool, before: &Message, pins: &[Pin], at: At) -> Result<Planned, ChangeError> {
    let others = pins.iter().filter(|pin| pin.message_id != before.id);
    if pinned && others.clone().count() >= PINS_MAX {
        return Err(Maximum::Pins.into());
    }
    let newest = others.map(|pin| pin.pinned_at_ms).max().unwrap_or(0);
    // No two pins of a channel have the same time: pages end at a time, and would leave one of the two out.
    let pinned_at_ms = if pinned { (at.now_us / 1_000).max(newest.saturating_add(1)) } else { 0 };
    let row = Message { pinned_at_ms, last_rev: at.rev, ..before.clone() };
    let pin = Pin { channel_id: row.channel_id, message_id: row.id, pinned_at_ms, rev: at.rev };
    let of_pin = if pinned { RowChange::put(&pin) } else { RowChange::remove::<Pin>(pin.key(), at.rev) };
    let told = PinsChanged { channel_id: row.channel_id, last_pin_at_ms: newest.max(pinned_at_ms) };
    Ok(Planned {
        rows: vec![RowChange::MarkMessage(row.clone()), of_pin],
        events: vec![Change::MessageEdited(row.clone()), Change::PinsChanged(told)],
        stale: vec![Key::listed::<Pin>(pins_of(at.channel_id))],
        row: Some(Box::new(row)),
    })
}

#[cfg(test)]
mod tests {
    use weir_proto::id::{ChannelId, MessageId};

    use super::*;

    const REV: u64 = 9_000_000;

    fn at() -> At {
        let (channel_id, message_id) = (ChannelId::try_from(1).unwrap(), MessageId::try_from(5).unwrap());
        At { channel_id, message_id, rev: REV, now_us: 8_000_000 }
    }

    fn pin(message_id: u64, pinned_at_ms: u64) -> Pin {
        Pin { channel_id: 1, message_id, pinned_at_ms, rev: 1 }
    }

    fn last_pin(planned: &Planned) -> u64 {
        match planned.events[..] {
            [Change::MessageEdited(_), Change::PinsChanged(told)] => told.last_pin_at_ms,
            _ => panic!("{:?}", planned.events),
        }
    }

    #[test]
    fn the_newest_pin_that_is_left_is_told() {
        let before = Message { id: 5, channel_id: 1, ..Message::default() };
        let planned = plan(true, &before, &[pin(3, 7_000)], at()).expect("room");
        assert_eq!(last_pin(&planned), 8_000);
        let before = *planned.row.expect("it stays");
        assert_eq!((before.pinned_at_ms, before.last_rev), (8_000, REV));
        let planned = plan(false, &before, &[pin(3, 7_000), pin(5, 8_000)], at()).expect("no room needed");
        assert_eq!(last_pin(&planned), 7_000);
        assert_eq!(planned.row.expect("it stays").pinned_at_ms, 0);
        assert_eq!(last_pin(&plan(false, &before, &[pin(5, 8_000)], at()).expect("none needed")), 0);
    }

    #[test]
    fn a_pin_is_later_than_all_others_whatever_the_clock_says() {
        let before = Message { id: 5, channel_id: 1, ..Message::default() };
        for (newest, pinned_at_ms) in [(7_999, 8_000), (8_000, 8_001), (9_000, 9_001)] {
            let planned = plan(true, &before, &[pin(3, newest), pin(4, 1)], at()).expect("room");
            assert_eq!(last_pin(&planned), pinned_at_ms);
            assert_eq!(planned.row.expect("it stays").pinned_at_ms, pinned_at_ms);
        }
    }

    #[test]
    fn a_channel_is_full_of_other_messages_pins() {
        let before = Message { id: 5, channel_id: 1, ..Message::default() };
        let mut pins: Vec<Pin> = (10..10 + PINS_MAX as u64).map(|id| pin(id, 1)).collect();
        assert_eq!(plan(true, &before, &pins, at()), Err(Maximum::Pins.into()));
        // Its own row may be there already, left by an owner that lost its lease.
        pins[0].message_id = 5;
        assert!(plan(true, &before, &pins, at()).is_ok());
    }
}
