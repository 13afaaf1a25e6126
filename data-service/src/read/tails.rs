//! What the turns keep in memory, as the protection layer asks for it: the first half of the cache's gate.

use std::sync::Arc;

use weir_protect::{TailAnswer, TailSource};

use super::query::{Asked, ReadQuery, ReadValue};
use crate::{key::Key, live::Live};

/// Tails and guilds in memory.
pub(crate) struct Tails(pub(crate) Arc<Live>);

impl TailSource<Key, Asked, ReadValue> for Tails {
    fn serve(&self, key: &Key, asked: &Asked) -> Option<TailAnswer<ReadValue>> {
        let (value, floor) = match (*key, asked.query) {
            (Key::History(channel_id), ReadQuery::Page(query)) => {
                let (encoded, rev) = self.0.serve_tail(channel_id, query)?;
                (ReadValue::Page(encoded), rev)
            }
            (Key::Rows(channel_id, _), ReadQuery::Point(id)) => {
                let (row, rev) = self.0.tail_row(channel_id, id)?;
                (ReadValue::Message(row), rev)
            }
            (Key::Guild(id), _) => {
                let (state, rev) = self.0.guild_in_memory(id)?;
                (ReadValue::Guild(Some(state)), rev)
            }
            _ => return None,
        };
        Some(TailAnswer { value, floor })
    }
}
