//! Objects as clients see them: every demanded key is present, and a client library's own strict types parse
//! them.

mod openapi;
mod reactions;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twilight_model::{
    channel::{Channel as TwilightChannel, Message as TwilightMessage, message::MessageType},
    gateway::{
        connection_info::BotConnectionInfo,
        payload::incoming::{
            ChannelPinsUpdate, GuildCreate, GuildDelete, MemberAdd, MemberChunk, MemberRemove, MemberUpdate,
            MessageDelete, Ready, RoleCreate, RoleDelete, TypingStart,
        },
    },
    guild::{Guild as TwilightGuild, Member as TwilightMember, Role as TwilightRole},
    oauth::Application,
    user::{CurrentUser, CurrentUserGuild, User as TwilightUser},
};
use weir_proto::{
    data::{Channel, Message, User},
    event::{MessageDeleted, PinsChanged, RoleDeleted, Typing},
};

use super::*;
use crate::{
    permission::Permissions,
    sample::{self, ALICE, BOB, BOT, CATEGORY, GENERAL, GUILD, MESSAGE, OWNER, QUOTED, STAFF},
};

fn value(object: &impl serde::Serialize) -> Value {
    serde_json::from_str(&to_json(object)).expect("objects are JSON")
}

/// The object as a strict client library reads it from text.
fn parsed<T: DeserializeOwned>(object: &impl serde::Serialize) -> T {
    let text = to_json(object);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error} in {text}", std::any::type_name::<T>()))
}

fn assert_keys(value: &Value, wanted: &str) {
    let keys: BTreeSet<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    let missing: Vec<_> = wanted.split_whitespace().filter(|key| !keys.contains(key)).collect();
    assert!(missing.is_empty(), "missing {missing:?} in {value}");
}

const USER: &str =
    "id username discriminator global_name avatar bot system public_flags flags banner accent_color
    avatar_decoration_data primary_guild";
const MEMBER: &str =
    "nick avatar banner roles joined_at premium_since deaf mute flags pending communication_disabled_until";
const ROLE: &str =
    "id name color colors hoist icon unicode_emoji position permissions managed mentionable flags";
const CHANNEL: &str =
    "id type guild_id name position permission_overwrites parent_id topic nsfw last_message_id
    rate_limit_per_user last_pin_timestamp flags";
const GUILD_KEYS: &str = "id name icon splash discovery_splash owner_id afk_channel_id afk_timeout region widget_enabled
    widget_channel_id verification_level default_message_notifications explicit_content_filter roles emojis stickers features
    mfa_level application_id system_channel_id system_channel_flags rules_channel_id max_presences max_members vanity_url_code
    description banner premium_tier premium_subscription_count preferred_locale public_updates_channel_id
    max_video_channel_users max_stage_video_channel_users nsfw_level premium_progress_bar_enabled safety_alerts_channel_id
    incidents_data nsfw home_header";
const GUILD_CREATE: &str =
    "joined_at large member_count voice_states members channels threads presences stage_instances
    guild_scheduled_events soundboard_sounds";
const MESSAGE_KEYS: &str =
    "id channel_id author content timestamp edited_timestamp tts mention_everyone mentions
    mention_roles attachments embeds pinned type flags components";

#[test]
fn users() {
    let alice = sample::alice();
    let user = value(&UserObject::new(&alice));
    assert_keys(&user, USER);
    assert_eq!((&user["discriminator"], &user["global_name"]), (&json!("0"), &json!("Alice")));
    let strict: TwilightUser = parsed(&UserObject::new(&alice));
    assert_eq!((strict.id.get(), strict.name.as_str()), (ALICE, "alice"));
    let unknown: TwilightUser = parsed(&UserObject::unknown(BOB));
    assert_eq!((unknown.id.get(), unknown.name.as_str()), (BOB, "Deleted User"));
    assert_eq!(value(&UserObject::of(BOB, Some(&alice)))["username"], "Deleted User");
    assert_eq!(value(&UserObject::of(ALICE, Some(&alice)))["username"], "alice");
}

