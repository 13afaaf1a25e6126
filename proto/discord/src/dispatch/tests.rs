//! Every kind of record: its event, the receivers, and what they may read of it.

mod reactions;

use std::sync::Arc;

use serde_json::{Value, json};
use weir_proto::{
    data::Message,
    event::{
        GuildCreated, GuildDeleted, MemberChanged, MemberRemoved, MessageDeleted, MessagesDeleted,
        PinsChanged, Record, RoleDeleted, Typing, record::Change,
    },
};

use super::*;
use crate::sample::{self, ALICE, BOB, BOT, GENERAL, GUILD, MESSAGE, OWNER, QUOTED, SECRET, STAFF};

fn record(change: Change) -> Record {
    Record { scope_id: GENERAL, guild_id: GUILD, rev: 5, change: Some(change), ..Record::default() }
}

fn with_context(change: Change) -> Record {
    Record { context: Some(sample::context()), ..record(change) }
}

fn event(record: &Record) -> DispatchedEvent {
    dispatch(record, None).expect("an event")
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("d is JSON")
}

/// What serde writes for the same message, with which the spliced encoding is compared.
fn by_serde(record: &Record, row: &Message, access: ContentAccess) -> Value {
    let context = record.context.clone().unwrap_or_default();
    let object = MessageObject::new(&MessageParts {
        row,
        users: &context,
        guild_id: record.guild_id,
        referenced: context.referenced.as_ref().map_or(Referenced::NotFetched, Referenced::Found),
        nonce: NonceEcho::Show,
        access,
        own: None,
    })
    .into_event(record.guild_id, context.member.as_ref());
    serde_json::to_value(&object).expect("plain values")
}

#[test]
fn spliced_and_serde_encodings_are_the_same_for_every_reader() {
    let none = Intents::GUILD_MESSAGES;
    let mut other = sample::reply();
    other.mention_user_ids = vec![];
    for row in
        [sample::message(), sample::reply(), other, Message { embeds_json: "junk".into(), ..sample::reply() }]
    {
        let record = with_context(Change::MessageCreated(row.clone()));
        let dispatch = event(&record);
        assert_eq!(json_of(dispatch.data()), by_serde(&record, &row, ContentAccess::Full));
        for reader in [ALICE, BOB, BOT, OWNER] {
            assert_eq!(
                json_of(dispatch.data_for(reader, none)),
                by_serde(&record, &row, ContentAccess::OnlyOwn(reader)),
                "{reader}"
            );
            assert_eq!(dispatch.data_for(reader, none | Intents::MESSAGE_CONTENT), dispatch.data());
        }
    }
}

#[test]
fn without_the_intent_content_is_gone_but_for_the_author_and_the_mentioned() {
    let dispatch = event(&with_context(Change::MessageCreated(sample::reply())));
    let read = |reader| {
        let d = json_of(dispatch.data_for(reader, Intents::NONE));
        (d["content"] != "", d["embeds"] != json!([]), d["referenced_message"]["content"] != "")
    };
    assert_eq!(read(ALICE), (true, true, false));
    assert_eq!(read(BOT), (false, false, true), "the bot wrote the quoted message");
    assert_eq!(read(OWNER), (false, false, false));
    let stripped = json_of(dispatch.data_for(OWNER, Intents::NONE));
    for key in ["embeds", "attachments", "components"] {
        assert_eq!(stripped[key], json!([]), "{key}");
    }
    assert!(!dispatch.data_for(OWNER, Intents::NONE).contains("title"));
}

#[test]
fn the_stripped_form_is_encoded_once_and_shared() {
    let dispatch = Arc::new(event(&with_context(Change::MessageCreated(sample::message()))));
    let (first, second) = (dispatch.data_for(OWNER, Intents::NONE), dispatch.data_for(BOT, Intents::NONE));
    assert!(std::ptr::eq(first, second));
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&dispatch);
}

#[test]
fn direct_messages_are_not_gated() {
    let mut record = with_context(Change::MessageCreated(sample::message()));
    record.guild_id = 0;
    let dispatch = event(&record);
    assert_eq!(dispatch.data_for(OWNER, Intents::NONE), dispatch.data());
    assert_eq!(dispatch.intents_any, Intents::DIRECT_MESSAGES);
    let d = json_of(dispatch.data());
    assert!(d.get("guild_id").is_none() && d.get("member").is_none());
}

