//! Sessions that outlive the process, on a log that does.

use std::time::Duration;

use serde_json::json;
use weir_gateway::GatewayConfig;
use weir_proto::event::record::Change;

use crate::{
    client::{Client, INTENTS},
    world::{ALICE, BOT, Fate, GUILD, HIDDEN, OPEN, SEER, World},
};

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_in_the_next_process_with_the_same_numbers() {
    let (world, gateway, mut client) = World::with_session(true, 10_000, BOT).await;
    for i in 0..3 {
        world.say(OPEN, &i.to_string()).await;
        client.message().await;
    }
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    gateway.stop().await;
    // Committed while no gateway runs.
    for i in 3..700 {
        world.say(OPEN, &i.to_string()).await;
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    world.say(OPEN, "700").await;
    // The last one before the stop is asked for again.
    let mut again = Client::resuming(&gateway, BOT, &id, seq - 1).await;
    for i in 2..=700 {
        assert_eq!(again.message().await, i.to_string());
        assert_eq!(again.last_seq(), seq - 2 + i);
    }
    again.dispatch("RESUMED").await;
    world.say(OPEN, "live").await;
    assert_eq!(again.message().await, "live");
    let last = again.last_seq();
    drop(again);
    // And resumes again, now within the process.
    Client::resuming(&gateway, BOT, &id, last).await.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn a_row_expires_whatever_others_try_with_it() {
    let world = World::new(true, 10_000);
    let config = || GatewayConfig { resume_window: Duration::from_secs(60), ..GatewayConfig::default() };
    let gateway = world.gateway(config()).await;
    let client = Client::identified(&gateway, BOT).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    gateway.stop().await;
    let gateway = world.gateway(config()).await;
    for _ in 0..5 {
        let mut foreign = Client::resuming(&gateway, ALICE, &id, seq).await;
        assert_eq!(foreign.payload().await["op"], 9);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(world.session_rows().await, 0);
    assert_eq!(Client::resuming(&gateway, BOT, &id, seq).await.payload().await["op"], 9);
}

#[tokio::test(start_paused = true)]
async fn the_row_is_written_before_ready_and_goes_with_the_session() {
    let (world, gateway) = World::with_gateway(true, 10_000).await;
    let mut client = Client::ready(&gateway, BOT, INTENTS).await;
    assert_eq!(world.session_rows().await, 1);
    client
        .ws
        .close(Some(tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        }))
        .await
        .unwrap();
    while !matches!(client.receive().await, crate::client::Received::Cut | crate::client::Received::Closed(_))
    {
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.session_rows().await, 0);
}

#[tokio::test(start_paused = true)]
async fn rows_that_nobody_resumes_expire_and_foreign_tokens_do_not_take_them() {
    let (world, gateway, client) = World::with_session(true, 10_000, BOT).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    gateway.stop().await;
    let config = GatewayConfig { resume_window: Duration::from_secs(60), ..GatewayConfig::default() };
    let gateway = world.gateway(config.clone()).await;
    let foreign = Client::resuming(&gateway, crate::world::ALICE, &id, seq).await.payload().await;
    assert_eq!(foreign["op"], 9);
    Client::resuming(&gateway, BOT, &id, seq).await.dispatch("RESUMED").await;
    gateway.stop().await;
    let gateway = world.gateway(config).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(world.session_rows().await, 0);
    assert_eq!(Client::resuming(&gateway, BOT, &id, seq).await.payload().await["op"], 9);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_behind_the_session_makes_it_invalid() {
    let (world, gateway, client) = World::with_session(true, 50, BOT).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    gateway.stop().await;
    for i in 0..100 {
        world.say(OPEN, &i.to_string()).await;
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    assert_eq!(Client::resuming(&gateway, BOT, &id, seq).await.payload().await["op"], 9);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_comings_and_goings_are_told() {
    let world = World::new(true, 10_000);
    let other = GUILD + (100 << 22);
    world.put_guild(other, &[BOT]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let client = Client::identified(&gateway, BOT).await;
    let (id, seq) = (client.session_id.clone(), client.last_seq());
    gateway.stop().await;
    world.set_roles(GUILD, BOT, &[SEER]).await;
    world.say(HIDDEN, "visible then and now").await;
    world.say(OPEN + (100 << 22), "visible then, left since").await;
    world.leave(other, BOT).await;
    let third = GUILD + (200 << 22);
    world.put_guild(third, &[]);
    world.join(third, BOT).await;
    world.say(OPEN + (200 << 22), "joined since").await;
    let visited = GUILD + (300 << 22);
    world.put_guild(visited, &[]);
    world.join(visited, BOT).await;
    world.say(OPEN + (300 << 22), "visible then, left since").await;
    world.leave(visited, BOT).await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    again.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(again.message().await, "visible then and now");
    assert_eq!(again.dispatch("GUILD_DELETE").await, json!({"id": other.to_string()}));
    assert_eq!(again.dispatch("GUILD_CREATE").await["id"], third.to_string());
    assert_eq!(again.message().await, "joined since");
    // Of the guild that was joined and left, only the end is told.
    assert_eq!(again.dispatch("GUILD_DELETE").await, json!({"id": visited.to_string()}));
    again.dispatch("RESUMED").await;
    world.say(OPEN + (100 << 22), "not for the bot").await;
    world.say(HIDDEN, "for the bot").await;
    assert_eq!(again.message().await, "for the bot");
}

/// The log does not keep what was seen by whom. Where that has changed since, what came before the change
/// cannot be judged.
#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_is_judged_by_rights_that_came_later() {
    for change in 0..5 {
        let (world, gateway, client) = World::with_session(true, 10_000, BOT).await;
        let (id, seq) = (client.session_id.clone(), client.last_seq());
        gateway.stop().await;
        world.say(HIDDEN, "secret").await;
        let opened = weir_proto::data::Channel { overwrites: vec![], ..world.channel(HIDDEN) };
        let role =
            weir_proto::data::Role { id: GUILD, guild_id: GUILD, permissions: 8, ..Default::default() };
        match change {
            0 => world.set_roles(GUILD, BOT, &[SEER]).await,
            1 => drop(world.commit(GUILD, GUILD, Change::ChannelUpdated(opened), Fate::Once).await),
            2 => drop(world.commit(GUILD, GUILD, Change::RoleUpdated(role), Fate::Once).await),
            3 => {
                world.leave(GUILD, BOT).await;
                world.join(GUILD, BOT).await;
            }
            // Somebody else's roles are none of the bot's rights.
            _ => world.set_roles(GUILD, ALICE, &[SEER]).await,
        }
        let gateway = world.gateway(GatewayConfig::default()).await;
        let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
        if change < 4 {
            let invalid = again.payload().await;
            assert_eq!((&invalid["op"], &invalid["d"]), (&9.into(), &false.into()), "{change}: {invalid}");
        } else {
            again.dispatch("RESUMED").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fell_off_the_ring_is_replayed_from_the_log() {
    let world = World::new(true, 10_000);
    let gateway = world.gateway(GatewayConfig { ring_records_max: 16, ..GatewayConfig::default() }).await;
    let (id, seq) = Client::left(&gateway, BOT).await;
    for i in 0..1_000 {
        world.say(OPEN, &i.to_string()).await;
    }
    let mut again = Client::resuming(&gateway, BOT, &id, seq).await;
    for i in 0..1_000 {
        assert_eq!(again.message().await, i.to_string());
    }
    again.dispatch("RESUMED").await;
}

/// In the same process the ring knows the guild's state of then, but not the user's membership.
#[tokio::test(start_paused = true)]
async fn a_session_that_goes_back_behind_its_own_going_and_coming_begins_again() {
    for durable in [false, true] {
        let (world, gateway, mut client) = World::with_session(durable, 10_000, BOT).await;
        let (id, begun) = (client.session_id.clone(), client.last_seq());
        world.say(OPEN, "as a member").await;
        assert_eq!(client.message().await, "as a member");
        world.leave(GUILD, BOT).await;
        world.say(OPEN, "not for the bot").await;
        world.join(GUILD, BOT).await;
        world.say(OPEN, "back").await;
        client.dispatch("GUILD_DELETE").await;
        client.dispatch("GUILD_CREATE").await;
        let back = client.last_seq();
        assert_eq!(client.message().await, "back");
        drop(client);
        let mut again = Client::resuming(&gateway, BOT, &id, back).await;
        assert_eq!(again.message().await, "back");
        again.dispatch("RESUMED").await;
        drop(again);
        assert_eq!(Client::resuming(&gateway, BOT, &id, begun).await.payload().await["op"], 9);
    }
}
