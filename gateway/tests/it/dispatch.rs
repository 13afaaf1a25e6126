//! Who receives what: intents, permissions as they change, content, membership.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_gateway::GatewayConfig;
use weir_proto::{
    data::{Channel, EventContext, Overwrite},
    event::{PinsChanged, record::Change},
};

use crate::{
    client::{Client, INTENTS},
    world::{ALICE, BOT, Fate, GUILD, HIDDEN, OPEN, OWNER, SEER, VIEW, World},
};

const OTHER: u64 = GUILD + (100 << 22);
const OTHER_OPEN: u64 = OPEN + (100 << 22);

#[tokio::test(start_paused = true)]
async fn a_message_reaches_those_who_see_its_channel_and_asked_for_messages() {
    let (world, gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let mut owner = Client::identified(&gateway, OWNER).await;
    let mut deaf = Client::identified_with(&gateway, BOT, 1).await;
    world.say(HIDDEN, "secret").await;
    world.say(OPEN, "public").await;
    assert_eq!(bot.message().await, "public");
    assert_eq!(owner.message().await, "secret");
    assert_eq!(owner.message().await, "public");
    deaf.quiet().await;
    // READY and one guild are 1 and 2; the secret would have been 3.
    assert_eq!((bot.seq, owner.seq), (Some(4), Some(4)));
}

#[tokio::test(start_paused = true)]
async fn permissions_are_those_at_each_record_however_late_it_is_read() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    // All of it is committed before the client's task runs.
    world.say(HIDDEN, "1 not yet").await;
    world.set_roles(GUILD, BOT, &[SEER]).await;
    world.say(HIDDEN, "2 now").await;
    world.set_roles(GUILD, BOT, &[]).await;
    world.say(HIDDEN, "3 no more").await;
    let opened = Channel { overwrites: vec![], ..world.channel(HIDDEN) };
    world.commit(GUILD, GUILD, Change::ChannelUpdated(opened.clone()), Fate::Once).await;
    world.say(HIDDEN, "4 open to all").await;
    let closed =
        Channel { overwrites: vec![Overwrite { id: BOT, r#type: 1, allow: 0, deny: VIEW }], ..opened };
    world.commit(GUILD, GUILD, Change::ChannelUpdated(closed.clone()), Fate::Once).await;
    world.say(HIDDEN, "5 but the bot").await;
    world.commit(GUILD, GUILD, Change::ChannelDeleted(closed), Fate::Once).await;
    world.say(OPEN, "6").await;
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(bot.message().await, "2 now");
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    bot.dispatch("CHANNEL_UPDATE").await;
    assert_eq!(bot.message().await, "4 open to all");
    bot.dispatch("CHANNEL_UPDATE").await;
    bot.dispatch("CHANNEL_DELETE").await;
    assert_eq!(bot.message().await, "6");
    bot.quiet().await;
}

/// One rule for lists, GUILD_CREATE and events, so that whoever comes to see a channel knows it already, as
/// it is now.
#[tokio::test(start_paused = true)]
async fn channels_are_announced_to_every_member_as_guild_create_lists_them() {
    let (world, gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let renamed = Channel { name: "renamed".into(), ..world.channel(HIDDEN) };
    let made = Channel { id: HIDDEN + 1, name: "made".into(), ..renamed.clone() };
    for change in [
        Change::ChannelUpdated(renamed),
        Change::ChannelCreated(made.clone()),
        Change::ChannelUpdated(Channel { name: "made and changed".into(), ..made }),
    ] {
        world.commit(GUILD, GUILD, change, Fate::Once).await;
    }
    for name in ["CHANNEL_UPDATE", "CHANNEL_CREATE", "CHANNEL_UPDATE"] {
        let channel = bot.dispatch(name).await;
        known.insert(channel["id"].as_str().unwrap().to_owned(), channel);
    }
    world.say(HIDDEN, "not yet").await;
    world.set_roles(GUILD, BOT, &[SEER]).await;
    let newest = world.say(HIDDEN, "now").await;
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(bot.message().await, "now", "in a channel that the client knows");
    let mut fresh = Client::ready(&gateway, BOT, INTENTS).await;
    for mut channel in fresh.dispatch("GUILD_CREATE").await["channels"].as_array().unwrap().clone() {
        let Some(heard) = known.remove(channel["id"].as_str().unwrap()) else { continue };
        if channel["id"].as_str() == Some(HIDDEN.to_string().as_str()) {
            assert_eq!(channel["last_message_id"], newest.to_string(), "told since the guild was loaded");
        }
        for of_now in ["guild_id", "last_message_id"] {
            channel[of_now] = heard[of_now].clone();
        }
        assert_eq!(channel, heard, "events and list agree");
    }
    assert!(known.is_empty(), "{known:?}");
    world.set_roles(GUILD, BOT, &[]).await;
    world.commit(GUILD, GUILD, Change::ChannelDeleted(world.channel(HIDDEN)), Fate::Once).await;
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(bot.dispatch("CHANNEL_DELETE").await["id"], HIDDEN.to_string());
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_bulk_deletion_is_one_event_for_those_who_see_the_channel() {
    let (world, gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let mut owner = Client::identified(&gateway, OWNER).await;
    let mut deaf = Client::identified_with(&gateway, BOT, 1).await;
    world.unsay_together(HIDDEN, &[1 << 22], Fate::Once).await;
    world.unsay_together(OPEN, &[5 << 22, 6 << 22], Fate::Once).await;
    let expected = json!({
        "ids": [(5_u64 << 22).to_string(), (6_u64 << 22).to_string()],
        "channel_id": OPEN.to_string(),
        "guild_id": GUILD.to_string(),
    });
    assert_eq!(bot.dispatch("MESSAGE_DELETE_BULK").await, expected);
    assert_eq!(owner.dispatch("MESSAGE_DELETE_BULK").await["channel_id"], HIDDEN.to_string());
    assert_eq!(owner.dispatch("MESSAGE_DELETE_BULK").await, expected);
    for client in [&mut bot, &mut owner, &mut deaf] {
        client.quiet().await;
    }
}

/// Lost on the bus and fetched, and replayed to a session that resumes, from the ring or, in the next
/// process, from the log.
#[tokio::test(start_paused = true)]
async fn a_bulk_deletion_survives_a_loss_and_a_resume() {
    for durable in [false, true] {
        let (world, gateway, mut bot) = World::with_session(durable, 10_000, BOT).await;
        let (id, seq) = (bot.session_id.clone(), bot.last_seq());
        world.say(OPEN, "first").await;
        let fate = if durable { Fate::Once } else { Fate::Lost };
        world.unsay_together(OPEN, &[5 << 22, 6 << 22], fate).await;
        world.say(OPEN, "last").await;
        let told = async |client: &mut Client| {
            assert_eq!(client.message().await, "first");
            let ids = client.dispatch("MESSAGE_DELETE_BULK").await["ids"].clone();
            assert_eq!(ids, json!([(5_u64 << 22).to_string(), (6_u64 << 22).to_string()]));
            assert_eq!(client.message().await, "last");
        };
        told(&mut bot).await;
        drop(bot);
        let gateway = if durable {
            gateway.stop().await;
            world.gateway(GatewayConfig::default()).await
        } else {
            gateway
        };
        let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
        told(&mut again).await;
        again.dispatch("RESUMED").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_pins_reaches_those_who_see_the_channel_and_asked_for_guilds() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::identified_with(&gateway, BOT, 1).await;
    let mut owner = Client::identified_with(&gateway, OWNER, 1).await;
    // Messages of guilds and of users, and no guilds.
    let mut deaf = Client::ready(&gateway, OWNER, 1 << 9 | 1 << 12).await;
    for (channel_id, last_pin_at_ms) in [(HIDDEN, 1_700_000_000_123), (OPEN, 1_700_000_000_123), (OPEN, 0)] {
        let change = Change::PinsChanged(PinsChanged { channel_id, last_pin_at_ms });
        world.commit(channel_id, GUILD, change, Fate::Once).await;
    }
    let event = |channel: u64, at: Value| {
        let (guild, channel) = (GUILD.to_string(), channel.to_string());
        json!({"guild_id": guild, "channel_id": channel, "last_pin_timestamp": at})
    };
    let pinned = json!("2023-11-14T22:13:20.123000+00:00");
    assert_eq!(owner.dispatch("CHANNEL_PINS_UPDATE").await, event(HIDDEN, pinned.clone()));
    for client in [&mut bot, &mut owner] {
        assert_eq!(client.dispatch("CHANNEL_PINS_UPDATE").await, event(OPEN, pinned.clone()));
        assert_eq!(client.dispatch("CHANNEL_PINS_UPDATE").await, event(OPEN, Value::Null));
        client.quiet().await;
    }
    deaf.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_content_intent_only_own_messages_have_their_content() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::identified_with(&gateway, BOT, 1 | 1 << 9).await;
    let mut reader = Client::identified(&gateway, BOT).await;
    world.say(OPEN, "hers").await;
    world.say_as(OPEN, BOT, "mine", Fate::Once).await;
    assert_eq!(bot.message().await, "");
    assert_eq!(bot.message().await, "mine");
    assert_eq!(reader.message().await, "hers");
}

#[tokio::test(start_paused = true)]
async fn edits_and_deletions_follow_their_message() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let id = world.say(OPEN, "first").await;
    world.unsay(OPEN, id).await;
    let created = bot.dispatch("MESSAGE_CREATE").await;
    assert_eq!((&created["id"], &created["guild_id"]), (&json!(id.to_string()), &json!(GUILD.to_string())));
    assert_eq!(bot.dispatch("MESSAGE_DELETE").await["id"], id.to_string());
}

#[tokio::test(start_paused = true)]
async fn typing_repeats_the_last_number_and_needs_its_intent_and_the_channel() {
    let (world, gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let mut other = Client::identified_with(&gateway, BOT, 1 | 1 << 9).await;
    bot.quiet().await;
    world.typing(OPEN, ALICE).await;
    // The client asserts that `s` is repeated.
    assert_eq!(bot.dispatch("TYPING_START").await["user_id"], ALICE.to_string());
    world.typing(HIDDEN, ALICE).await;
    bot.quiet().await;
    world.say(OPEN, "x").await;
    bot.message().await;
    world.typing(OPEN, ALICE).await;
    bot.dispatch("TYPING_START").await;
    other.message().await;
    other.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn joining_a_guild_brings_it_and_its_messages_and_leaving_ends_them() {
    let world = World::new(false, 1_000);
    world.put_guild(OTHER, &[OWNER]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified_with(&gateway, BOT, INTENTS).await;
    let mut owner = Client::identified_with(&gateway, OWNER, INTENTS | 1 << 1).await;
    world.say(OTHER_OPEN, "before").await;
    world.join(OTHER, BOT).await;
    world.say(OTHER_OPEN, "after").await;
    let guild = bot.dispatch("GUILD_CREATE").await;
    assert_eq!((&guild["id"], guild.get("unavailable")), (&json!(OTHER.to_string()), None));
    assert_eq!(guild["member_count"], 2);
    assert_eq!(bot.message().await, "after");
    assert_eq!(owner.message().await, "before");
    owner.dispatch("GUILD_MEMBER_ADD").await;
    assert_eq!(owner.message().await, "after");

    world.leave(OTHER, BOT).await;
    world.say(OTHER_OPEN, "without the bot").await;
    assert_eq!(bot.dispatch("GUILD_DELETE").await, json!({"id": OTHER.to_string()}));
    bot.quiet().await;
    owner.dispatch("GUILD_MEMBER_REMOVE").await;
    owner.message().await;

    world.join(OTHER, BOT).await;
    bot.dispatch("GUILD_CREATE").await;
    world.delete_guild(OTHER).await;
    assert_eq!(bot.dispatch("GUILD_DELETE").await["id"], OTHER.to_string());
    world.say(OPEN, "goes on").await;
    assert_eq!(bot.message().await, "goes on");
}

#[tokio::test(start_paused = true)]
async fn a_new_guild_is_announced_to_its_first_members() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    world.put_guild(OTHER, &[BOT, OWNER]);
    let state = weir_proto::data::GuildState {
        guild: Some(weir_proto::data::Guild { id: OTHER, name: "new".into(), owner_id: OWNER, rev: 1 }),
        member_count: 2,
        rev: 1,
        ..Default::default()
    };
    let created = weir_proto::event::GuildCreated { state: Some(state), member_ids: vec![OWNER, BOT] };
    world.commit(OTHER, OTHER, Change::GuildCreated(created), Fate::Once).await;
    assert_eq!(bot.dispatch("GUILD_CREATE").await["id"], OTHER.to_string());
    world.say(OTHER_OPEN, "first").await;
    assert_eq!(bot.message().await, "first");
}

#[tokio::test(start_paused = true)]
async fn a_message_without_context_is_completed_from_the_data_service() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let said = world.say_unpublished(OPEN, "bare").await;
    let record = weir_proto::event::Record { recovered: true, context: None, prev_rev: 0, ..said };
    world.put_on_bus(&record, Fate::Once).await;
    let event: Value = bot.dispatch("MESSAGE_CREATE").await;
    assert_eq!(event["author"]["username"], "alice");
    assert!(event["member"]["joined_at"].is_string(), "{event}");
}

#[tokio::test(start_paused = true)]
async fn the_newest_message_is_in_guild_create_and_in_the_events_of_its_channel() {
    let world = World::new(false, 1_000);
    let newest = world.say(OPEN, "before anybody came").await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::ready(&gateway, BOT, INTENTS).await;
    let guild = bot.dispatch("GUILD_CREATE").await;
    let shown = |id: u64| {
        let channels = guild["channels"].as_array().unwrap();
        channels.iter().find(|row| row["id"].as_str() == Some(id.to_string().as_str())).unwrap()["last_message_id"].clone()
    };
    assert_eq!((shown(OPEN), shown(HIDDEN)), (json!(newest.to_string()), Value::Null));
    let renamed = Channel { name: "renamed".into(), ..world.channel(OPEN) };
    world.commit(GUILD, GUILD, Change::ChannelUpdated(renamed), Fate::Once).await;
    assert_eq!(bot.dispatch("CHANNEL_UPDATE").await["last_message_id"], newest.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_newest_message_was_not_found_out_does_not_take_back_what_was_told() {
    let world = World::new(false, 1_000);
    world.say(OPEN, "before anybody came").await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    let newest = world.say(OPEN, "told").await;
    bot.message().await;
    let row = world.channel(OPEN);
    let renamed = Channel { name: "renamed".into(), ..row.clone() };
    for (change, name) in
        [(Change::ChannelUpdated(renamed), "CHANNEL_UPDATE"), (Change::ChannelDeleted(row), "CHANNEL_DELETE")]
    {
        let record = world.commit(GUILD, GUILD, change, Fate::Lost).await;
        let unknown = Some(EventContext::default());
        world.put_on_bus(&weir_proto::event::Record { context: unknown, ..record }, Fate::Once).await;
        assert_eq!(bot.dispatch(name).await["last_message_id"], newest.to_string(), "{name}");
    }
}
