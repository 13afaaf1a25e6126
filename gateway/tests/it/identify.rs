//! What a session begins with: READY, the guilds, and how payloads are packed.

use serde_json::json;
use weir_gateway::GatewayConfig;

use crate::{
    client::{Client, INTENTS},
    world::{ALICE, BOT, GUILD, HIDDEN, OPEN, World, token},
};

#[tokio::test(start_paused = true)]
async fn ready_comes_first_then_each_guild_in_the_order_of_ready() {
    let world = World::new(false, 1_000);
    world.put_guild(GUILD + (100 << 22), &[BOT]);
    let config = GatewayConfig { public_url: "ws://gateway.example/".into(), ..GatewayConfig::default() };
    let gateway = world.gateway(config).await;
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    let ready = client.dispatch("READY").await;
    assert_eq!(ready["user"]["id"], BOT.to_string());
    assert_eq!(ready["v"], 10);
    assert_eq!(ready["shard"], json!([0, 1]));
    assert_eq!(ready["resume_gateway_url"], "ws://gateway.example");
    assert_eq!(ready["application"]["id"], BOT.to_string());
    assert_eq!(ready["private_channels"], json!([]));
    let ids = [GUILD, GUILD + (100 << 22)];
    assert_eq!(ready["guilds"], json!(ids.map(|id| json!({"id": id.to_string(), "unavailable": true}))));
    for id in ids {
        let guild = client.dispatch("GUILD_CREATE").await;
        assert_eq!((&guild["id"], &guild["unavailable"]), (&json!(id.to_string()), &json!(false)));
        assert_eq!(guild["members"][0]["user"]["id"], BOT.to_string());
    }
    assert_eq!(client.seq, Some(3));
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_receives_its_guilds_only() {
    let world = World::new(false, 1_000);
    // (id >> 22) is 1 for the first and 101 for the second: shards 1 and 2 of 3.
    world.put_guild(GUILD + (100 << 22), &[BOT]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut client = Client::connect(&gateway).await;
    client.hello().await;
    let d = json!({"token": token(BOT).reveal(), "intents": INTENTS, "shard": [1, 3]});
    client.send(json!({"op": 2, "d": d})).await;
    let ready = client.dispatch("READY").await;
    assert_eq!(ready["shard"], json!([1, 3]));
    assert_eq!(ready["guilds"].as_array().unwrap().len(), 1);
    client.dispatch("GUILD_CREATE").await;
    world.say(OPEN + (100 << 22), "elsewhere").await;
    world.say(OPEN, "here").await;
    assert_eq!(client.message().await, "here");
}

#[tokio::test(start_paused = true)]
async fn without_the_guilds_intent_no_guild_is_promised_and_messages_come_all_the_same() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut client = Client::identifying(&gateway, BOT, 1 << 9 | 1 << 15).await;
    assert_eq!(client.dispatch("READY").await["guilds"], json!([]));
    world.say(OPEN, "x").await;
    assert_eq!(client.message().await, "x");
    assert_eq!(client.seq, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_session_without_room_for_a_compressor_is_served_by_the_same_stream() {
    let world = World::new(false, 1_000);
    // An eighth of a MiB for a token is no compressor.
    let config = GatewayConfig { codec_bytes_max: 1 << 20, ..GatewayConfig::default() };
    let gateway = world.gateway(config).await;
    let mut client = Client::connect_to(&gateway, "/?v=10&encoding=json&compress=zlib-stream").await;
    client.hello().await;
    client.identify(BOT, INTENTS).await;
    client.dispatch("READY").await;
    client.dispatch("GUILD_CREATE").await;
    world.say(OPEN, "uncompressed").await;
    assert_eq!(client.message().await, "uncompressed");
}

#[tokio::test(start_paused = true)]
async fn zlib_stream_is_one_context_for_the_whole_connection() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut client = Client::connect_to(&gateway, "/?v=10&encoding=json&compress=zlib-stream").await;
    client.hello().await;
    client.identify(BOT, INTENTS).await;
    client.dispatch("READY").await;
    client.dispatch("GUILD_CREATE").await;
    for i in 0..50 {
        world.say(OPEN, &format!("message {i}")).await;
        assert_eq!(client.message().await, format!("message {i}"));
    }
}

#[tokio::test(start_paused = true)]
async fn identify_may_ask_for_payloads_that_are_compressed_one_by_one() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut client = Client::connect(&gateway).await;
    client.hello().await;
    let d = json!({"token": token(BOT).reveal(), "intents": INTENTS, "compress": true});
    client.send(json!({"op": 2, "d": d})).await;
    client.dispatch("READY").await;
    client.dispatch("GUILD_CREATE").await;
    world.say(OPEN, "packed").await;
    assert_eq!(client.message().await, "packed");
}

#[tokio::test(start_paused = true)]
async fn members_are_answered_by_id_by_name_and_in_full_only_with_the_intent() {
    let (_world, gateway) = World::with_gateway(false, 1_000).await;
    let mut client = Client::identified_with(&gateway, BOT, INTENTS | 1 << 1).await;
    let ask = |d: serde_json::Value| json!({"op": 8, "d": d});
    let guild = GUILD.to_string();
    client.send(ask(json!({"guild_id": guild, "user_ids": [ALICE.to_string(), "7"], "nonce": "n"}))).await;
    let chunk = client.dispatch("GUILD_MEMBERS_CHUNK").await;
    assert_eq!(chunk["members"][0]["user"]["username"], "alice");
    assert_eq!((&chunk["not_found"], &chunk["nonce"]), (&json!(["7"]), &json!("n")));
    client.send(ask(json!({"guild_id": guild, "query": "AL", "limit": 10}))).await;
    let chunk = client.dispatch("GUILD_MEMBERS_CHUNK").await;
    assert_eq!(chunk["members"].as_array().unwrap().len(), 1);
    client.send(ask(json!({"guild_id": guild, "query": "", "limit": 0}))).await;
    let chunk = client.dispatch("GUILD_MEMBERS_CHUNK").await;
    assert_eq!(chunk["members"].as_array().unwrap().len(), 3);
    assert_eq!((&chunk["chunk_index"], &chunk["chunk_count"]), (&json!(0), &json!(1)));

    let mut without = Client::identified(&gateway, ALICE).await;
    without.send(ask(json!({"guild_id": guild, "query": "", "limit": 0}))).await;
    assert_eq!(without.dispatch("GUILD_MEMBERS_CHUNK").await["members"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_guild_shows_all_its_channels_at_the_start() {
    let gateway = World::new(false, 1_000).gateway(GatewayConfig::default()).await;
    let mut client = Client::ready(&gateway, BOT, INTENTS).await;
    let guild = client.dispatch("GUILD_CREATE").await;
    let ids: Vec<_> =
        guild["channels"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [OPEN.to_string(), HIDDEN.to_string()]);
}
