//! Clients that take what all share, places and turns, and what is left for the others.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use weir_gateway::{GatewayConfig, IdentifyLimits};

use crate::{
    client::{Client, INTENTS, Received},
    member_list::PRESENCES,
    world::{ALICE, BOT, GUILD, Running, World},
};

/// A connection from an address that has read Hello and says nothing.
async fn silent(gateway: &Running, address: &str) -> Client {
    let mut client = Client::over(gateway.pipe_from(1 << 20, address), "/?v=10").await;
    client.hello().await;
    client
}

/// One that has a session.
async fn identified(gateway: &Running, address: &str) -> Client {
    let mut client = silent(gateway, address).await;
    client.identify(BOT, INTENTS).await;
    client.dispatch("READY").await;
    client.dispatch("GUILD_CREATE").await;
    client
}

async fn is_refused(gateway: &Running, address: &str) -> bool {
    let mut pipe = gateway.pipe_from(4_096, address);
    pipe.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    pipe.read_to_string(&mut answer).await.unwrap();
    answer.starts_with("HTTP/1.1 503 ")
}

async fn is_served(client: &mut Client) {
    client.send(json!({"op": 1, "d": client.seq})).await;
    assert_eq!(client.payload().await["op"], 11);
}

async fn places(connections_max: usize) -> Running {
    World::new(false, 1_000).gateway(GatewayConfig { connections_max, ..GatewayConfig::default() }).await
}

