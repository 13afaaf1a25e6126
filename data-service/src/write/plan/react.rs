//! Reactions: adding one, taking one back, and clearing them.
//!
//! The counts are a part of the message and change in its channel's turn, so they are exact, however many
//! users react at once. Beside them, each reaction is a row under its emoji's slot, and what one user reacted
//! with is a row of the user's.

use async_trait::async_trait;
use weir_proto::{
    bucket::Bucket,
    data::{Emoji, Message, OwnReactions, Reaction, ReactionCount},
    event::{ReactionChanged, ReactionsCleared, record::Change},
    id::UserId,
};
use weir_store::{
    RowChange, Store, described,
    row::{Row as _, own_reactions_in, reactions_in},
};

use super::{Alteration, At, Planned};
use crate::{
    key::Key,
    write::error::{ChangeError, Maximum, REACTIONS_MAX},
};

/// Adds a user's reaction.
pub(crate) struct React {
    pub(crate) user_id: UserId,
    pub(crate) emoji: Emoji,
    /// The user may only join others who reacted with the emoji.
    pub(crate) only_join: bool,
}

/// Takes a user's reaction back.
pub(crate) struct Unreact {
    pub(crate) user_id: UserId,
    pub(crate) emoji: Emoji,
}

/// Removes all reactions, or all with one emoji.
pub(crate) struct Clear(pub(crate) Option<Emoji>);

/// The count of an emoji.
pub(crate) fn count_of<'a>(message: &'a Message, emoji: &Emoji) -> Option<&'a ReactionCount> {
    message.reactions.iter().find(|count| count.emoji.as_ref() == Some(emoji))
}

fn reaction(message: &Message, slot: u64, user_id: UserId, rev: u64) -> Reaction {
    Reaction { channel_id: message.channel_id, message_id: message.id, slot, user_id: user_id.get(), rev }
}

/// What the user reacted to the message with.
async fn own_of(store: &dyn Store, message: &Message, user_id: UserId) -> Result<OwnReactions, ChangeError> {
    let none = OwnReactions {
        channel_id: message.channel_id,
        user_id: user_id.get(),
        message_id: message.id,
        ..OwnReactions::default()
    };
    Ok(described::get(store, none.key()).await?.unwrap_or(none))
}

/// The plan of a user's changed reaction: the row of the message, that of the user's own, and the reaction's.
fn changed(
    at: At,
    row: Message,
    (user_id, mut own): (UserId, OwnReactions),
    (slot, reaction): (u64, RowChange),
    event: Change,
) -> Planned {
    let rev = at.rev;
    // Those that were cleared meanwhile go at this occasion.
    own.slots.retain(|slot| row.reactions.iter().any(|count| count.slot == *slot));
    own.rev = rev;
    let own_change = match own.slots.is_empty() {
        true => RowChange::remove::<OwnReactions>(own.key(), rev),
        false => RowChange::put(&own),
    };
    let owns = own_reactions_in(at.channel_id, Bucket::of(at.message_id.0), user_id);
    let users = reactions_in(at.channel_id, at.message_id, slot);
    Planned {
        rows: vec![RowChange::MarkMessage(row.clone()), reaction, own_change],
        events: vec![event],
        stale: vec![Key::listed::<Reaction>(users), Key::listed::<OwnReactions>(owns)],
        row: Some(Box::new(row)),
    }
}

fn told(message: &Message, user_id: UserId, emoji: Emoji) -> ReactionChanged {
    ReactionChanged {
        channel_id: message.channel_id,
        message_id: message.id,
        user_id: user_id.get(),
        emoji: Some(emoji),
        message_author_id: message.author_id,
    }
}

#[async_trait]
impl Alteration for React {
    fn label(&self) -> &'static str {
        "AddReaction"
    }

    async fn plan(
        &self,
        store: &dyn Store,
        before: &Message,
        at: At,
    ) -> Result<Option<Planned>, ChangeError> {
        let own = own_of(store, before, self.user_id).await?;
        self.plan(before, own, at)
    }
}

