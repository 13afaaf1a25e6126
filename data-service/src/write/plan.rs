//! Plans of changes: existing rows, the request and fresh ids give new rows, records and an answer. They are
//! pure, except that a change of a message may look at rows that hang on it.

pub(super) mod create;
pub(crate) mod delete;
pub(crate) mod edit;
pub(super) mod guild;
pub(crate) mod pin;
pub(crate) mod react;

use async_trait::async_trait;
use weir_proto::{
    data::Message,
    event::record::Change,
    id::{ChannelId, MessageId},
};
use weir_store::{RowChange, Store};

use super::error::ChangeError;
use crate::key::Key;

/// Where and when a change is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// The message's channel.
    pub(crate) channel_id: ChannelId,
    /// The message.
    pub(crate) message_id: MessageId,
    /// The revision of the row and of the first event.
    pub(crate) rev: u64,
    /// The clock, microseconds since 1970-01-01T00:00Z; a revision may be ahead of it.
    pub(crate) now_us: u64,
}

/// What a change makes of a message.
#[derive(Debug, PartialEq)]
pub(crate) struct Planned {
    /// The message after it; `None` if it is removed.
    pub(crate) row: Option<Box<Message>>,
    /// The rows to write, the message's among them.
    pub(crate) rows: Vec<RowChange>,
    /// What is told of it, in order, each with a revision of its own; at least one.
    pub(crate) events: Vec<Change>,
    /// The keys whose answers change, beside the message's own.
    pub(crate) stale: Vec<Key>,
}

/// A change of one message, planned in the channel's turn.
#[async_trait]
pub(crate) trait Alteration: Send + Sync {
    /// What metrics call it.
    fn label(&self) -> &'static str;

    /// Bytes that it holds while it waits, beside a row's.
    fn bytes(&self) -> usize {
        0
    }

    /// Events that it makes at most.
    fn events(&self) -> usize {
        1
    }

    /// The change of the message `before`; `None` if that is as asked already. What it reads of the store is
    /// the newest there is: nobody else writes in the channel's turn.
    async fn plan(&self, store: &dyn Store, before: &Message, at: At)
    -> Result<Option<Planned>, ChangeError>;
}
