//! The members that GUILD_CREATE lists.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use weir_gateway::GatewayConfig;

use crate::{
    client::{Client, INTENTS},
    world::{ALICE, BOT, GUILD, OWNER, Running, World, token},
};

/// GUILD_MEMBERS, which tells who comes and goes.
const MEMBERS: u64 = 1 << 1;
pub(crate) const PRESENCES: u64 = 1 << 8;
const SECOND: u64 = GUILD + (100 << 22);
/// Users of large guilds; the bot's and the others' ids lie above.
const CROWD: u64 = 1_000;

/// Identifies and returns the first guild.
async fn shown(gateway: &Running, intents: u64, large_threshold: Option<u32>) -> (Client, Value) {
    let mut client = Client::connect(gateway).await;
    client.hello().await;
    let mut d = json!({"token": token(BOT).reveal(), "intents": intents});
    if let Some(threshold) = large_threshold {
        d["large_threshold"] = threshold.into();
    }
    client.send(json!({"op": 2, "d": d})).await;
    client.dispatch("READY").await;
    let guild = client.dispatch("GUILD_CREATE").await;
    (client, guild)
}

fn listed(guild: &Value) -> Vec<u64> {
    let members = guild["members"].as_array().unwrap().iter();
    members.map(|member| member["user"]["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// A guild of this many members, the bot included, put in the place of the first one.
fn crowded(world: &World, members: u64) {
    let crowd = (1..members).map(|n| CROWD + n);
    crowd.clone().for_each(|id| world.add_user(id, "one of many", false));
    world.remove_guild(GUILD);
    world.put_guild(GUILD, &crowd.chain([BOT]).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn with_presences_a_guild_that_is_not_large_lists_all_and_without_them_only_the_session() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let (_, guild) = shown(&gateway, INTENTS | PRESENCES, None).await;
    assert_eq!(listed(&guild), [BOT, ALICE, OWNER]);
    assert_eq!(guild["members"][1]["user"]["username"], "alice");
    assert_eq!((&guild["large"], &guild["member_count"]), (&json!(false), &json!(3)));
    let asked = world.lists.asked.load(Ordering::Relaxed);
    let (_, guild) = shown(&gateway, INTENTS | MEMBERS, None).await;
    assert_eq!((listed(&guild), &guild["large"]), (vec![BOT], &json!(false)));
    assert_eq!(world.lists.asked.load(Ordering::Relaxed), asked, "nothing is asked for that is not shown");
}

#[tokio::test(start_paused = true)]
async fn what_is_large_is_the_clients_to_say_from_50_to_250_members() {
    // Members, what the client asks for, what it amounts to.
    for (members, asked, large) in [
        (50, None, false),
        (51, None, true),
        (51, Some(60), false),
        (61, Some(60), true),
        (50, Some(1), false),
        (250, Some(100_000), false),
        (251, Some(100_000), true),
    ] {
        let world = World::new(false, 1_000);
        crowded(&world, members);
        let gateway = world.gateway(GatewayConfig::default()).await;
        let (_, guild) = shown(&gateway, INTENTS | PRESENCES, asked).await;
        assert_eq!(guild["large"], large, "{members} {asked:?}");
        assert_eq!(guild["member_count"], members);
        let mut all = listed(&guild);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u64, if large { 1 } else { members }, "{members} {asked:?}");
        let (_, guild) = shown(&gateway, INTENTS, asked).await;
        assert_eq!((listed(&guild), &guild["large"]), (vec![BOT], &json!(large)), "{members} {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_or_goes_while_the_list_is_read_is_told_after_it() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let new = 60 << 22;
    world.add_user(new, "new", false);
    let mut client = Client::connect(&gateway).await;
    client.hello().await;
    world.lists.held.send_replace(true);
    client.identify(BOT, INTENTS | MEMBERS | PRESENCES).await;
    while world.lists.asked.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.leave(GUILD, ALICE).await;
    world.join(GUILD, new).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.lists.held.send_replace(false);
    client.dispatch("READY").await;
    let guild = client.dispatch("GUILD_CREATE").await;
    // As at the head of the session; what came later follows.
    assert_eq!((listed(&guild), &guild["member_count"]), (vec![BOT, ALICE, OWNER], &json!(3)));
    assert_eq!(client.dispatch("GUILD_MEMBER_REMOVE").await["user"]["id"], ALICE.to_string());
    assert_eq!(client.dispatch("GUILD_MEMBER_ADD").await["user"]["id"], new.to_string());
    let (_, guild) = shown(&gateway, INTENTS | PRESENCES, None).await;
    assert_eq!(listed(&guild), [BOT, OWNER, new]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_leaves_the_session_alone_in_a_guild_that_is_called_large() {
    let world = World::new(false, 1_000);
    for n in 1..20 {
        world.put_guild(GUILD + n * (100 << 22), &[BOT, ALICE]);
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    world.lists.fail.store(true, Ordering::Relaxed);
    let (mut client, guild) = shown(&gateway, INTENTS | PRESENCES, None).await;
    assert_eq!((listed(&guild), &guild["large"]), (vec![BOT], &json!(true)));
    for _ in 1..20 {
        let guild = client.dispatch("GUILD_CREATE").await;
        assert_eq!((listed(&guild), &guild["large"]), (vec![BOT], &json!(true)));
    }
    assert!(world.lists.asked.load(Ordering::Relaxed) <= 4, "after the first failure no more is asked for");
    // Nor does a data service that never answers hold up the introduction for longer than one call.
    world.lists.fail.store(false, Ordering::Relaxed);
    world.lists.held.send_replace(true);
    let began = tokio::time::Instant::now();
    let (mut client, guild) = shown(&gateway, INTENTS | PRESENCES, None).await;
    assert_eq!((listed(&guild), &guild["large"]), (vec![BOT], &json!(true)));
    for _ in 1..20 {
        client.dispatch("GUILD_CREATE").await;
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_guild_that_is_joined_later_lists_its_members_too() {
    let world = World::new(false, 1_000);
    world.put_guild(SECOND, &[ALICE, OWNER]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let (mut client, _) = shown(&gateway, INTENTS | PRESENCES, None).await;
    let (mut without, _) = shown(&gateway, INTENTS, None).await;
    world.join(SECOND, BOT).await;
    let guild = client.dispatch("GUILD_CREATE").await;
    assert_eq!(listed(&guild), [BOT, ALICE, OWNER]);
    assert_eq!((&guild["large"], guild.get("unavailable")), (&json!(false), None));
    assert_eq!(listed(&without.dispatch("GUILD_CREATE").await), [BOT]);
}

#[tokio::test(start_paused = true)]
async fn guilds_that_are_joined_while_lists_are_not_answered_wait_for_one_call_in_all() {
    let world = World::new(false, 1_000);
    let joined: Vec<u64> = (1..10).map(|n| GUILD + n * (100 << 22)).collect();
    joined.iter().for_each(|&id| world.put_guild(id, &[ALICE]));
    let gateway = world.gateway(GatewayConfig::default()).await;
    let (mut client, _) = shown(&gateway, INTENTS | PRESENCES, None).await;
    world.lists.held.send_replace(true);
    let began = tokio::time::Instant::now();
    for &id in &joined {
        world.join(id, BOT).await;
    }
    for id in joined {
        let guild = client.dispatch("GUILD_CREATE").await;
        assert_eq!((&guild["id"], &guild["large"]), (&json!(id.to_string()), &json!(true)));
        assert_eq!(listed(&guild), [BOT]);
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_its_threshold_when_it_resumes_in_the_next_process() {
    let world = World::new(true, 10_000);
    crowded(&world, 60);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let (client, guild) = shown(&gateway, INTENTS | PRESENCES, Some(70)).await;
    assert_eq!((listed(&guild).len(), &guild["large"]), (60, &json!(false)));
    gateway.stop().await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    // READY was the last that it saw.
    let mut again = Client::resuming(&gateway, BOT, &client.session_id, 1).await;
    let guild = again.dispatch("GUILD_CREATE").await;
    assert_eq!((listed(&guild).len(), &guild["large"]), (60, &json!(false)));
    again.dispatch("RESUMED").await;
}