#[test]
fn records_of_a_direct_message_are_for_its_two_users_alone() {
    let direct = |change| Record { guild_id: 0, recipient_ids: vec![BOB, ALICE], ..with_context(change) };
    let typing = Typing { channel_id: GENERAL, user_id: ALICE, timestamp_ms: 1_000 };
    let mut users = vec![ALICE, BOB];
    users.sort_unstable();
    for (change, intent) in [
        (Change::MessageCreated(sample::message()), Intents::DIRECT_MESSAGES),
        (Change::MessageEdited(sample::message()), Intents::DIRECT_MESSAGES),
        (
            Change::MessageDeleted(MessageDeleted { id: MESSAGE, channel_id: GENERAL }),
            Intents::DIRECT_MESSAGES,
        ),
        (Change::Typing(typing), Intents::DIRECT_MESSAGE_TYPING),
    ] {
        let dispatch = event(&direct(change));
        assert_eq!((&dispatch.needs, dispatch.intents_any), (&Visibility::Users(users.clone()), intent));
        let d = json_of(dispatch.data());
        assert!(d.get("guild_id").is_none() && d.get("member").is_none(), "{d}");
    }
    // A record without its users goes to nobody, rather than to all who can see some channel.
    let lost = Record { recipient_ids: vec![], ..direct(Change::MessageCreated(sample::message())) };
    assert_eq!(event(&lost).needs, Visibility::Users(vec![]));
}