impl React {
    fn plan(&self, before: &Message, mut own: OwnReactions, at: At) -> Result<Option<Planned>, ChangeError> {
        let mut row = Message { last_rev: at.rev, ..before.clone() };
        let emojis = row.reactions.len();
        let found = row.reactions.iter_mut().find(|count| count.emoji.as_ref() == Some(&self.emoji));
        let slot = match found {
            Some(count) if own.slots.contains(&count.slot) => return Ok(None),
            Some(count) => {
                count.count = count.count.saturating_add(1);
                count.slot
            }
            None if self.only_join => {
                return Err(ChangeError::NotAllowed("nobody has reacted with this emoji yet"));
            }
            None if emojis >= REACTIONS_MAX => return Err(Maximum::Reactions.into()),
            None => {
                let first = ReactionCount { emoji: Some(self.emoji.clone()), slot: at.rev, count: 1 };
                row.reactions.push(first);
                at.rev
            }
        };
        own.slots.push(slot);
        let event = Change::ReactionAdded(told(&row, self.user_id, self.emoji.clone()));
        let reaction = (slot, RowChange::put(&reaction(&row, slot, self.user_id, at.rev)));
        Ok(Some(changed(at, row, (self.user_id, own), reaction, event)))
    }
}

#[async_trait]
impl Alteration for Unreact {
    fn label(&self) -> &'static str {
        "RemoveReaction"
    }

    async fn plan(
        &self,
        store: &dyn Store,
        before: &Message,
        at: At,
    ) -> Result<Option<Planned>, ChangeError> {
        if count_of(before, &self.emoji).is_none() {
            return Ok(None);
        }
        let own = own_of(store, before, self.user_id).await?;
        Ok(self.plan(before, own, at))
    }
}

impl Unreact {
    fn plan(&self, before: &Message, mut own: OwnReactions, at: At) -> Option<Planned> {
        let slot = count_of(before, &self.emoji)?.slot;
        if !own.slots.contains(&slot) {
            return None;
        }
        own.slots.retain(|other| *other != slot);
        let mut row = Message { last_rev: at.rev, ..before.clone() };
        for count in row.reactions.iter_mut().filter(|count| count.slot == slot) {
            count.count = count.count.saturating_sub(1);
        }
        row.reactions.retain(|count| count.count > 0);
        let event = Change::ReactionRemoved(told(&row, self.user_id, self.emoji.clone()));
        let gone = reaction(&row, slot, self.user_id, at.rev);
        let reaction = (slot, RowChange::remove::<Reaction>(gone.key(), at.rev));
        Some(changed(at, row, (self.user_id, own), reaction, event))
    }
}