#[test]
fn an_avatar_that_no_client_could_parse_is_none() {
    let hash = "8342729096ea3675442027381ff50dfe";
    for (avatar, shown) in [
        (hash.to_owned(), true),
        (format!("a_{hash}"), true),
        (String::new(), false),
        ("avatar.png".to_owned(), false),
        (format!("{hash}0"), false),
        (hash.to_uppercase(), false),
    ] {
        let user = User { avatar: avatar.clone(), ..sample::alice() };
        let strict: TwilightUser = parsed(&UserObject::new(&user));
        assert_eq!(strict.avatar.is_some(), shown, "{avatar:?}");
    }
}

#[test]
fn own_user() {
    let bot = sample::bot();
    let own = value(&OwnUserObject::new(&bot));
    assert_keys(&own, USER);
    assert_keys(&own, "mfa_enabled locale verified email flags premium_type bio");
    let strict: CurrentUser = parsed(&OwnUserObject::new(&bot));
    assert!(strict.bot && strict.id.get() == BOT);
}

#[test]
fn members() {
    let (member, alice) = (sample::member(ALICE, &[STAFF, GUILD]), sample::alice());
    let full = value(&MemberObject::full(&member, Some(&alice)));
    assert_keys(&full, MEMBER);
    assert_eq!(full["joined_at"], "2017-07-14T02:40:00.123000+00:00");
    assert_eq!(full["roles"], json!([STAFF.to_string()]), "@everyone is never listed");
    let strict: TwilightMember = parsed(&MemberObject::full(&member, Some(&alice)));
    assert_eq!((strict.user.id.get(), strict.roles.len()), (ALICE, 1));
    let partial = value(&MemberObject::partial(&member));
    assert_keys(&partial, MEMBER);
    assert!(partial.get("user").is_none());
    assert_eq!(value(&MemberObject::full(&member, None))["user"]["id"], ALICE.to_string());
}

