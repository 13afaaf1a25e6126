//! Events of reactions: what they say, and who may receive them.

use weir_proto::{
    data::{Emoji, ReactionCount},
    event::{ReactionChanged, ReactionsCleared},
};

use super::*;

fn emoji() -> Option<Emoji> {
    Some(Emoji { id: 0, name: "\u{1F44D}".to_owned() })
}

/// Alice's reaction to the bot's message.
fn changed() -> ReactionChanged {
    ReactionChanged {
        channel_id: GENERAL,
        message_id: QUOTED,
        user_id: ALICE,
        emoji: emoji(),
        message_author_id: BOT,
    }
}

fn cleared(emoji: Option<Emoji>) -> ReactionsCleared {
    ReactionsCleared { channel_id: GENERAL, message_id: QUOTED, emoji }
}

#[test]
fn a_reaction_says_who_where_to_whose_message_and_with_what() {
    let added = event(&with_context(Change::ReactionAdded(changed())));
    assert_eq!((added.name(), &added.needs), ("MESSAGE_REACTION_ADD", &Visibility::Channel(GENERAL)));
    let mut d = json_of(added.data());
    let member = d.as_object_mut().and_then(|d| d.remove("member")).expect("a member");
    assert_eq!((&member["nick"], &member["user"]["username"]), (&json!("Al"), &json!("alice")));
    let same = json!({
        "user_id": ALICE.to_string(),
        "channel_id": GENERAL.to_string(),
        "message_id": QUOTED.to_string(),
        "guild_id": GUILD.to_string(),
        "emoji": {"id": null, "name": "\u{1F44D}"},
        "burst": false,
        "type": 0,
    });
    let mut expected = same.clone();
    expected["message_author_id"] = json!(BOT.to_string());
    assert_eq!(d, expected);
    let removed = event(&with_context(Change::ReactionRemoved(changed())));
    assert_eq!((removed.name(), &removed.needs), ("MESSAGE_REACTION_REMOVE", &Visibility::Channel(GENERAL)));
    assert_eq!(json_of(removed.data()), same);
}

#[test]
fn the_member_of_somebody_else_is_not_shown() {
    let of_bob = ReactionChanged { user_id: BOB, ..changed() };
    let d = json_of(event(&with_context(Change::ReactionAdded(of_bob))).data());
    assert!(d.get("member").is_none(), "the context is of Alice: {d}");
    let d = json_of(event(&record(Change::ReactionAdded(changed()))).data());
    assert!(d.get("member").is_none(), "a record that was recovered has no context: {d}");
}

#[test]
fn a_clearing_is_of_all_or_of_one_emoji() {
    let all = event(&record(Change::ReactionsCleared(cleared(None))));
    assert_eq!((all.name(), &all.needs), ("MESSAGE_REACTION_REMOVE_ALL", &Visibility::Channel(GENERAL)));
    let mut expected = json!({
        "channel_id": GENERAL.to_string(),
        "message_id": QUOTED.to_string(),
        "guild_id": GUILD.to_string(),
    });
    assert_eq!(json_of(all.data()), expected);
    let one = event(&record(Change::ReactionsCleared(cleared(emoji()))));
    assert_eq!((one.name(), &one.needs), ("MESSAGE_REACTION_REMOVE_EMOJI", &Visibility::Channel(GENERAL)));
    expected["emoji"] = json!({"id": null, "name": "\u{1F44D}"});
    assert_eq!(json_of(one.data()), expected);
}

#[test]
fn each_needs_the_intent_of_its_place_and_in_direct_messages_one_of_the_two_users() {
    let mut users = vec![ALICE, BOB];
    users.sort_unstable();
    for change in [
        Change::ReactionAdded(changed()),
        Change::ReactionRemoved(changed()),
        Change::ReactionsCleared(cleared(None)),
        Change::ReactionsCleared(cleared(emoji())),
    ] {
        let in_guild = event(&with_context(change.clone()));
        assert_eq!(in_guild.intents_any, Intents::GUILD_MESSAGE_REACTIONS);
        assert!(!in_guild.passes(ALICE, Intents::GUILD_MESSAGES | Intents::DIRECT_MESSAGE_REACTIONS));
        let direct = Record { guild_id: 0, recipient_ids: vec![BOB, ALICE], ..with_context(change) };
        let direct = event(&direct);
        assert_eq!(direct.intents_any, Intents::DIRECT_MESSAGE_REACTIONS);
        assert_eq!(direct.needs, Visibility::Users(users.clone()));
        let d = json_of(direct.data());
        assert!(d.get("guild_id").is_none() && d.get("member").is_none(), "{d}");
    }
}

#[test]
fn a_message_event_has_no_counts() {
    let count = ReactionCount { emoji: emoji(), slot: 5, count: 2 };
    let row = Message { reactions: vec![count], ..sample::message() };
    for change in [Change::MessageCreated(row.clone()), Change::MessageEdited(row)] {
        let d = json_of(event(&with_context(change)).data());
        assert!(d.get("reactions").is_none(), "{d}");
    }
}
