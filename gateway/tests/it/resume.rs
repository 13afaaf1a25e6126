//! Resume within one process.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use weir_gateway::GatewayConfig;

use crate::{
    client::Client,
    world::{ALICE, BOT, GUILD, HIDDEN, OPEN, SEER, World},
};

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_replayed_once_in_order_with_its_numbers_then_resumed() {
    let (world, gateway, mut client) = World::with_session(false, 1_000, BOT).await;
    world.say(OPEN, "0").await;
    assert_eq!(client.message().await, "0");
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    drop(client);
    for i in 1..=200 {
        world.say(OPEN, &i.to_string()).await;
        world.say(HIDDEN, "unseen").await;
    }
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    for i in 1..=200 {
        assert_eq!(again.message().await, i.to_string());
        assert_eq!(again.last_seq(), seq + 2 * i - 1);
    }
    assert_eq!(again.dispatch("RESUMED").await, json!({}));
    world.say(OPEN, "live").await;
    assert_eq!(again.message().await, "live");
    again.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_received_but_not_acknowledged_comes_again_with_the_same_numbers() {
    let (world, gateway, mut client) = World::with_session(false, 1_000, BOT).await;
    let seq = client.last_seq();
    for i in 0..5 {
        world.say(OPEN, &i.to_string()).await;
        client.message().await;
    }
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, seq + 2).await;
    for i in 2..5 {
        assert_eq!(again.message().await, i.to_string());
        assert_eq!(again.last_seq(), seq + i + 1);
    }
    again.dispatch("RESUMED").await;
    // The old connection lost the session to the new one.
    assert_eq!(client.closed().await, 4000);
}

#[tokio::test(start_paused = true)]
async fn guilds_of_the_introduction_that_were_missed_come_again() {
    let world = World::new(false, 1_000);
    for n in 1..4 {
        world.put_guild(GUILD + n * (100 << 22), &[BOT]);
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    let client = Client::identified(&gateway, BOT).await;
    world.say(OPEN, "m").await;
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, 2).await;
    for (n, s) in (1..4).zip(3..) {
        let guild = again.dispatch("GUILD_CREATE").await;
        assert_eq!((&guild["id"], again.last_seq()), (&json!((GUILD + n * (100 << 22)).to_string()), s));
    }
    assert_eq!(again.message().await, "m");
    again.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn unknown_foreign_and_ended_sessions_are_invalid_and_a_number_never_sent_is_4007() {
    let (_world, gateway, client) = World::with_session(false, 1_000, BOT).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    let invalid = async |user, id: &str, seq| {
        let mut client = Client::resuming(&gateway, user, id, seq).await;
        let payload = client.payload().await;
        assert_eq!((&payload["op"], &payload["d"]), (&json!(9), &json!(false)));
    };
    invalid(BOT, "no such session", seq).await;
    invalid(ALICE, &id, seq).await;
    let mut ahead = Client::resuming(&gateway, BOT, &id, seq + 1).await;
    assert_eq!(ahead.closed().await, 4007);
    // Still there for its owner, until he says goodbye.
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    again.dispatch("RESUMED").await;
    again.ws.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    again.receive().await;
    tokio::time::advance(Duration::from_millis(1)).await;
    invalid(BOT, &id, seq).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_expires_when_its_window_has_passed() {
    let world = World::new(false, 1_000);
    let config = GatewayConfig { resume_window: Duration::from_secs(60), ..GatewayConfig::default() };
    let gateway = world.gateway(config).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    Client::resuming(&gateway, BOT, &id, seq).await.dispatch("RESUMED").await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(Client::resuming(&gateway, BOT, &id, seq).await.payload().await["op"], 9);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_resumes_however_far_the_log_has_moved_on() {
    let world = World::new(false, 100_000);
    let other = GUILD + (100 << 22);
    world.put_guild(other, &[ALICE]);
    let gateway = world.gateway(GatewayConfig { ring_records_max: 16, ..GatewayConfig::default() }).await;
    world.leave(GUILD, ALICE).await;
    let client = Client::identified(&gateway, BOT).await;
    let mut alice = Client::identified(&gateway, ALICE).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    drop(client);
    for i in 0..100 {
        world.say(OPEN + (100 << 22), &i.to_string()).await;
        alice.message().await;
    }
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    again.dispatch("RESUMED").await;
    world.say(OPEN, "for the bot").await;
    assert_eq!(again.message().await, "for the bot");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_makes_the_session_invalid_never_a_partial_replay() {
    let world = World::new(false, 100_000);
    let gateway = world.gateway(GatewayConfig { ring_records_max: 16, ..GatewayConfig::default() }).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    for i in 0..100 {
        world.say(OPEN, &i.to_string()).await;
    }
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    assert_eq!(again.payload().await["op"], 9);
}

#[tokio::test(start_paused = true)]
async fn joins_and_leaves_while_away_are_replayed_and_the_filter_is_that_of_the_end() {
    let world = World::new(false, 1_000);
    let other = GUILD + (100 << 22);
    world.put_guild(other, &[ALICE]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    world.set_roles(GUILD, BOT, &[SEER]).await;
    world.say(HIDDEN, "seen").await;
    world.join(other, BOT).await;
    world.say(OPEN + (100 << 22), "in the other").await;
    world.leave(other, BOT).await;
    world.say(OPEN + (100 << 22), "not any more").await;
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    again.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(again.message().await, "seen");
    again.dispatch("GUILD_CREATE").await;
    assert_eq!(again.message().await, "in the other");
    again.dispatch("GUILD_DELETE").await;
    again.dispatch("RESUMED").await;
    again.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_session_without_a_connection_makes_room() {
    let world = World::new(false, 1_000);
    let gateway = world.gateway(GatewayConfig { sessions_max: 2, ..GatewayConfig::default() }).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let client = Client::identified(&gateway, BOT).await;
        ids.push(client.session_id.clone());
        drop(client);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seq = 2;
    assert_eq!(Client::resuming(&gateway, BOT, &ids[0], seq).await.payload().await["op"], 9);
    for id in &ids[1..] {
        Client::resuming(&gateway, BOT, id, seq).await.dispatch("RESUMED").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_joined_guild_that_cannot_be_loaded_comes_after_a_resume() {
    let world = World::new(false, 1_000);
    let other = GUILD + (100 << 22);
    world.put_guild(other, &[ALICE]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut client = Client::identified(&gateway, BOT).await;
    world.down.store(true, std::sync::atomic::Ordering::Relaxed);
    world.join(other, BOT).await;
    world.say(OPEN + (100 << 22), "after the join").await;
    assert_eq!(client.closed().await, 4000);
    world.down.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, client.last_seq()).await;
    assert_eq!(again.dispatch("GUILD_CREATE").await["id"], other.to_string());
    assert_eq!(again.message().await, "after the join");
    again.dispatch("RESUMED").await;
}
