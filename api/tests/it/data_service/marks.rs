//! What hangs on messages: pins and reactions.

use weir_connect::{ConnectError, error::Code};
use weir_data_client::error::REFUSAL_TYPE;
use weir_proto::data::{
    AddReactionRequest, ChangeReactionsResponse, ClearReactionsRequest, ListPinsRequest, ListPinsResponse,
    ListReactionsRequest, ListReactionsResponse, Message, OwnReactions, ReactionCount, Refusal,
    RefusalReason, RemoveReactionRequest, SetPinnedRequest, SetPinnedResponse,
};

use super::World;

type Answer<T> = Result<T, ConnectError>;

fn refused(code: Code, reason: RefusalReason) -> ConnectError {
    let detail = Refusal { reason: reason.into(), ..Refusal::default() };
    ConnectError::new(code, "refused").with_detail(REFUSAL_TYPE, &detail)
}

impl World {
    fn row(&mut self, channel_id: u64, message_id: u64) -> Answer<&mut Message> {
        self.messages.get_mut(&(channel_id, message_id)).ok_or_else(|| ConnectError::not_found("message"))
    }

    pub(super) fn set_pinned(&mut self, request: SetPinnedRequest) -> Answer<SetPinnedResponse> {
        self.context = request.context;
        let now_ms = weir_proto::id::unix_ms(self.mint());
        let of_channel = self.messages.range((request.channel_id, 0)..=(request.channel_id, u64::MAX));
        let pins = of_channel.filter(|(_, row)| row.pinned_at_ms != 0).count();
        let row = self.row(request.channel_id, request.message_id)?;
        let changed = (row.pinned_at_ms != 0) != request.pinned;
        if changed && request.pinned && pins >= 250 {
            return Err(refused(Code::FailedPrecondition, RefusalReason::ChannelPins));
        }
        if changed {
            row.pinned_at_ms = if request.pinned { now_ms } else { 0 };
        }
        Ok(SetPinnedResponse { message: Some(row.clone()), changed })
    }

    pub(super) fn list_pins(&mut self, request: ListPinsRequest) -> Answer<ListPinsResponse> {
        let of_channel = self.messages.range((request.channel_id, 0)..=(request.channel_id, u64::MAX));
        let before = |row: &Message| request.before_ms == 0 || row.pinned_at_ms < request.before_ms;
        let pinned = of_channel.filter(|(_, row)| row.pinned_at_ms != 0 && before(row));
        let mut messages: Vec<Message> = pinned.map(|(_, row)| row.clone()).collect();
        messages.sort_by_key(|row| std::cmp::Reverse(row.pinned_at_ms));
        let limit = request.limit as usize;
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        Ok(ListPinsResponse { messages, has_more })
    }

    /// What a user reacted to a message with.
    pub(super) fn own(&self, message: &Message, user_id: u64) -> Option<OwnReactions> {
        let of_user = |slot: &u64| self.reactions.contains(&(message.id, *slot, user_id));
        let slots: Vec<u64> = message.reactions.iter().map(|count| count.slot).filter(of_user).collect();
        let own = OwnReactions { user_id, message_id: message.id, slots, ..OwnReactions::default() };
        (!own.slots.is_empty()).then_some(own)
    }

    pub(super) fn add_reaction(&mut self, request: AddReactionRequest) -> Answer<ChangeReactionsResponse> {
        self.context = request.context;
        let fresh = self.mint();
        let row = self.row(request.channel_id, request.message_id)?;
        let known = row.reactions.iter().find(|count| count.emoji == request.emoji).map(|count| count.slot);
        let slot = match known {
            Some(slot) => slot,
            None if request.only_join => {
                return Err(refused(Code::PermissionDenied, RefusalReason::NotAllowed));
            }
            None if row.reactions.len() >= 20 => {
                return Err(refused(Code::FailedPrecondition, RefusalReason::MessageReactions));
            }
            None => {
                row.reactions.push(ReactionCount { emoji: request.emoji, slot: fresh, count: 0 });
                fresh
            }
        };
        let changed = self.reactions.insert((request.message_id, slot, request.user_id));
        self.count(request.channel_id, request.message_id)?;
        Ok(ChangeReactionsResponse { changed })
    }

    pub(super) fn remove_reaction(
        &mut self,
        request: RemoveReactionRequest,
    ) -> Answer<ChangeReactionsResponse> {
        self.context = request.context;
        let row = self.row(request.channel_id, request.message_id)?;
        let slot = row.reactions.iter().find(|count| count.emoji == request.emoji).map(|count| count.slot);
        let changed =
            slot.is_some_and(|slot| self.reactions.remove(&(request.message_id, slot, request.user_id)));
        self.count(request.channel_id, request.message_id)?;
        Ok(ChangeReactionsResponse { changed })
    }

    pub(super) fn clear_reactions(
        &mut self,
        request: ClearReactionsRequest,
    ) -> Answer<ChangeReactionsResponse> {
        self.context = request.context;
        let row = self.row(request.channel_id, request.message_id)?;
        let before = row.reactions.len();
        row.reactions.retain(|count| request.emoji.is_some() && count.emoji != request.emoji);
        Ok(ChangeReactionsResponse { changed: row.reactions.len() < before })
    }

    pub(super) fn list_reactions(&mut self, request: ListReactionsRequest) -> Answer<ListReactionsResponse> {
        let row = self.row(request.channel_id, request.message_id)?;
        let slot = row.reactions.iter().find(|count| count.emoji == request.emoji).map(|count| count.slot);
        let users = self.reactions.iter().filter(|(message_id, of, user_id)| {
            *message_id == request.message_id && Some(*of) == slot && *user_id > request.after
        });
        let user_ids = users.map(|(_, _, user_id)| *user_id).take(request.limit as usize).collect();
        Ok(ListReactionsResponse { user_ids })
    }

    /// Counts a message's reactions anew.
    fn count(&mut self, channel_id: u64, message_id: u64) -> Answer<()> {
        let reactions = self.reactions.clone();
        let row = self.row(channel_id, message_id)?;
        for count in &mut row.reactions {
            let users = reactions.iter().filter(|(of, slot, _)| (*of, *slot) == (message_id, count.slot));
            count.count = users.count() as u32;
        }
        row.reactions.retain(|count| count.count > 0);
        Ok(())
    }
}
