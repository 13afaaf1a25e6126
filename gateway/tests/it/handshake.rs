//! The handshake, the bounds before and around a session, and the close codes.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use weir_gateway::GatewayConfig;

use crate::{
    client::{Client, INTENTS, Received},
    world::{BOT, OPEN, Running, World, token},
};

async fn gateway() -> Running {
    World::new(false, 1_000).gateway(GatewayConfig::default()).await
}

async fn http(gateway: &Running, request: &str) -> String {
    let mut pipe = gateway.pipe(4_096);
    pipe.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    pipe.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn hello_is_the_first_frame_on_any_path_and_beats_before_identify_are_acknowledged() {
    let gateway = gateway().await;
    for path in ["", "/", "//", "/?v=10", "/gateway?v=9&encoding=json"] {
        let mut client = Client::connect_to(&gateway, path).await;
        assert_eq!(client.hello().await["d"]["heartbeat_interval"], 41_250, "{path}");
        client.send(json!({"op": 1, "d": null})).await;
        assert_eq!(client.payload().await["op"], 11);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_no_upgrade_is_told_what_this_is() {
    let gateway = gateway().await;
    let answer = http(&gateway, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("WebSocket"), "{answer}");
    assert!(http(&gateway, "POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    assert!(http(&gateway, &long).await.starts_with("HTTP/1.1 431 "));
    let zstd = "GET /?v=10&compress=zstd-stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = http(&gateway, zstd).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("zlib-stream"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_cut() {
    let gateway = gateway().await;
    let mut pipe = gateway.pipe(4_096);
    pipe.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(pipe.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn versions_and_encodings_that_are_not_served_are_closed_with_4012() {
    let gateway = gateway().await;
    for path in ["/?v=8", "/?v=11", "/?v=10&encoding=etf"] {
        assert_eq!(Client::connect_to(&gateway, path).await.closed().await, 4012, "{path}");
    }
}

/// One row for each mistake of a client: what it sends after Hello, and the code it is told.
#[tokio::test(start_paused = true)]
async fn each_mistake_before_a_session_has_its_code() {
    let gateway = gateway().await;
    let own = token(BOT).reveal().to_owned();
    let stranger = token(99 << 22).reveal().to_owned();
    let identify = |token: &str, more: serde_json::Value| {
        let mut d = json!({"token": token, "intents": INTENTS});
        d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"op": 2, "d": d}).to_string()
    };
    let table = [
        ("not json".to_owned(), 4002),
        (json!({"op": 2, "d": {"token": 5}}).to_string(), 4002),
        (json!({"op": 0, "d": {}}).to_string(), 4001),
        (json!({"op": 99, "d": {}}).to_string(), 4001),
        (json!({"op": 3, "d": {"status": "online"}}).to_string(), 4003),
        (json!({"op": 8, "d": {"guild_id": "1", "query": "", "limit": 0}}).to_string(), 4003),
        (identify("junk", json!({})), 4004),
        (identify(&stranger, json!({})), 4004),
        (identify(&own, json!({"shard": [2, 2]})), 4010),
        (identify(&own, json!({"shard": [0, 0]})), 4010),
        (identify(&own, json!({"intents": 1_u64 << 40})), 4013),
        (identify(&own, json!({"intents": null})), 4013),
    ];
    for (payload, code) in table {
        let mut client = Client::connect(&gateway).await;
        client.hello().await;
        client.ws.send(Message::text(payload.clone())).await.unwrap();
        assert_eq!(client.closed().await, code, "{payload}");
    }
}

/// RFC 6455, 5.5.1: a close frame is answered with one, and with the code that came.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_answered_with_its_own_close_code() {
    let gateway = gateway().await;
    for code in [1000_u16, 1001, 3000, 4000, 4999] {
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        let mut client = Client::connect(&gateway).await;
        client.hello().await;
        client.ws.close(Some(frame.clone())).await.unwrap();
        assert_eq!(client.closed().await, code, "before READY");
        let mut client = Client::identified(&gateway, BOT).await;
        client.ws.close(Some(frame)).await.unwrap();
        assert_eq!(client.closed().await, code, "with a session");
    }
    let mut client = Client::identified(&gateway, BOT).await;
    client.ws.close(None).await.unwrap();
    assert!(matches!(client.ws.next().await, Some(Ok(Message::Close(None)))), "one without a code");
}

/// Events that come while a client leaves are not written behind its close frame, and do not make its word
/// forgotten.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_for_good_ends_its_session_whatever_happens_meanwhile() {
    let (world, gateway, mut client) = World::with_session(false, 1_000, BOT).await;
    let frame = CloseFrame { code: 1000.into(), reason: "bye".into() };
    client.ws.send(Message::Close(Some(frame))).await.unwrap();
    // It keeps its end of the connection open for a while.
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.say(OPEN, "late").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(client.closed().await, 1000);
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, client.last_seq()).await;
    let invalid = again.payload().await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&json!(9), &json!(false)));
}

