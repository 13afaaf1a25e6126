//! The edit of one message.

use async_trait::async_trait;
use weir_proto::{
    data::{EditMessageRequest, Message},
    event::record::Change,
};
use weir_store::{RowChange, Store};

use super::{Alteration, At, Planned};
use crate::write::error::ChangeError;

/// The row after an edit at `rev`, made at `now_us` (microseconds since 1970-01-01T00:00Z); `None` if nothing
/// changed.
///
/// The time of the edit is the clock's: a revision may be ahead of it. It is set only if the message's
/// content changes: a moderator who hides the embeds has edited nothing.
fn edited(before: &Message, request: &EditMessageRequest, rev: u64, now_us: u64) -> Option<Message> {
    let mut row = before.clone();
    if let Some(content) = &request.content {
        row.content.clone_from(content);
    }
    if let Some(embeds) = &request.embeds_json {
        row.embeds_json.clone_from(embeds);
    }
    if let Some(flags) = request.flags {
        row.flags = flags;
    }
    if request.mentions_set {
        row.mention_user_ids.clone_from(&request.mention_user_ids);
        row.mention_role_ids.clone_from(&request.mention_role_ids);
        row.mention_everyone = request.mention_everyone;
    }
    if row == *before {
        return None;
    }
    if (&row.content, &row.embeds_json) != (&before.content, &before.embeds_json) {
        row.edited_at_ms = now_us / 1_000;
    }
    row.last_rev = rev;
    Some(row)
}

#[async_trait]
impl Alteration for EditMessageRequest {
    fn label(&self) -> &'static str {
        "EditMessage"
    }

    fn bytes(&self) -> usize {
        self.content.as_ref().map_or(0, String::len) + self.embeds_json.as_ref().map_or(0, String::len)
    }

    async fn plan(&self, _: &dyn Store, before: &Message, at: At) -> Result<Option<Planned>, ChangeError> {
        let Some(row) = edited(before, self, at.rev, at.now_us) else { return Ok(None) };
        Ok(Some(Planned {
            rows: vec![RowChange::PutMessage(row.clone())],
            events: vec![Change::MessageEdited(row.clone())],
            stale: Vec::new(),
            row: Some(Box::new(row)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_stay_and_present_ones_may_become_empty() {
        let row =
            Message { content: "old".into(), flags: 4, mention_user_ids: vec![1], ..Message::default() };
        let request = EditMessageRequest { content: Some(String::new()), ..EditMessageRequest::default() };
        let after = edited(&row, &request, 6_000_000, 5_000_000).expect("another row");
        assert_eq!((after.content.as_str(), after.flags), ("", 4));
        assert_eq!(after.mention_user_ids, vec![1]);
        assert_eq!((after.last_rev, after.edited_at_ms), (6_000_000, 5_000));
    }

    #[test]
    fn a_row_that_stays_as_it_is_has_no_edit_and_flags_alone_are_none_of_the_words() {
        let row = Message { content: "said".into(), edited_at_ms: 7, ..Message::default() };
        let request = EditMessageRequest { content: Some("said".into()), ..EditMessageRequest::default() };
        assert_eq!(edited(&row, &request, 5_000_000, 5_000_000), None);
        let request = EditMessageRequest { flags: Some(4), ..request };
        let after = edited(&row, &request, 5_000_000, 5_000_000).expect("another row");
        assert_eq!((after.flags, after.edited_at_ms, after.last_rev), (4, 7, 5_000_000));
    }
}
