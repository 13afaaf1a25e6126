//! Direct messages: to both users, on their first shard, and to nobody else.

use serde_json::json;
use weir_gateway::GatewayConfig;
use weir_proto::{
    data::Message,
    event::{PinsChanged, Record, record::Change},
};

use crate::{
    client::Client,
    world::{ALICE, BOT, Fate, OPEN, OWNER, World, token},
};

/// The channel of the bot and Alice.
const TALK: u64 = 500 << 22;
/// DIRECT_MESSAGES alone: neither guilds nor MESSAGE_CONTENT.
const MESSAGES: u64 = 1 << 12;
/// GUILD_MESSAGES and MESSAGE_CONTENT.
const GUILD_MESSAGES: u64 = 1 << 9 | 1 << 15;
/// DIRECT_MESSAGE_TYPING.
const TYPING: u64 = 1 << 14;

#[tokio::test(start_paused = true)]
async fn both_users_hear_of_the_channel_first_and_then_of_all_that_happens_in_it_and_a_third_of_nothing() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, MESSAGES).await;
    let mut alice = Client::ready(&gateway, ALICE, MESSAGES).await;
    // The owner of the guild that all are in. What it hears of there makes it look at all that was committed
    // in between.
    let mut third = Client::ready(&gateway, OWNER, MESSAGES | TYPING | GUILD_MESSAGES).await;
    world.say(OPEN, "before").await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    let id = world.say(TALK, "between us").await;
    let edited =
        Message { id, channel_id: TALK, author_id: ALICE, content: "still".into(), ..Message::default() };
    world.commit(TALK, 0, Change::MessageEdited(edited), Fate::Once).await;
    world.unsay(TALK, id).await;
    world.say(OPEN, "after").await;
    let channel = alice.dispatch("CHANNEL_CREATE").await;
    assert_eq!((&channel["id"], &channel["type"]), (&json!(TALK.to_string()), &json!(1)));
    assert_eq!(channel["recipients"][0]["id"], BOT.to_string());
    assert_eq!(channel["recipients"].as_array().map(Vec::len), Some(1));
    // Bots have not been told of the channel since v8.
    for client in [&mut bot, &mut alice] {
        let message = client.dispatch("MESSAGE_CREATE").await;
        assert_eq!((&message["content"], message.get("guild_id")), (&json!("between us"), None));
        assert_eq!(message["author"]["id"], ALICE.to_string());
        let update = client.dispatch("MESSAGE_UPDATE").await;
        assert_eq!((&update["content"], update.get("guild_id")), (&json!("still"), None));
        let deleted = client.dispatch("MESSAGE_DELETE").await;
        assert_eq!(deleted, json!({"id": id.to_string(), "channel_id": TALK.to_string()}));
    }
    world.typing(TALK, ALICE).await;
    assert_eq!(third.message().await, "before");
    assert_eq!(third.message().await, "after");
    third.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn each_kind_needs_its_intent_and_the_channel_none() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut deaf = Client::ready(&gateway, ALICE, 0).await;
    let mut typing = Client::ready(&gateway, ALICE, TYPING).await;
    let mut messages = Client::ready(&gateway, ALICE, MESSAGES).await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    for client in [&mut deaf, &mut typing, &mut messages] {
        client.dispatch("CHANNEL_CREATE").await;
    }
    world.say(TALK, "m").await;
    assert_eq!(messages.message().await, "m");
    world.typing(TALK, ALICE).await;
    let started = typing.dispatch("TYPING_START").await;
    assert_eq!((&started["user_id"], started.get("guild_id")), (&json!(ALICE.to_string()), None));
    assert!(started.get("member").is_none());
    for client in [&mut deaf, &mut typing, &mut messages] {
        client.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_pins_reaches_both_users_who_asked_for_direct_messages_and_nobody_else() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, MESSAGES).await;
    let mut alice = Client::ready(&gateway, ALICE, MESSAGES).await;
    let mut third = Client::ready(&gateway, OWNER, MESSAGES).await;
    // GUILDS, which lets the event through in a guild.
    let mut deaf = Client::identified_with(&gateway, BOT, 1 | GUILD_MESSAGES | TYPING).await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    let change = Change::PinsChanged(PinsChanged { channel_id: TALK, last_pin_at_ms: 0 });
    world.commit(TALK, 0, change, Fate::Once).await;
    alice.dispatch("CHANNEL_CREATE").await;
    for client in [&mut bot, &mut alice] {
        let told = client.dispatch("CHANNEL_PINS_UPDATE").await;
        assert_eq!(told, json!({"channel_id": TALK.to_string(), "last_pin_timestamp": null}));
    }
    for client in [&mut bot, &mut alice, &mut third, &mut deaf] {
        client.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_first_shard_hears_of_direct_messages() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut shards = Vec::new();
    for id in 0..3 {
        let mut client = Client::connect(&gateway).await;
        client.hello().await;
        let d = json!({
            "token": token(BOT).reveal(), "intents": MESSAGES | TYPING, "shard": [id, 3], "properties": {},
        });
        client.send(json!({"op": 2, "d": d})).await;
        client.dispatch("READY").await;
        shards.push(client);
    }
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    world.say(TALK, "m").await;
    world.typing(TALK, ALICE).await;
    // The typing notice comes beside the log, perhaps before what is in it.
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(shards[0].payload().await["t"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, ["MESSAGE_CREATE", "TYPING_START"]);
    for client in &mut shards {
        client.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_replays_direct_messages_with_their_numbers() {
    for durable in [false, true] {
        let (world, gateway) = World::with_gateway(durable, 10_000).await;
        let client = Client::ready(&gateway, BOT, MESSAGES).await;
        let (id, seq) = (client.session_id.clone(), client.last_seq());
        drop(client);
        world.open_direct(TALK, [ALICE, BOT], Fate::Once).await;
        world.open_direct(TALK + 1, [ALICE, OWNER], Fate::Once).await;
        for i in 0..100 {
            world.say(TALK, &i.to_string()).await;
            world.say(TALK + 1, "not the bot's").await;
        }
        // On a log the session goes on in the next process, too.
        let gateway = if durable {
            gateway.stop().await;
            world.gateway(GatewayConfig::default()).await
        } else {
            gateway
        };
        let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
        for i in 0..100 {
            assert_eq!(again.message().await, i.to_string());
            assert_eq!(again.last_seq(), seq + 3 + 2 * i);
        }
        again.dispatch("RESUMED").await;
        world.say(TALK, "live").await;
        assert_eq!(again.message().await, "live");
        again.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_bus_repeats_is_dropped_and_what_it_loses_is_fetched_the_channel_before_its_first_message() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, MESSAGES).await;
    let mut alice = Client::ready(&gateway, ALICE, MESSAGES).await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Lost).await;
    world.say_as(TALK, ALICE, "0", Fate::Lost).await;
    world.say_as(TALK, ALICE, "1", Fate::Twice).await;
    alice.dispatch("CHANNEL_CREATE").await;
    for client in [&mut bot, &mut alice] {
        assert_eq!(client.message().await, "0");
        assert_eq!(client.message().await, "1");
        client.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_fetched_invalidates_the_two_users_sessions_and_no_others() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, MESSAGES).await;
    let mut alice = Client::ready(&gateway, ALICE, 0).await;
    let mut third = Client::ready(&gateway, OWNER, MESSAGES).await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    alice.dispatch("CHANNEL_CREATE").await;
    world.say_as(TALK, ALICE, "lost", Fate::Lost).await;
    world.truncate_outbox();
    world.say_as(TALK, ALICE, "after", Fate::Once).await;
    for client in [&mut bot, &mut alice] {
        let invalid = client.payload().await;
        assert_eq!((&invalid["op"], &invalid["d"]), (&9.into(), &false.into()));
    }
    third.quiet().await;
}

/// After a crash the data service publishes again what it read back: without context, and chained to where
/// the reading began.
#[tokio::test(start_paused = true)]
async fn a_recovered_record_needs_neither_context_nor_a_predecessor() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, MESSAGES).await;
    let mut alice = Client::ready(&gateway, ALICE, MESSAGES).await;
    let created = world.open_direct(TALK, [BOT, ALICE], Fate::Lost).await;
    let again = Record { prev_rev: created.rev - 1, recovered: true, context: None, ..created.clone() };
    world.put_on_bus(&again, Fate::Once).await;
    let channel = alice.dispatch("CHANNEL_CREATE").await;
    assert_eq!(channel["recipients"][0]["id"], BOT.to_string());
    let message = Message {
        id: 9 << 22,
        channel_id: TALK,
        author_id: ALICE,
        content: "bare".into(),
        ..Message::default()
    };
    let bare = world.commit(TALK, 0, Change::MessageCreated(message), Fate::Lost).await;
    world.put_on_bus(&Record { recovered: true, context: None, ..bare }, Fate::Once).await;
    let message = bot.dispatch("MESSAGE_CREATE").await;
    assert_eq!((&message["content"], &message["author"]["username"]), (&json!("bare"), &json!("alice")));
    assert!(message.get("member").is_none());
    bot.quiet().await;
}