/// An opcode that is none: the connection cannot go on, and the client is told why.
#[tokio::test(start_paused = true)]
async fn who_breaks_the_protocol_is_told_1002() {
    let gateway = gateway().await;
    let mut client = Client::connect(&gateway).await;
    client.hello().await;
    client.ws.get_mut().write_all(&[0x83, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(client.closed().await, 1002);
}

/// Members are asked for in the forms of every library, and whatever cannot be understood is ignored.
#[tokio::test(start_paused = true)]
async fn requests_of_an_unusual_form_do_not_end_a_session() {
    let gateway = gateway().await;
    let mut client = Client::identified(&gateway, BOT).await;
    let guild = crate::world::GUILD.to_string();
    client
        .send(json!({"op": 8, "d": {"guild_id": [guild], "user_ids": BOT, "presences": 256, "nonce": 5}}))
        .await;
    let chunk = client.dispatch("GUILD_MEMBERS_CHUNK").await;
    assert_eq!((chunk["members"].as_array().unwrap().len(), chunk.get("nonce")), (1, None), "{chunk}");
    for odd in [json!({"op": 8}), json!({"op": 8, "d": {"guild_id": {}}}), json!({"op": "3", "d": [1]})] {
        client.send(odd).await;
    }
    client.send(json!({"op": 1, "d": {}})).await;
    assert_eq!(client.payload().await["op"], 11);
}

#[tokio::test(start_paused = true)]
async fn intents_that_are_not_granted_are_closed_with_4014() {
    let config =
        GatewayConfig { granted_intents: weir_discord::intent::Intents::NONE, ..GatewayConfig::default() };
    let gateway = World::new(false, 1_000).gateway(config).await;
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    assert_eq!(client.closed().await, 4014);
}

#[tokio::test(start_paused = true)]
async fn more_guilds_than_a_session_may_hold_are_closed_with_4011() {
    let config = GatewayConfig { guilds_max: 1, ..GatewayConfig::default() };
    let world = World::new(false, 1_000);
    world.put_guild(crate::world::GUILD + (100 << 22), &[BOT]);
    let gateway = world.gateway(config).await;
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    assert_eq!(client.closed().await, 4011);
}

#[tokio::test(start_paused = true)]
async fn a_session_holds_the_2_500_guilds_of_a_shard_at_discord_and_no_more() {
    let world = World::new(true, 10_000);
    for n in 1..2_500 {
        world.put_guild(crate::world::GUILD + n * (100 << 22), &[BOT]);
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    let ready = client.dispatch("READY").await;
    assert_eq!(ready["guilds"].as_array().unwrap().len(), 2_500);
    for _ in 0..2_500 {
        client.dispatch("GUILD_CREATE").await;
    }
    world.put_guild(crate::world::GUILD + 2_500 * (100 << 22), &[BOT]);
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    assert_eq!(client.closed().await, 4011);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_never_says_that_the_token_is_bad() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    world.down.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::identifying(&gateway, BOT, INTENTS).await;
    assert_eq!(client.closed().await, 4000);
}

#[tokio::test(start_paused = true)]
async fn identifying_twice_is_closed_with_4005_and_the_session_stays() {
    let gateway = gateway().await;
    let mut client = Client::identified(&gateway, BOT).await;
    client.identify(BOT, INTENTS).await;
    assert_eq!(client.closed().await, 4005);
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, client.last_seq()).await;
    again.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn the_121st_payload_of_a_minute_is_closed_with_4008() {
    let gateway = gateway().await;
    let mut client = Client::connect(&gateway).await;
    client.hello().await;
    for _ in 0..120 {
        client.send(json!({"op": 1, "d": null})).await;
        assert_eq!(client.payload().await["op"], 11);
    }
    client.send(json!({"op": 1, "d": null})).await;
    assert_eq!(client.closed().await, 4008);
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_4096_bytes_is_read_and_a_longer_one_closed_with_4002() {
    let gateway = gateway().await;
    let mut client = Client::identified(&gateway, BOT).await;
    let padded = |length: usize| {
        let text = json!({"op": 1, "d": null}).to_string();
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    client.ws.send(Message::text(padded(4_096))).await.unwrap();
    assert_eq!(client.payload().await["op"], 11);
    client.ws.send(Message::text(padded(4_097))).await.unwrap();
    assert_eq!(client.closed().await, 4002);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_identify_or_does_not_beat_is_closed_with_4009() {
    let config = GatewayConfig {
        identify_timeout: Duration::from_secs(3),
        heartbeat_timeout: Duration::from_secs(4),
        ..GatewayConfig::default()
    };
    let gateway = World::new(false, 1_000).gateway(config).await;
    let mut silent = Client::connect(&gateway).await;
    silent.hello().await;
    assert_eq!(silent.closed().await, 4009);
    let mut client = Client::identified(&gateway, BOT).await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3)).await;
        client.send(json!({"op": 1, "d": client.seq})).await;
        assert_eq!(client.payload().await["op"], 11);
    }
    assert_eq!(client.closed().await, 4009);
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_bound_get_503_and_a_freed_place_is_used_again() {
    let gateway = World::new(false, 1_000)
        .gateway(GatewayConfig { connections_max: 1, ..GatewayConfig::default() })
        .await;
    let mut first = Client::identified(&gateway, BOT).await;
    assert!(http(&gateway, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    first.ws.close(None).await.unwrap();
    assert!(matches!(first.receive().await, Received::Cut | Received::Closed(_)));
    tokio::time::advance(Duration::from_millis(1)).await;
    Client::connect(&gateway).await.hello().await;
}
