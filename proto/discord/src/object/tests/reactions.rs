//! Reactions below a message, and a strict client library's reading of their events.

use twilight_model::{
    channel::message::EmojiReactionType,
    gateway::payload::incoming::{ReactionAdd, ReactionRemove, ReactionRemoveAll, ReactionRemoveEmoji},
};
use weir_proto::{
    data::{Emoji, OwnReactions, ReactionCount},
    event::{ReactionChanged, ReactionsCleared},
};

use super::*;

const THUMB: &str = "\u{1F44D}";

fn emoji(name: &str) -> Option<Emoji> {
    Some(Emoji { id: 0, name: name.to_owned() })
}

/// Two users' thumbs under slot 5, and a heart under slot 6.
fn reacted() -> Message {
    let count = |name, slot, count| ReactionCount { emoji: emoji(name), slot, count };
    Message { reactions: vec![count(THUMB, 5, 2), count("\u{2764}\u{FE0F}", 6, 1)], ..sample::message() }
}

fn own_of(message_id: u64, slots: &[u64]) -> OwnReactions {
    OwnReactions { message_id, slots: slots.to_vec(), ..OwnReactions::default() }
}

#[test]
fn counts_are_shown_in_their_order_and_me_by_the_viewers_own_slots() {
    let (row, users) = (reacted(), vec![sample::alice()]);
    let shown = value(&MessageObject::new(&parts(&row, &users)));
    let reaction = |name: &str, count: u32, me: bool| {
        json!({
            "emoji": {"id": null, "name": name},
            "count": count,
            "count_details": {"burst": 0, "normal": count},
            "me": me,
            "me_burst": false,
            "burst_colors": [],
        })
    };
    let heart = "\u{2764}\u{FE0F}";
    assert_eq!(shown["reactions"], json!([reaction(THUMB, 2, false), reaction(heart, 1, false)]));
    // Slot 4 was cleared: the viewer's row still has it, and it counts for nothing.
    for (slots, me) in [(&[5][..], [true, false]), (&[4, 6][..], [false, true]), (&[4][..], [false, false])] {
        let own = [own_of(QUOTED, &[5, 6]), own_of(MESSAGE, slots)];
        let shown = value(&MessageObject::new(&MessageParts { own: Some(&own), ..parts(&row, &users) }));
        let expected = json!([reaction(THUMB, 2, me[0]), reaction(heart, 1, me[1])]);
        assert_eq!(shown["reactions"], expected, "{slots:?}");
    }
    let own = [own_of(MESSAGE, &[5])];
    let strict: TwilightMessage =
        parsed(&MessageObject::new(&MessageParts { own: Some(&own), ..parts(&row, &users) }));
    assert_eq!((strict.reactions.len(), strict.reactions[0].count, strict.reactions[0].me), (2, 2, true));
    assert_eq!(strict.reactions[0].emoji, EmojiReactionType::Unicode { name: THUMB.to_owned() });
}

#[test]
fn a_message_without_reactions_has_no_such_key_and_a_quoted_one_never_has() {
    let (row, users) = (sample::message(), vec![sample::alice()]);
    let own = [own_of(MESSAGE, &[5]), own_of(QUOTED, &[5])];
    let shown = value(&MessageObject::new(&MessageParts { own: Some(&own), ..parts(&row, &users) }));
    assert!(shown.get("reactions").is_none());
    let row = reacted();
    let shown = value(&MessageObject::new(&MessageParts { own: None, ..parts(&row, &users) }));
    assert!(shown.get("reactions").is_none(), "nobody asked which are the viewer's: {shown}");
    let (reply, quoted) = (sample::reply(), Message { id: QUOTED, ..reacted() });
    let shown = value(&MessageObject::new(&MessageParts {
        referenced: Referenced::Found(&quoted),
        own: Some(&own),
        ..parts(&reply, &users)
    }));
    assert!(shown["referenced_message"].get("reactions").is_none(), "{shown}");
}

#[test]
fn a_strict_library_reads_the_events() {
    let changed = ReactionChanged {
        channel_id: GENERAL,
        message_id: MESSAGE,
        user_id: ALICE,
        emoji: emoji(THUMB),
        message_author_id: BOT,
    };
    let (member, alice) = (sample::member(ALICE, &[STAFF]), sample::alice());
    let object = ReactionEvent::added(&changed, GUILD, Some(&member), Some(&alice));
    let add: ReactionAdd = parsed(&object);
    assert_eq!((add.user_id.get(), add.message_id.get(), add.burst), (ALICE, MESSAGE, false));
    assert_eq!(add.message_author_id.map(|id| id.get()), Some(BOT));
    assert_eq!(add.member.as_ref().map(|member| member.user.id.get()), Some(ALICE));
    assert_eq!(add.emoji, EmojiReactionType::Unicode { name: THUMB.to_owned() });
    let remove: ReactionRemove = parsed(&ReactionEvent::removed(&changed, 0));
    assert_eq!((remove.guild_id, remove.channel_id.get()), (None, GENERAL));
    let cleared = ReactionsCleared { channel_id: GENERAL, message_id: MESSAGE, emoji: None };
    let all: ReactionRemoveAll = parsed(&ReactionsClearedEvent::new(&cleared, GUILD));
    assert_eq!((all.message_id.get(), all.guild_id.map(|id| id.get())), (MESSAGE, Some(GUILD)));
    let cleared = ReactionsCleared { emoji: emoji(THUMB), ..cleared };
    let one: ReactionRemoveEmoji = parsed(&ReactionsClearedEvent::new(&cleared, GUILD));
    assert_eq!(one.emoji, EmojiReactionType::Unicode { name: THUMB.to_owned() });
}
