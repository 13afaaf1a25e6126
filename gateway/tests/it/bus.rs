//! A bus that repeats and loses records.

use weir_gateway::GatewayConfig;

use crate::{
    client::Client,
    world::{ALICE, BOT, Fate, HIDDEN, OPEN, World},
};

#[tokio::test(start_paused = true)]
async fn repeated_records_are_dropped_and_take_no_number() {
    let world = World::new(false, 1_000);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    for i in 0..10 {
        world.say_as(OPEN, ALICE, &i.to_string(), Fate::Twice).await;
    }
    for i in 0..10 {
        assert_eq!(bot.message().await, i.to_string());
    }
    assert_eq!(bot.seq, Some(12));
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn lost_records_are_fetched_and_come_in_their_place() {
    let world = World::new(false, 1_000);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    world.say_as(OPEN, ALICE, "0", Fate::Once).await;
    for i in 1..300 {
        world.say_as(OPEN, ALICE, &i.to_string(), Fate::Lost).await;
    }
    world.say_as(HIDDEN, ALICE, "unseen", Fate::Once).await;
    world.say_as(OPEN, ALICE, "300", Fate::Once).await;
    for i in 0..=300 {
        assert_eq!(bot.message().await, i.to_string());
    }
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_change_of_the_guild_is_fetched_before_what_follows_it() {
    let world = World::new(false, 1_000);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    let opened = weir_proto::data::Channel { overwrites: vec![], ..world.channel(HIDDEN) };
    let change = weir_proto::event::record::Change::ChannelUpdated(opened);
    world.commit(crate::world::GUILD, crate::world::GUILD, change, Fate::Lost).await;
    world.set_roles(crate::world::GUILD, BOT, &[]).await;
    world.say(HIDDEN, "seen").await;
    bot.dispatch("CHANNEL_UPDATE").await;
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(bot.message().await, "seen");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_fetched_invalidates_the_sessions_of_the_guild_and_no_others() {
    let world = World::new(false, 1_000);
    let elsewhere = crate::world::GUILD + (100 << 22);
    world.put_guild(elsewhere, &[ALICE]);
    world.leave(crate::world::GUILD, ALICE).await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    let mut alice = Client::identified(&gateway, ALICE).await;
    world.say_as(OPEN, BOT, "0", Fate::Once).await;
    assert_eq!(bot.message().await, "0");
    world.say_as(OPEN, BOT, "1", Fate::Lost).await;
    world.truncate_outbox();
    world.say_as(OPEN, BOT, "2", Fate::Once).await;
    let invalid = bot.payload().await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&9.into(), &false.into()));
    // The same connection may identify again, and the old session is gone.
    bot.seq = None;
    bot.identify(BOT, crate::client::INTENTS).await;
    bot.dispatch("READY").await;
    bot.dispatch("GUILD_CREATE").await;
    world.say_as(OPEN + (100 << 22), ALICE, "unharmed", Fate::Once).await;
    assert_eq!(alice.message().await, "unharmed");
}