#[test]
fn a_new_direct_message_shows_each_user_the_other_and_needs_no_intent() {
    let row = Channel { id: GENERAL, r#type: 1, recipient_ids: vec![ALICE, BOB], ..Channel::default() };
    let recipients = vec![sample::user(ALICE, "alice"), sample::user(BOB, "bob")];
    let created = Record {
        guild_id: 0,
        recipient_ids: vec![ALICE, BOB],
        context: Some(EventContext { recipients, ..EventContext::default() }),
        ..record(Change::ChannelCreated(row))
    };
    let dispatch = event(&created);
    assert_eq!((dispatch.name(), dispatch.intents_any), ("CHANNEL_CREATE", Intents::NONE));
    let shown = |viewer| json_of(dispatch.data_for(viewer, Intents::NONE));
    assert_eq!((&shown(ALICE)["type"], &shown(ALICE)["id"]), (&json!(1), &json!(GENERAL.to_string())));
    assert_eq!(shown(ALICE)["recipients"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown(ALICE)["recipients"][0]["username"], "bob");
    assert_eq!(shown(BOB)["recipients"][0]["username"], "alice");
    // A record that was recovered without context still has the right ids.
    let bare = event(&Record { context: None, ..created });
    assert_eq!(json_of(bare.data_for(ALICE, Intents::ALL))["recipients"][0]["id"], BOB.to_string());
}

#[test]
fn a_created_message_says_where_and_by_whom() {
    let dispatch = event(&with_context(Change::MessageCreated(sample::message())));
    assert_eq!(dispatch.name(), "MESSAGE_CREATE");
    assert_eq!(dispatch.needs, Visibility::Channel(GENERAL));
    assert_eq!(dispatch.intents_any, Intents::GUILD_MESSAGES);
    let d = json_of(dispatch.data());
    assert_eq!((&d["guild_id"], &d["nonce"]), (&json!(GUILD.to_string()), &json!("1234567890123456789")));
    assert_eq!((&d["member"]["nick"], &d["member"]["roles"]), (&json!("Al"), &json!([STAFF.to_string()])));
    assert!(d["member"].get("user").is_none());
    assert_eq!(d["author"]["username"], "alice");
    assert_eq!(d["mentions"][0]["username"], "bob");
    assert!(d.get("referenced_message").is_none(), "it answers nothing, whatever the context carries");
}

#[test]
fn an_edit_is_a_whole_message_without_nonce() {
    let row = Message { edited_at_ms: 1_600_000_000_000, ..sample::message() };
    let dispatch = event(&with_context(Change::MessageEdited(row)));
    let d = json_of(dispatch.data());
    assert_eq!(dispatch.name(), "MESSAGE_UPDATE");
    assert_eq!(d["edited_timestamp"], "2020-09-13T12:26:40.000000+00:00");
    assert!(d.get("nonce").is_none() && d["guild_id"].is_string());
}

#[test]
fn without_context_the_message_still_arrives() {
    let dispatch = event(&record(Change::MessageCreated(sample::reply())));
    let d = json_of(dispatch.data());
    assert_eq!(
        (&d["author"]["id"], &d["author"]["username"]),
        (&json!(ALICE.to_string()), &json!("Deleted User"))
    );
    assert_eq!(d["mentions"][0]["id"], BOB.to_string());
    assert!(d.get("member").is_none() && d.get("referenced_message").is_none());
    assert_eq!(d["message_reference"]["message_id"], QUOTED.to_string());
}

#[test]
fn context_of_someone_else_is_not_believed() {
    let mut row = sample::reply();
    row.author_id = OWNER;
    row.reply_to = QUOTED + 1;
    let d = json_of(event(&with_context(Change::MessageCreated(row))).data());
    assert_eq!(d["author"]["username"], "Deleted User");
    assert!(d.get("member").is_none() && d.get("referenced_message").is_none());
}

#[test]
fn rebuilt_context_goes_before_the_records_own() {
    let mut rebuilt = sample::context();
    rebuilt.author = Some(sample::user(ALICE, "renamed"));
    let record = with_context(Change::MessageCreated(sample::message()));
    let dispatch = dispatch(&record, Some(&rebuilt)).expect("an event");
    assert_eq!(json_of(dispatch.data())["author"]["username"], "renamed");
}

#[test]
fn deletions_and_typing_carry_ids_only() {
    let deleted = event(&record(Change::MessageDeleted(MessageDeleted { id: MESSAGE, channel_id: GENERAL })));
    assert_eq!((deleted.name(), &deleted.needs), ("MESSAGE_DELETE", &Visibility::Channel(GENERAL)));
    assert_eq!(
        json_of(deleted.data()),
        json!({"id": MESSAGE.to_string(), "channel_id": GENERAL.to_string(), "guild_id": GUILD.to_string()})
    );
    let together = MessagesDeleted { ids: vec![MESSAGE, QUOTED], channel_id: GENERAL };
    let deleted = event(&record(Change::MessagesDeleted(together)));
    assert_eq!((deleted.name(), &deleted.needs), ("MESSAGE_DELETE_BULK", &Visibility::Channel(GENERAL)));
    assert_eq!(deleted.intents_any, Intents::GUILD_MESSAGES);
    assert_eq!(
        json_of(deleted.data()),
        json!({
            "ids": [MESSAGE.to_string(), QUOTED.to_string()],
            "channel_id": GENERAL.to_string(),
            "guild_id": GUILD.to_string(),
        })
    );
    let row = Typing { channel_id: GENERAL, user_id: ALICE, timestamp_ms: 1_700_000_000_999 };
    let typing = event(&with_context(Change::Typing(row)));
    assert_eq!((typing.name(), typing.intents_any), ("TYPING_START", Intents::GUILD_MESSAGE_TYPING));
    let d = json_of(typing.data());
    assert_eq!((&d["timestamp"], &d["member"]["user"]["username"]), (&json!(1_700_000_000), &json!("alice")));
}

#[test]
fn pins_tell_of_the_newest_that_is_left() {
    let change = |last_pin_at_ms| PinsChanged { channel_id: GENERAL, last_pin_at_ms };
    let pinned = event(&record(Change::PinsChanged(change(1_700_000_000_123))));
    assert_eq!((pinned.name(), &pinned.needs), ("CHANNEL_PINS_UPDATE", &Visibility::Channel(GENERAL)));
    assert_eq!(pinned.intents_any, Intents::GUILDS);
    assert_eq!(
        json_of(pinned.data()),
        json!({
            "guild_id": GUILD.to_string(),
            "channel_id": GENERAL.to_string(),
            "last_pin_timestamp": "2023-11-14T22:13:20.123000+00:00",
        })
    );
    let unpinned = event(&record(Change::PinsChanged(change(0))));
    assert_eq!(json_of(unpinned.data())["last_pin_timestamp"], Value::Null);
    let direct = Record { guild_id: 0, recipient_ids: vec![9, 7], ..record(Change::PinsChanged(change(0))) };
    let direct = event(&direct);
    assert_eq!(
        (&direct.needs, direct.intents_any),
        (&Visibility::Users(vec![7, 9]), Intents::DIRECT_MESSAGES)
    );
    assert!(json_of(direct.data()).get("guild_id").is_none());
}

#[test]
fn channels_and_roles_go_to_every_member() {
    let row = sample::channel(SECRET, 0);
    for (change, name) in [
        (Change::ChannelCreated(row.clone()), "CHANNEL_CREATE"),
        (Change::ChannelUpdated(row.clone()), "CHANNEL_UPDATE"),
        (Change::ChannelDeleted(row), "CHANNEL_DELETE"),
    ] {
        let dispatch = event(&record(change));
        assert_eq!((dispatch.name(), &dispatch.needs), (name, &Visibility::Guild(GUILD)));
        assert_eq!(dispatch.intents_any, Intents::GUILDS);
        assert_eq!(json_of(dispatch.data())["guild_id"], GUILD.to_string());
    }
    let role = sample::role(STAFF, crate::permission::Permissions::VIEW_CHANNEL);
    for (change, name) in [
        (Change::RoleCreated(role.clone()), "GUILD_ROLE_CREATE"),
        (Change::RoleUpdated(role), "GUILD_ROLE_UPDATE"),
    ] {
        let dispatch = event(&record(change));
        assert_eq!((dispatch.name(), &dispatch.needs), (name, &Visibility::Guild(GUILD)));
        assert_eq!(json_of(dispatch.data())["role"]["permissions"], "1024");
    }
    let dispatch = event(&record(Change::RoleDeleted(RoleDeleted { guild_id: GUILD, role_id: STAFF })));
    assert_eq!(
        json_of(dispatch.data()),
        json!({"guild_id": GUILD.to_string(), "role_id": STAFF.to_string()})
    );
}

#[test]
fn changes_of_members_need_their_intent_but_for_ones_own_update() {
    let changed =
        || MemberChanged { member: Some(sample::member(ALICE, &[STAFF])), user: Some(sample::alice()) };
    let removed = MemberRemoved { guild_id: GUILD, user: Some(sample::alice()) };
    for (change, name, updated) in [
        (Change::MemberAdded(changed()), "GUILD_MEMBER_ADD", false),
        (Change::MemberUpdated(changed()), "GUILD_MEMBER_UPDATE", true),
        (Change::MemberRemoved(removed), "GUILD_MEMBER_REMOVE", false),
    ] {
        let dispatch = event(&record(change));
        assert_eq!((dispatch.name(), dispatch.intents_any), (name, Intents::GUILD_MEMBERS));
        assert_eq!(json_of(dispatch.data())["user"]["username"], "alice");
        // A change of one's own member needs no intent; a change of any other does.
        assert_eq!(dispatch.passes(ALICE, Intents::NONE), updated);
        assert!(!dispatch.passes(BOB, Intents::GUILDS) && dispatch.passes(BOB, Intents::GUILD_MEMBERS));
    }
}

#[test]
fn records_of_a_whole_guild_or_without_their_row_are_passed_over() {
    let created = GuildCreated { state: Some(sample::state()), member_ids: vec![BOT, OWNER] };
    for change in [
        Change::GuildCreated(created),
        Change::GuildDeleted(GuildDeleted { guild_id: GUILD }),
        Change::MemberAdded(MemberChanged::default()),
        Change::MemberUpdated(MemberChanged::default()),
        Change::MemberRemoved(MemberRemoved::default()),
    ] {
        assert!(dispatch(&record(change.clone()), None).is_none(), "{change:?}");
    }
    assert!(dispatch(&Record::default(), None).is_none());
}
