//! The removal of one message, with the rows that hang on it.

use async_trait::async_trait;
use weir_proto::{
    data::{Message, Pin, Reaction},
    id::{ChannelId, MessageId},
};
use weir_store::{
    RowChange, Store,
    row::{Row as _, pins_of, reactions_in, reactions_to},
};

use super::{Alteration, At, Planned};
use crate::{key::Key, outbox::record::deleted, write::error::ChangeError};

/// Removes the message.
pub(crate) struct Delete;

#[async_trait]
impl Alteration for Delete {
    fn label(&self) -> &'static str {
        "DeleteMessage"
    }

    async fn plan(&self, _: &dyn Store, before: &Message, at: At) -> Result<Option<Planned>, ChangeError> {
        let (rows, stale) = removal((at.channel_id, at.message_id), before, at.rev);
        let events = vec![deleted(at.channel_id, at.message_id)];
        Ok(Some(Planned { row: None, rows, events, stale }))
    }
}

/// Removes a message and what hangs on it: the rows, and the keys whose answers change beside the message's.
pub(crate) fn removal(
    (channel_id, message_id): (ChannelId, MessageId),
    row: &Message,
    rev: u64,
) -> (Vec<RowChange>, Vec<Key>) {
    let (mut rows, mut stale) = (vec![RowChange::DeleteMessage { channel_id, message_id, rev }], Vec::new());
    if row.pinned_at_ms != 0 {
        let pin = Pin { channel_id: channel_id.get(), message_id: message_id.get(), ..Pin::default() };
        rows.push(RowChange::remove::<Pin>(pin.key(), rev));
        stale.push(Key::listed::<Pin>(pins_of(channel_id)));
    }
    if !row.reactions.is_empty() {
        rows.push(RowChange::remove_under::<Reaction>(reactions_to(channel_id, message_id), rev));
        let under = row.reactions.iter().map(|count| reactions_in(channel_id, message_id, count.slot));
        stale.extend(under.map(Key::listed::<Reaction>));
    }
    (rows, stale)
}