#[async_trait]
impl Alteration for Clear {
    fn label(&self) -> &'static str {
        "ClearReactions"
    }

    /// The users' own rows stay: their slots are none of the message's any more.
    async fn plan(&self, _: &dyn Store, before: &Message, at: At) -> Result<Option<Planned>, ChangeError> {
        let goes = |count: &&ReactionCount| self.0.is_none() || count.emoji == self.0;
        let gone: Vec<u64> = before.reactions.iter().filter(goes).map(|count| count.slot).collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let mut row = Message { last_rev: at.rev, ..before.clone() };
        row.reactions.retain(|count| !gone.contains(&count.slot));
        let event =
            ReactionsCleared { channel_id: row.channel_id, message_id: row.id, emoji: self.0.clone() };
        let under = gone.iter().map(|slot| reactions_in(at.channel_id, at.message_id, *slot));
        let remove = under.clone().map(|under| RowChange::remove_under::<Reaction>(under, at.rev));
        Ok(Some(Planned {
            rows: std::iter::once(RowChange::MarkMessage(row.clone())).chain(remove).collect(),
            events: vec![Change::ReactionsCleared(event)],
            stale: under.map(Key::listed::<Reaction>).collect(),
            row: Some(Box::new(row)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_proto::id::{ChannelId, MessageId};

    use super::*;

    fn at(rev: u64) -> At {
        let (channel_id, message_id) = (ChannelId::try_from(1).unwrap(), MessageId::try_from(5).unwrap());
        At { channel_id, message_id, rev, now_us: rev }
    }

    fn user(id: u64) -> UserId {
        UserId::try_from(id).unwrap()
    }

    fn emoji(name: &str) -> Emoji {
        Emoji { id: 0, name: name.to_owned() }
    }

    fn react(message: &Message, user_id: u64, name: &str, own: &OwnReactions, rev: u64) -> Option<Planned> {
        let plan = React { user_id: user(user_id), emoji: emoji(name), only_join: false };
        plan.plan(message, own.clone(), at(rev)).expect("room")
    }

    /// The user's own row after a plan.
    fn own_after(planned: &Planned, before: &OwnReactions) -> OwnReactions {
        match &planned.rows[2] {
            RowChange::Put(put) => prost::Message::decode(&*put.row).expect("a row"),
            _ => OwnReactions { slots: Vec::new(), ..before.clone() },
        }
    }

    #[test]
    fn a_message_takes_twenty_emojis_and_any_number_of_users() {
        let mut message = Message { id: 5, channel_id: 1, ..Message::default() };
        let nobody = OwnReactions { channel_id: 1, message_id: 5, user_id: 7, ..OwnReactions::default() };
        for number in 0..REACTIONS_MAX as u64 {
            let planned = react(&message, 7, &number.to_string(), &nobody, 100 + number).expect("changed");
            message = *planned.row.expect("it stays");
        }
        let one_more = React { user_id: user(7), emoji: emoji("more"), only_join: false };
        let at = at(200);
        assert_eq!(one_more.plan(&message, nobody.clone(), at), Err(Maximum::Reactions.into()));
        let known = react(&message, 8, "3", &nobody, 201).expect("changed").row.expect("it stays");
        assert_eq!(count_of(&known, &emoji("3")).map(|count| count.count), Some(2));
    }

    #[test]
    fn who_may_only_join_is_no_first() {
        let message = Message { id: 5, channel_id: 1, ..Message::default() };
        let plan = React { user_id: user(7), emoji: emoji("a"), only_join: true };
        let nobody = OwnReactions::default();
        assert!(matches!(plan.plan(&message, nobody.clone(), at(9)), Err(ChangeError::NotAllowed(_))));
        let message = *react(&message, 8, "a", &nobody, 10).expect("changed").row.expect("it stays");
        assert!(matches!(plan.plan(&message, nobody, at(11)), Ok(Some(_))));
    }

    proptest! {
        /// Whatever users do, each count is the number of users who have the emoji's slot.
        #[test]
        fn counts_are_those_of_the_users(acts in proptest::collection::vec((1_u64..5, 0_u8..3, 0_u8..5), 1..60)) {
            let mut message = Message { id: 5, channel_id: 1, ..Message::default() };
            let mut owns: Vec<OwnReactions> = (1..5)
                .map(|user_id| OwnReactions { channel_id: 1, message_id: 5, user_id, ..OwnReactions::default() })
                .collect();
            for (rev, (user_id, name, act)) in (1..).zip(acts) {
                let (name, at) = (name.to_string(), at(rev));
                let own = &mut owns[user_id as usize - 1];
                let planned = match act {
                    0 => {
                        // As `Clear` does to the message.
                        message.reactions.retain(|count| count.emoji.as_ref() != Some(&emoji(&name)));
                        None
                    }
                    1 | 2 => Unreact { user_id: user(user_id), emoji: emoji(&name) }.plan(&message, own.clone(), at),
                    _ => react(&message, user_id, &name, own, rev),
                };
                if let Some(planned) = planned {
                    *own = own_after(&planned, own);
                    message = *planned.row.expect("it stays");
                }
                for count in &message.reactions {
                    let users = owns.iter().filter(|own| own.slots.contains(&count.slot)).count();
                    prop_assert_eq!(users, count.count as usize, "{:?}", count);
                }
            }
        }
    }
}