#[tokio::test(start_paused = true)]
async fn an_address_with_silent_connections_makes_room_for_another() {
    let gateway = places(3).await;
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(silent(&gateway, "192.0.2.1").await);
    }
    let mut newcomer = identified(&gateway, "192.0.2.2").await;
    assert_eq!(crowd[0].receive().await, Received::Cut, "the one that has waited longest");
    for client in &mut crowd[1..] {
        is_served(client).await;
    }
    // It has as many as the other with this one, and makes room itself.
    let mut another = silent(&gateway, "192.0.2.1").await;
    assert_eq!(crowd[1].receive().await, Received::Cut);
    for client in [&mut newcomer, &mut another, &mut crowd[2]] {
        is_served(client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_keep_their_places_and_one_address_may_have_all() {
    let gateway = places(3).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(identified(&gateway, "2001:db8::1").await);
    }
    let mut waiting = silent(&gateway, "2001:db8::2").await;
    // Of the same /64: its own connection without a session goes, although the sessions are older.
    sessions.push(identified(&gateway, "2001:db8::3").await);
    assert_eq!(waiting.receive().await, Received::Cut);
    assert!(is_refused(&gateway, "2001:db8::4").await);
    assert!(is_refused(&gateway, "192.0.2.2").await, "nobody without a session has a place");
    for client in &mut sessions {
        is_served(client).await;
    }
    sessions.pop();
    tokio::time::advance(Duration::from_millis(1)).await;
    silent(&gateway, "192.0.2.2").await;
}

#[tokio::test(start_paused = true)]
async fn silent_connections_make_room_beside_an_address_with_more_sessions() {
    let gateway = places(4).await;
    let mut sessions = [identified(&gateway, "192.0.2.1").await, identified(&gateway, "192.0.2.1").await];
    let mut quiet = [silent(&gateway, "192.0.2.2").await, silent(&gateway, "192.0.2.2").await];
    let mut newcomer = silent(&gateway, "192.0.2.3").await;
    assert_eq!(quiet[0].receive().await, Received::Cut);
    for client in sessions.iter_mut().chain([&mut newcomer, &mut quiet[1]]) {
        is_served(client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_resumes_what_is_not_there_again_and_again_is_as_silent_as_who_says_nothing() {
    let gateway = places(4).await;
    let began = Instant::now();
    let mut client = silent(&gateway, "192.0.2.1").await;
    let closed = loop {
        client.send(json!({"op": 6, "d": {"token": "junk", "session_id": "junk", "seq": 1}})).await;
        assert_eq!(client.payload().await["op"], 9);
        if let Ok(received) = tokio::time::timeout(Duration::from_secs(5), client.receive()).await {
            break received;
        }
    };
    assert_eq!(closed, Received::Closed(4009));
    let allowed = GatewayConfig::default().identify_timeout;
    assert!(began.elapsed() <= allowed + Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_session_without_room_leaves_no_row() {
    let world = World::new(true, 1_000);
    let gateway = world.gateway(GatewayConfig { sessions_max: 1, ..GatewayConfig::default() }).await;
    let _kept = identified(&gateway, "192.0.2.1").await;
    for _ in 0..3 {
        let mut client = silent(&gateway, "192.0.2.1").await;
        client.identify(ALICE, INTENTS).await;
        assert_eq!(client.closed().await, 4000, "full");
    }
    assert_eq!(world.session_rows().await, 1);
}

/// Asks for a hundred members whom nobody knows.
fn made_up(round: u64) -> serde_json::Value {
    let ids: Vec<String> = (0..100).map(|n| (1 + n + round * 100).to_string()).collect();
    json!({"op": 8, "d": {"guild_id": GUILD.to_string(), "user_ids": ids}})
}

#[tokio::test(start_paused = true)]
async fn the_members_that_a_user_looks_up_are_bounded_however_often_it_resumes() {
    let world = World::new(false, 1_000);
    let config = GatewayConfig { identify_limits: IdentifyLimits::Off, ..GatewayConfig::default() };
    let gateway = world.gateway(config).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    let (before, began) = (world.members_asked.load(Ordering::Relaxed), Instant::now());
    for round in 0..3 {
        let mut client = Client::resuming(&gateway, BOT, &id, seq).await;
        client.dispatch("RESUMED").await;
        for request in 0..100 {
            client.send(made_up(round * 100 + request)).await;
            client.dispatch("GUILD_MEMBERS_CHUNK").await;
        }
    }
    let looked_up = world.members_asked.load(Ordering::Relaxed) - before;
    let seconds = began.elapsed().as_secs();
    assert_eq!(looked_up, 30_000);
    assert!((99..103).contains(&seconds), "10,000 at once, and 200 in a second: {seconds}");
    // Who does not wait for its answers is told to.
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::identified(&gateway, BOT).await);
    }
    let mut told = Vec::new();
    for client in &mut clients {
        client.send(made_up(1_000)).await;
    }
    for client in &mut clients {
        let payload = client.payload().await;
        if payload["t"] == "RATE_LIMITED" {
            let d = &payload["d"];
            assert_eq!((&d["opcode"], &d["meta"]), (&json!(8), &json!({"guild_id": GUILD.to_string()})));
            assert!(d["retry_after"].as_f64().unwrap() > 0.0);
        }
        told.push(payload["t"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!((told[0].as_str(), told[4].as_str()), ("GUILD_MEMBERS_CHUNK", "RATE_LIMITED"), "{told:?}");
    // Others never had to.
    let mut other = Client::identified(&gateway, ALICE).await;
    other.send(made_up(1_001)).await;
    other.dispatch("GUILD_MEMBERS_CHUNK").await;
}

#[tokio::test(start_paused = true)]
async fn lists_of_members_are_charged_to_who_resumes_and_not_read_without_allowance() {
    let (_world, gateway) = World::with_gateway(false, 1_000).await;
    let mut client = Client::identified_with(&gateway, BOT, INTENTS | PRESENCES).await;
    let id = client.session_id.clone();
    // The guilds are shown anew to who has seen READY alone.
    let shown = async || {
        let mut client = Client::resuming(&gateway, BOT, &id, 1).await;
        let guild = client.dispatch("GUILD_CREATE").await;
        (guild["members"].as_array().unwrap().len(), guild["large"].clone())
    };
    assert_eq!(shown().await, (3, json!(false)));
    client = Client::resuming(&gateway, BOT, &id, 2).await;
    client.dispatch("RESUMED").await;
    for request in 0..100 {
        client.send(made_up(request)).await;
        client.dispatch("GUILD_MEMBERS_CHUNK").await;
    }
    assert_eq!(shown().await, (1, json!(true)), "its own member, and that there are more");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shown().await, (3, json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_user_that_resumes_without_end_is_told_to_come_later_and_its_session_stays() {
    let (_world, gateway) = World::with_gateway(false, 1_000).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    let mut resumed = 0;
    loop {
        let mut client = Client::resuming(&gateway, BOT, &id, seq).await;
        let payload = client.payload().await;
        if payload["op"] == 9 {
            assert_eq!(payload["d"], true, "it may resume");
            break;
        }
        assert_eq!(payload["t"], "RESUMED");
        resumed += 1;
        assert!(resumed <= 2_000, "without end");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    Client::resuming(&gateway, BOT, &id, seq).await.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn who_begins_a_session_keeps_its_place_meanwhile() {
    let world = World::new(false, 1_000);
    let gateway = world.gateway(GatewayConfig { connections_max: 2, ..GatewayConfig::default() }).await;
    let mut beginning = silent(&gateway, "192.0.2.1").await;
    let mut younger = silent(&gateway, "192.0.2.1").await;
    world.resolving.send_replace(true);
    beginning.identify(BOT, INTENTS).await;
    while world.resolved.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let mut newcomer = silent(&gateway, "192.0.2.2").await;
    assert_eq!(younger.receive().await, Received::Cut, "the older one is about to have a session");
    world.resolving.send_replace(false);
    beginning.dispatch("READY").await;
    is_served(&mut newcomer).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_a_session_that_does_not_read_waits_for_nothing_and_holds_up_nobody() {
    let world = World::new(false, 1_000);
    world.overwrite(GUILD, 2_000);
    let gateway = world.gateway(GatewayConfig { admissions_max: 1, ..GatewayConfig::default() }).await;
    let slow = Client::ready_over(gateway.pipe(4 << 10), "/?v=10", BOT, INTENTS).await;
    // The guild does not fit into the pipe.
    let began = Instant::now();
    let mut taken = Client::resuming(&gateway, BOT, &slow.session_id, 1).await;
    Client::identified(&gateway, ALICE).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    taken.dispatch("GUILD_CREATE").await;
    taken.dispatch("RESUMED").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_guilds_take_too_much_is_told_that_the_gateway_is_full() {
    let world = World::new(false, 1_000);
    world.overwrite(GUILD, 2_000);
    world.put_guild(GUILD + (100 << 22), &[ALICE]);
    world.leave(GUILD, ALICE).await;
    let config = GatewayConfig { guild_bytes_max: 64 << 10, ..GatewayConfig::default() };
    let gateway = world.gateway(config).await;
    let mut large = Client::identifying(&gateway, BOT, INTENTS).await;
    assert_eq!(large.closed().await, 4000);
    Client::identified(&gateway, ALICE).await;
}
