//! What strangers and one token may ask: look-ups of tokens, identifies, sessions, and bytes of
//! introductions.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use weir_gateway::{GatewayConfig, IdentifyLimits};
use weir_runtime::strangers::{FAILURES_BURST, UNKNOWN_FOR};

use crate::{
    client::{Client, INTENTS, Received},
    world::{ALICE, BOT, GUILD, OWNER, Running, World},
};

const PIPE: usize = 1 << 20;

async fn world() -> (Arc<World>, Running) {
    let world = World::new(false, 1_000);
    let gateway = world.gateway_as_set(GatewayConfig::default()).await;
    (world, gateway)
}

/// Identifies as a user from an address; the code that it is closed with.
async fn refused(gateway: &Running, user_id: u64, peer: &str) -> u16 {
    let mut client = Client::over(gateway.pipe_from(PIPE, peer), "/?v=10").await;
    client.hello().await;
    client.identify(user_id, INTENTS).await;
    client.closed().await
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_has_is_looked_up_once_and_works_once_somebody_has_it() {
    let (world, gateway) = world().await;
    let new = 99 << 22;
    for _ in 0..20 {
        assert_eq!(refused(&gateway, new, "192.0.2.1").await, 4004);
    }
    assert_eq!(world.resolved.load(Ordering::Relaxed), 1);
    world.add_user(new, "new", true);
    tokio::time::sleep(UNKNOWN_FOR).await;
    Client::ready(&gateway, new, INTENTS).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_is_told_to_come_back_and_others_are_served() {
    let (world, gateway) = world().await;
    for i in 0..u64::from(FAILURES_BURST) {
        assert_eq!(refused(&gateway, (1_000 + i) << 22, "192.0.2.1").await, 4004);
    }
    // Not 4004, which would end a client for good whose token is right.
    for i in 0..20 {
        assert_eq!(refused(&gateway, (2_000 + i) << 22, "192.0.2.1").await, 4008);
    }
    assert_eq!(world.resolved.load(Ordering::Relaxed), u64::from(FAILURES_BURST));
    Client::ready_over(gateway.pipe_from(PIPE, "192.0.2.2"), "/?v=10", BOT, INTENTS).await;
}

#[tokio::test(start_paused = true)]
async fn who_identifies_again_within_five_seconds_has_an_invalid_session_and_may_then() {
    let (world, gateway) = world().await;
    let _first = Client::identified(&gateway, BOT).await;
    let mut again = Client::connect(&gateway).await;
    again.hello().await;
    for _ in 0..30 {
        again.identify(BOT, INTENTS).await;
        assert_eq!(again.payload().await, json!({"op": 9, "d": false, "s": null, "t": null}));
    }
    assert_eq!(world.resolved.load(Ordering::Relaxed), 1, "a flood costs no look-ups");
    let _other = Client::identified(&gateway, ALICE).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    again.identify(BOT, INTENTS).await;
    again.dispatch("READY").await;
}

#[tokio::test(start_paused = true)]
async fn who_floods_loses_its_own_sessions_and_others_keep_theirs() {
    for config in [
        GatewayConfig { sessions_max: 4, ..GatewayConfig::default() },
        GatewayConfig { sessions_per_user_max: 3, ..GatewayConfig::default() },
    ] {
        let world = World::new(false, 1_000);
        let gateway = world.gateway(config).await;
        let victim = Client::identified(&gateway, ALICE).await;
        let (id, seq) = (victim.session_id.clone(), victim.last_seq());
        drop(victim);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut own = Vec::new();
        for _ in 0..20 {
            let client = Client::identified(&gateway, BOT).await;
            own.push((client.session_id.clone(), client.last_seq()));
            drop(client);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Client::resuming(&gateway, ALICE, &id, seq).await.dispatch("RESUMED").await;
        let lost = &own[..17];
        for (id, seq) in lost {
            assert_eq!(Client::resuming(&gateway, BOT, id, *seq).await.payload().await["op"], 9);
        }
        for (id, seq) in &own[17..] {
            Client::resuming(&gateway, BOT, id, *seq).await.dispatch("RESUMED").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_introductions_that_nobody_reads_are_bounded_over_all_sessions() {
    let world = World::new(false, 1_000);
    // Half a MiB of JSON; small beside it, a guild that the bound does not concern.
    world.overwrite(GUILD, 8_000);
    let small = GUILD + (100 << 22);
    let reader = 60 << 22;
    world.add_user(reader, "reader", true);
    world.put_guild(small, &[reader]);
    let config = GatewayConfig { introduction_bytes_max: 1 << 20, ..GatewayConfig::default() };
    let write_timeout = config.write_timeout;
    let gateway = world.gateway(config).await;
    // It is shown READY and does not read its guild.
    let mut idle = Client::ready_over(gateway.pipe(2 << 10), "/?v=10", OWNER, INTENTS).await;
    let mut waiting = Client::ready(&gateway, ALICE, INTENTS).await;
    waiting.quiet().await;
    // Who has small guilds only waits for nobody.
    let mut unconcerned = Client::ready(&gateway, reader, INTENTS).await;
    unconcerned.dispatch("GUILD_CREATE").await;
    // Who does not read is cut after the write timeout, and the next one's turn comes.
    tokio::time::sleep(write_timeout).await;
    waiting.dispatch("GUILD_CREATE").await;
    assert_eq!(idle.receive().await, Received::Cut);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_one_token_that_do_not_read_keep_only_each_other_waiting() {
    let world = World::new(false, 1_000);
    // Half a MiB of JSON each time, and ten times that until it is rendered.
    world.overwrite(GUILD, 8_000);
    let config = GatewayConfig {
        introduction_bytes_max: 16 << 20,
        identify_limits: IdentifyLimits::Off,
        ..GatewayConfig::default()
    };
    let gateway = world.gateway(config).await;
    let mut idle = Vec::new();
    for _ in 0..24 {
        idle.push(Client::ready_over(gateway.pipe(2 << 10), "/?v=10", OWNER, INTENTS).await);
    }
    let mut same_token = Client::ready(&gateway, OWNER, INTENTS).await;
    same_token.quiet().await;
    let mut other = Client::ready(&gateway, ALICE, INTENTS).await;
    other.dispatch("GUILD_CREATE").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_and_not_read_is_bounded_for_a_token_and_its_sessions_resume() {
    let world = World::new(false, 1_000);
    world.overwrite(GUILD, 8_000);
    let config = GatewayConfig {
        // A quarter of it for a token: its second session with as much unread is closed.
        unread_bytes_max: 3 << 19,
        identify_limits: IdentifyLimits::Off,
        ..GatewayConfig::default()
    };
    let gateway = world.gateway(config).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(Client::ready_over(gateway.pipe(2 << 10), "/?v=10", OWNER, INTENTS).await);
    }
    // Cut at once, not after the write timeout.
    assert_eq!(idle[1].receive().await, Received::Cut);
    // The first is served when it reads, and so are others meanwhile.
    let mut other = Client::ready(&gateway, ALICE, INTENTS).await;
    other.dispatch("GUILD_CREATE").await;
    idle[0].dispatch("GUILD_CREATE").await;
}
