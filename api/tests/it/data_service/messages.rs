//! Messages.

use weir_connect::ConnectError;
use weir_proto::{
    data::{
        CreateMessageRequest, CreateMessageResponse, DeleteMessageRequest, DeleteMessageResponse,
        DeleteMessagesRequest, DeleteMessagesResponse, EditMessageRequest, EditMessageResponse,
        GetMessageRequest, GetMessageResponse, ListMessagesRequest, ListMessagesResponse, Message,
        TypingRequest, TypingResponse,
    },
    id::unix_ms,
};

use super::World;

type Answer<T> = Result<T, ConnectError>;

fn unknown() -> ConnectError {
    ConnectError::not_found("message")
}

impl World {
    /// A channel's messages, oldest first.
    fn history(&self, channel_id: u64) -> Vec<Message> {
        self.messages.range((channel_id, 0)..=(channel_id, u64::MAX)).map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn list_messages(&mut self, request: ListMessagesRequest) -> Answer<ListMessagesResponse> {
        let rows = self.history(request.channel_id);
        let limit = if request.limit == 0 { 50 } else { request.limit as usize };
        let newest_below = |anchor: u64, limit: usize| {
            let below: Vec<_> = rows.iter().filter(|row| row.id < anchor).cloned().collect();
            below[below.len().saturating_sub(limit)..].to_vec()
        };
        let oldest_above = |anchor: u64, limit: usize| {
            rows.iter().filter(|row| row.id > anchor).take(limit).cloned().collect::<Vec<_>>()
        };
        let mut page = match (request.before, request.after, request.around) {
            (None, None, None) => newest_below(u64::MAX, limit),
            (Some(before), None, None) => newest_below(before, limit),
            (None, Some(after), None) => oldest_above(after, limit),
            (None, None, Some(around)) => {
                let mut page = newest_below(around, limit / 2);
                page.extend(rows.iter().find(|row| row.id == around).cloned());
                page.extend(oldest_above(around, limit / 2));
                page
            }
            _ => return Err(ConnectError::invalid_argument("at most one of before, after, around")),
        };
        page.reverse();
        Ok(ListMessagesResponse { messages: page })
    }

    pub(super) fn get_message(&mut self, request: GetMessageRequest) -> Answer<GetMessageResponse> {
        let row = self.messages.get(&(request.channel_id, request.message_id)).cloned();
        let row = row.ok_or_else(unknown)?;
        let own = self.own(&row, request.viewer_id);
        Ok(GetMessageResponse { message: Some(row), own })
    }

    pub(super) fn create_message(&mut self, request: CreateMessageRequest) -> Answer<CreateMessageResponse> {
        let mut row = request.message.ok_or_else(|| ConnectError::invalid_argument("no message"))?;
        self.context = request.context;
        if !row.nonce.is_empty() && !request.allow_duplicate_nonce {
            let first = self
                .history(row.channel_id)
                .into_iter()
                .find(|old| old.author_id == row.author_id && old.nonce == row.nonce);
            if let Some(first) = first {
                return Ok(CreateMessageResponse { message: Some(first), deduplicated: true });
            }
        }
        row.id = self.mint();
        row.rev = unix_ms(row.id) * 1_000;
        row.last_rev = row.rev;
        self.messages.insert((row.channel_id, row.id), row.clone());
        Ok(CreateMessageResponse { message: Some(row), deduplicated: false })
    }

    pub(super) fn edit_message(&mut self, request: EditMessageRequest) -> Answer<EditMessageResponse> {
        let edited_at_ms = unix_ms(self.mint());
        self.context = request.context;
        let row = self.messages.get_mut(&(request.channel_id, request.message_id)).ok_or_else(unknown)?;
        row.edited_at_ms = edited_at_ms;
        row.last_rev = edited_at_ms * 1_000;
        if let Some(content) = request.content {
            row.content = content;
        }
        if let Some(embeds_json) = request.embeds_json {
            row.embeds_json = embeds_json;
        }
        if let Some(flags) = request.flags {
            row.flags = flags;
        }
        if request.mentions_set {
            row.mention_user_ids = request.mention_user_ids;
            row.mention_role_ids = request.mention_role_ids;
            row.mention_everyone = request.mention_everyone;
        }
        Ok(EditMessageResponse { message: Some(row.clone()) })
    }

    pub(super) fn delete_message(&mut self, request: DeleteMessageRequest) -> Answer<DeleteMessageResponse> {
        self.context = request.context;
        self.messages.remove(&(request.channel_id, request.message_id)).ok_or_else(unknown)?;
        Ok(DeleteMessageResponse { rev: 1 })
    }

    pub(super) fn delete_messages(
        &mut self,
        request: DeleteMessagesRequest,
    ) -> Answer<DeleteMessagesResponse> {
        self.context = request.context;
        let mut message_ids = request.message_ids;
        message_ids.retain(|id| self.messages.remove(&(request.channel_id, *id)).is_some());
        self.removed_together.push(message_ids.clone());
        Ok(DeleteMessagesResponse { rev: 1, message_ids })
    }

    pub(super) fn typing(&mut self, request: TypingRequest) -> Answer<TypingResponse> {
        self.context = request.context;
        self.typing.push((request.channel_id, request.user_id));
        Ok(TypingResponse {})
    }
}