#[test]
fn roles_and_channels() {
    let state = sample::state();
    for role in &state.roles {
        assert_keys(&value(&RoleObject::new(role)), ROLE);
        let strict: TwilightRole = parsed(&RoleObject::new(role));
        assert_eq!((strict.id.get(), strict.permissions.bits()), (role.id, role.permissions));
        assert_eq!(strict.colors.primary_color, role.color);
    }
    for channel in state.channels.iter().chain([&sample::channel(7, 2), &sample::channel(8, 13)]) {
        let object = ChannelObject::new(channel, MESSAGE);
        assert_keys(&value(&object), CHANNEL);
        let strict: TwilightChannel = parsed(&object);
        assert_eq!(strict.id.get(), channel.id);
        assert_eq!(strict.permission_overwrites.map_or(0, |list| list.len()), channel.overwrites.len());
        assert_eq!(strict.bitrate.is_some(), matches!(channel.r#type, 2 | 13));
    }
    let general = value(&ChannelObject::new(&state.channels[0], 0));
    assert_eq!(
        (&general["last_message_id"], &general["parent_id"]),
        (&Value::Null, &json!(CATEGORY.to_string()))
    );
}

#[test]
fn direct_messages_show_the_other_user() {
    let channel = Channel { id: MESSAGE, r#type: 1, recipient_ids: vec![ALICE, BOB], ..Channel::default() };
    let users = vec![sample::user(ALICE, "alice")];
    let object = DirectChannelObject::new(&channel, BOB, &users, QUOTED);
    let strict: TwilightChannel = parsed(&object);
    assert_eq!((strict.id.get(), strict.kind), (MESSAGE, twilight_model::channel::ChannelType::Private));
    let recipients = strict.recipients.expect("always there");
    assert_eq!(recipients.iter().map(|user| user.id.get()).collect::<Vec<_>>(), [ALICE]);
    assert_eq!(value(&object)["last_message_id"], QUOTED.to_string());
    // A user whose row is missing is shown with its id: the list must never be empty.
    let unknown = value(&DirectChannelObject::new(&channel, ALICE, &users, 0));
    assert_eq!(
        (&unknown["recipients"][0]["id"], &unknown["last_message_id"]),
        (&json!(BOB.to_string()), &Value::Null)
    );
}

#[test]
fn guilds_over_rest() {
    let state = sample::state();
    let guild = GuildObject::new(&state).expect("has its guild");
    assert_keys(&value(&guild), GUILD_KEYS);
    assert!(value(&guild).get("approximate_member_count").is_none());
    let strict: TwilightGuild = parsed(&guild.with_counts(3, 1));
    assert_eq!((strict.owner_id.get(), strict.roles.len()), (OWNER, 2));
    assert_eq!((strict.approximate_member_count, strict.approximate_presence_count), (Some(3), Some(1)));
    assert!(GuildObject::new(&weir_proto::data::GuildState::default()).is_none());

    let row = state.guild.as_ref().expect("has its guild");
    let partial = PartialGuildObject::new(row, OWNER, Permissions::ALL);
    let strict: CurrentUserGuild = parsed(&partial);
    assert!(strict.owner && strict.id.get() == GUILD);
    assert_keys(&value(&partial), "id name icon banner owner permissions features");
    let other = value(&PartialGuildObject::new(row, ALICE, Permissions::VIEW_CHANNEL).with_counts(3, 0));
    assert_eq!(
        (&other["owner"], &other["permissions"], &other["approximate_member_count"]),
        (&json!(false), &json!("1024"), &json!(3))
    );
}

#[test]
fn guild_create_for_backfill_and_join() {
    let state = sample::state();
    let members =
        [(sample::member(BOT, &[STAFF]), sample::bot()), (sample::member(ALICE, &[]), sample::alice())];
    let channels: Vec<_> = state.channels.iter().map(|channel| (channel, MESSAGE)).collect();
    let parts = GuildCreateParts {
        state: &state,
        availability: Availability::Backfill,
        joined_at_ms: 1_500_000_000_000,
        members: &members,
        channels: &channels,
    };
    let event = GuildCreateEvent::new(&parts).expect("has its guild");
    let backfill = value(&event);
    assert_keys(&backfill, GUILD_KEYS);
    assert_keys(&backfill, GUILD_CREATE);
    assert_eq!(backfill["unavailable"], false);
    let GuildCreate::Available(strict) = parsed(&event) else { panic!("read as unavailable") };
    assert_eq!((strict.members.len(), strict.channels.len(), strict.member_count), (2, 3, Some(3)));
    let joined = GuildCreateParts { availability: Availability::Joined, ..parts };
    assert!(value(&GuildCreateEvent::new(&joined).expect("has its guild")).get("unavailable").is_none());
}

fn parts<'a>(row: &'a Message, users: &'a dyn UserSource) -> MessageParts<'a> {
    MessageParts {
        row,
        users,
        guild_id: GUILD,
        referenced: Referenced::NotFetched,
        nonce: NonceEcho::Omit,
        access: ContentAccess::Full,
        own: Some(&[]),
    }
}

#[test]
fn messages() {
    let users = HashMap::from([(ALICE, sample::alice()), (BOB, sample::user(BOB, "bob"))]);
    let row = sample::message();
    let object = MessageObject::new(&parts(&row, &users));
    let shown = value(&object);
    assert_keys(&shown, MESSAGE_KEYS);
    for absent in
        ["nonce", "guild_id", "member", "reactions", "message_reference", "referenced_message", "webhook_id"]
    {
        assert!(shown.get(absent).is_none(), "{absent}");
    }
    assert_eq!(shown["content"], json!(row.content));
    assert_eq!(shown["edited_timestamp"], Value::Null);
    let strict: TwilightMessage = parsed(&object);
    assert_eq!((strict.id.get(), strict.content.as_str()), (MESSAGE, row.content.as_str()));
    assert_eq!((strict.mentions[0].name.as_str(), strict.mention_roles[0].get()), ("bob", STAFF));
    assert_eq!((strict.embeds.len(), strict.embeds[0].fields.len()), (1, 1));
    // The timestamp is the id's.
    assert_eq!(strict.timestamp.as_micros(), (weir_proto::id::unix_ms(MESSAGE) * 1_000) as i64);
}

#[test]
fn the_nonce_is_echoed_where_asked_and_given() {
    let (row, users) = (sample::message(), Vec::<User>::new());
    let echo =
        |row| value(&MessageObject::new(&MessageParts { nonce: NonceEcho::Show, ..parts(row, &users) }));
    assert_eq!(echo(&row)["nonce"], row.nonce);
    for (given, shown) in
        [("6870", json!(6_870)), ("-5", json!(-5)), ("18446744073709551615", json!(u64::MAX))]
    {
        let row = Message { nonce: given.to_owned(), ..row.clone() };
        let text = MessageParts { nonce: NonceEcho::Show, ..parts(&row, &users) };
        assert_eq!(value(&MessageObject::new(&text))["nonce"], given);
        let number = MessageParts { nonce: NonceEcho::ShowInteger, ..parts(&row, &users) };
        assert_eq!(value(&MessageObject::new(&number))["nonce"], shown);
    }
    assert!(echo(&Message { nonce: String::new(), ..row.clone() }).get("nonce").is_none());
}

#[test]
fn replies_tell_found_deleted_and_not_fetched_apart() {
    let (row, quoted, users) = (sample::reply(), sample::quoted(), vec![sample::alice(), sample::bot()]);
    let reply = |referenced| MessageObject::new(&MessageParts { referenced, ..parts(&row, &users) });
    let found = value(&reply(Referenced::Found(&quoted)));
    assert_eq!(found["type"], 19);
    assert_eq!(
        found["message_reference"],
        json!({"type": 0, "message_id": QUOTED.to_string(), "channel_id": GENERAL.to_string(), "guild_id": GUILD.to_string()})
    );
    assert_keys(&found["referenced_message"], MESSAGE_KEYS);
    assert_eq!(found["referenced_message"]["author"]["username"], "weirbot");
    assert!(found["referenced_message"].get("referenced_message").is_none(), "one level only");
    let strict: TwilightMessage = parsed(&reply(Referenced::Found(&quoted)));
    assert_eq!(strict.referenced_message.map(|message| message.id.get()), Some(QUOTED));
    assert_eq!(value(&reply(Referenced::Deleted)).get("referenced_message"), Some(&Value::Null));
    assert_eq!(value(&reply(Referenced::NotFetched)).get("referenced_message"), None);
    // Another writer's default message that answers a message is shown as a reply; other types stay as they
    // are.
    let kind = |r#type| {
        value(&MessageObject::new(&parts(&Message { r#type, ..row.clone() }, &users)))["type"].clone()
    };
    assert_eq!((kind(0), kind(21)), (json!(19), json!(21)));
}

#[test]
fn a_pinned_message_says_so_and_what_tells_of_the_pin_quotes_nothing() {
    let users = vec![sample::alice(), sample::bot()];
    let pinned = Message { pinned_at_ms: 5, ..sample::quoted() };
    let shown = value(&MessageObject::new(&parts(&pinned, &users)));
    assert_eq!((&shown["pinned"], &shown["edited_timestamp"]), (&json!(true), &Value::Null));
    let row = Message { r#type: TYPE_PIN, content: String::new(), ..sample::reply() };
    let told =
        MessageObject::new(&MessageParts { referenced: Referenced::Found(&pinned), ..parts(&row, &users) });
    let shown = value(&told);
    assert_eq!((&shown["type"], &shown["pinned"]), (&json!(6), &json!(false)));
    assert_eq!(shown["message_reference"]["message_id"], QUOTED.to_string());
    assert!(shown.get("referenced_message").is_none());
    let strict: TwilightMessage = parsed(&told);
    assert_eq!(strict.kind, MessageType::ChannelMessagePinned);
}

#[test]
fn a_quoted_message_does_not_invent_users() {
    let (row, users) = (sample::reply(), vec![sample::alice()]);
    let quoted = Message { mention_user_ids: vec![BOB, ALICE], ..sample::quoted() };
    let shown = value(&MessageObject::new(&MessageParts {
        referenced: Referenced::Found(&quoted),
        ..parts(&row, &users)
    }));
    let names = |list: &Value| -> Vec<String> {
        let users = list.as_array().expect("a list").iter();
        users.map(|user| user["username"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&shown["mentions"]), ["Deleted User"]);
    assert_eq!(names(&shown["referenced_message"]["mentions"]), ["alice"]);
}

#[test]
fn stored_embeds_that_are_no_list_show_as_none() {
    for stored in ["", "{}", "[", "[1]x", "null", "[]"] {
        let row = Message { embeds_json: stored.to_owned(), ..sample::message() };
        let users = Vec::<User>::new();
        assert_eq!(value(&MessageObject::new(&parts(&row, &users)))["embeds"], json!([]), "{stored:?}");
    }
}

#[test]
fn rest_gates_content_as_the_gateway_does() {
    let users = Vec::<User>::new();
    for (row, viewer, reads) in [
        (sample::message(), ALICE, true),
        (sample::message(), BOB, true),
        (sample::message(), BOT, false),
        (sample::quoted(), BOT, true),
    ] {
        let gated = MessageParts { access: ContentAccess::OnlyOwn(viewer), ..parts(&row, &users) };
        let shown = value(&MessageObject::new(&gated));
        assert_eq!(shown["content"] != "", reads, "{viewer}");
        assert_keys(&shown, MESSAGE_KEYS);
    }
}

#[test]
fn applications() {
    let bot = sample::bot();
    let strict: Application = parsed(&ApplicationObject::new(&bot, 2));
    assert_eq!((strict.id.get(), strict.verify_key.len()), (BOT, 64));
    assert!(strict.verify_key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let shown = value(&ApplicationObject::new(&bot, 2));
    assert_keys(
        &shown,
        "id name icon description type bot_public bot_require_code_grant verify_key flags flags_new owner team hook
         redirect_uris interactions_endpoint_url role_connections_verification_url approximate_guild_count
         approximate_user_install_count approximate_user_authorization_count explicit_content_filter eligible_oauth2_scopes",
    );
    let other = value(&ApplicationObject::new(&sample::alice(), 0));
    assert_ne!(shown["verify_key"], other["verify_key"]);
}

#[test]
fn session_openers() {
    assert_eq!(value(&GatewayReply::new("ws://127.0.0.1:8081/")), json!({"url": "ws://127.0.0.1:8081"}));
    let limit = SessionStartLimit { total: 1_000, remaining: 999, reset_after_ms: 5, max_concurrency: 1 };
    let reply = GatewayBotReply::new("ws://gateway", 2, limit);
    assert_keys(&value(&reply)["session_start_limit"], "total remaining reset_after max_concurrency");
    let strict: BotConnectionInfo = parsed(&reply);
    assert_eq!((strict.shards, strict.session_start_limit.remaining), (2, 999));

    let bot = sample::bot();
    let ready = ReadyEvent::new(&ReadyParts {
        version: 10,
        user: &bot,
        guild_ids: &[GUILD],
        session_id: "s1",
        resume_gateway_url: "ws://gateway//",
        shard: (1, 3),
    });
    let shown = value(&ready);
    assert_keys(
        &shown,
        "v user guilds session_id resume_gateway_url shard application private_channels session_type _trace user_settings
         relationships presences",
    );
    assert_eq!(shown["guilds"], json!([{"id": GUILD.to_string(), "unavailable": true}]));
    assert_eq!((&shown["shard"], &shown["resume_gateway_url"]), (&json!([1, 3]), &json!("ws://gateway")));
    let strict: Ready = parsed(&ready);
    assert_eq!((strict.version, strict.guilds.len(), strict.application.id.get()), (10, 1, BOT));
    assert_eq!(to_json(&ResumedEvent {}), "{}");
}

#[test]
fn events() {
    let (state, alice) = (sample::state(), sample::alice());
    let member = sample::member(ALICE, &[STAFF]);
    let add: MemberAdd = parsed(&MemberAddEvent::new(&member, Some(&alice)));
    assert_eq!((add.guild_id.get(), add.member.user.id.get()), (GUILD, ALICE));
    let update: MemberUpdate = parsed(&MemberUpdateEvent::new(&member, Some(&alice)));
    assert_eq!((update.guild_id.get(), update.roles.len()), (GUILD, 1));
    let remove: MemberRemove = parsed(&MemberRemoveEvent::new(GUILD, &alice));
    assert_eq!(remove.user.id.get(), ALICE);
    let role: RoleCreate = parsed(&RoleEvent::new(&state.roles[1]));
    assert_eq!((role.guild_id.get(), role.role.id.get()), (GUILD, STAFF));
    let role: RoleDelete = parsed(&RoleDeleteEvent::new(&RoleDeleted { guild_id: GUILD, role_id: STAFF }));
    assert_eq!(role.role_id.get(), STAFF);
    let deleted = MessageDeleted { id: MESSAGE, channel_id: GENERAL };
    let delete: MessageDelete = parsed(&MessageDeleteEvent::new(&deleted, 0));
    assert_eq!((delete.id.get(), delete.guild_id), (MESSAGE, None));
    let change = |last_pin_at_ms| PinsChanged { channel_id: GENERAL, last_pin_at_ms };
    let pinned: ChannelPinsUpdate = parsed(&ChannelPinsEvent::new(&change(1_999), GUILD));
    assert_eq!(pinned.guild_id.map(|id| id.get()), Some(GUILD));
    assert_eq!(pinned.last_pin_timestamp.map(|at| at.as_micros()), Some(1_999_000));
    let unpinned: ChannelPinsUpdate = parsed(&ChannelPinsEvent::new(&change(0), 0));
    assert_eq!((unpinned.guild_id, unpinned.last_pin_timestamp), (None, None));
    let typing = Typing { channel_id: GENERAL, user_id: ALICE, timestamp_ms: 1_999 };
    let start: TypingStart = parsed(&TypingEvent::new(&typing, GUILD, Some(&member), Some(&alice)));
    assert_eq!((start.timestamp, start.member.is_some()), (1, true));
    let start: TypingStart = parsed(&TypingEvent::new(&typing, 0, Some(&member), Some(&alice)));
    assert_eq!((start.guild_id, start.member.is_some()), (None, false));
    let gone: GuildDelete = parsed(&GuildDeleteEvent::unavailable(GUILD));
    assert_eq!(gone.unavailable, Some(true));
    assert_eq!(value(&GuildDeleteEvent::left(GUILD)), json!({"id": GUILD.to_string()}));

    let members = [(member, alice)];
    let chunk = MembersChunkEvent::new(GUILD, &members, (0, 1), &[BOB], Some("n"));
    let strict: MemberChunk = parsed(&chunk);
    assert_eq!((strict.members.len(), strict.not_found[0].get(), strict.chunk_count), (1, BOB, 1));
    let none = value(&MembersChunkEvent::new(GUILD, &[], (0, 1), &[], None));
    assert_eq!(none["not_found"], json!([]), "always present");
    assert!(none.get("nonce").is_none());
    // The expected form is that of Discord's reference and its typed description. twilight's own type wants a
    // tag around `meta` that Discord does not send.
    let limited = value(&RateLimitedEvent::new(8, Duration::from_millis(1_500), GUILD, Some("n")));
    let meta = json!({"guild_id": GUILD.to_string(), "nonce": "n"});
    assert_eq!(limited, json!({"opcode": 8, "retry_after": 1.5, "meta": meta}));
}
