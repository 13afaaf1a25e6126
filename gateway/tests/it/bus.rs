//! A bus that repeats and loses records.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;
use weir_gateway::GatewayConfig;
use weir_proto::event::{Record, RecordsLost, record::Change};

use crate::{
    client::Client,
    world::{ALICE, BOT, Fate, GUILD, HIDDEN, OPEN, OWNER, SEER, World},
};

#[tokio::test(start_paused = true)]
async fn repeated_records_are_dropped_and_take_no_number() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
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
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
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
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
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

/// A data service that was killed between commit and publication: its successor publishes again from the
/// watermark, which in a quiet channel is younger than anything that was seen of it.
#[tokio::test(start_paused = true)]
async fn what_is_published_again_in_a_quiet_channel_is_told_and_nobody_begins_again() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    world.say(OPEN, "long before").await;
    assert_eq!(bot.message().await, "long before");
    // Time passes in the channel, and the watermark with it.
    world.say(HIDDEN, "elsewhere").await;
    let unpublished = world.say_unpublished(OPEN, "acknowledged").await;
    let again = Record { prev_rev: unpublished.rev - 1, recovered: true, ..unpublished };
    world.put_on_bus(&again, Fate::Once).await;
    assert_eq!(bot.message().await, "acknowledged");
    world.say(OPEN, "after").await;
    assert_eq!(bot.message().await, "after");
    bot.quiet().await;
}

/// Imported rows have revisions and make no records: a record may name one of them as the one before it.
#[tokio::test(start_paused = true)]
async fn a_record_after_an_import_follows_on_what_was_seen_before_it() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    world.say(HIDDEN, "takes a revision").await;
    let first = world.say_unpublished(OPEN, "first after the import").await;
    world.put_on_bus(&Record { prev_rev: first.rev - 1, ..first }, Fate::Once).await;
    assert_eq!(bot.message().await, "first after the import");
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_gone_before_it_is_fetched_is_no_loss() {
    for lost_too in [false, true] {
        let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
        world.say(OPEN, "0").await;
        let gone = world.say_as(OPEN, ALICE, "gone", Fate::Lost).await;
        world.unsay_with(OPEN, gone, if lost_too { Fate::Lost } else { Fate::Once }).await;
        world.say(OPEN, "1").await;
        assert_eq!(bot.message().await, "0");
        assert_eq!(bot.dispatch("MESSAGE_DELETE").await["id"], gone.to_string());
        assert_eq!(bot.message().await, "1");
        bot.quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_filled_once_the_data_service_is_back() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    world.say(OPEN, "0").await;
    assert_eq!(bot.message().await, "0");
    world.say_as(OPEN, ALICE, "1", Fate::Lost).await;
    world.down.store(true, Ordering::Relaxed);
    world.say(OPEN, "2").await;
    // As long as a killed one takes to be replaced.
    tokio::time::sleep(Duration::from_secs(15)).await;
    world.down.store(false, Ordering::Relaxed);
    assert_eq!(bot.message().await, "1");
    assert_eq!(bot.message().await, "2");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_session_began_is_not_told_to_it() {
    let world = World::new(false, 1_000);
    for i in 0..5 {
        world.say(OPEN, &i.to_string()).await;
    }
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut owner = Client::identified(&gateway, OWNER).await;
    world.say_as(OPEN, ALICE, "lost, before the bot", Fate::Lost).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    // And what the bus brings again, as after it lost its memory.
    let early = world.say_unpublished(OPEN, "for both").await;
    world.put_on_bus(&Record { prev_rev: 1, rev: early.rev - 100, ..early.clone() }, Fate::Once).await;
    world.put_on_bus(&early, Fate::Once).await;
    for text in ["lost, before the bot", "for both"] {
        assert_eq!(owner.message().await, text);
    }
    assert_eq!(bot.message().await, "for both");
    owner.quiet().await;
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_a_loaded_guild_includes_are_not_shown_as_new() {
    let world = World::new(false, 1_000);
    let late = 60 << 22;
    world.add_user(late, "late", false);
    world.join(GUILD, late).await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified_with(&gateway, BOT, crate::client::INTENTS | 1 << 1).await;
    world.set_roles(GUILD, ALICE, &[]).await;
    assert_eq!(bot.dispatch("GUILD_MEMBER_UPDATE").await["user"]["id"], ALICE.to_string());
    bot.quiet().await;
    // Nor is it counted twice.
    let mut owner = Client::ready(&gateway, OWNER, crate::client::INTENTS).await;
    assert_eq!(owner.dispatch("GUILD_CREATE").await["member_count"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_the_data_service_tells_of_invalidates_every_session() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let change = Some(Change::RecordsLost(RecordsLost {}));
    world.put_on_bus(&Record { rev: 1, change, ..Record::default() }, Fate::Once).await;
    let invalid = bot.payload().await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&9.into(), &false.into()));
}

/// One guild's missing records do not come. What others say must not wait for them.
#[tokio::test(start_paused = true)]
async fn a_guild_whose_gap_is_not_filled_holds_up_no_other() {
    let world = World::new(false, 1_000);
    let elsewhere = GUILD + (100 << 22);
    world.put_guild(elsewhere, &[BOT, OWNER]);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut bot = Client::identified(&gateway, BOT).await;
    world.say(OPEN, "0").await;
    assert_eq!(bot.message().await, "0");
    world.say_as(OPEN, ALICE, "1", Fate::Lost).await;
    world.stuck.send_replace(OPEN);
    world.say(OPEN, "2").await;
    world.say(HIDDEN, "unseen").await;
    world.set_roles(GUILD, BOT, &[SEER]).await;
    world.say(HIDDEN, "3").await;
    let asked = Instant::now();
    for i in 0..3 {
        world.say_as(OPEN + (100 << 22), OWNER, &format!("elsewhere {i}"), Fate::Twice).await;
        assert_eq!(bot.message().await, format!("elsewhere {i}"));
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    bot.quiet().await;
    world.stuck.send_replace(0);
    // In the order of its guild, each once, by the rights at the record.
    assert_eq!(bot.message().await, "1");
    assert_eq!(bot.message().await, "2");
    bot.dispatch("GUILD_MEMBER_UPDATE").await;
    assert_eq!(bot.message().await, "3");
    world.say(OPEN, "4").await;
    assert_eq!(bot.message().await, "4");
    bot.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_is_never_filled_ends_the_sessions_of_its_guild_alone() {
    let world = World::new(false, 1_000);
    let elsewhere = GUILD + (100 << 22);
    world.put_guild(elsewhere, &[OWNER, BOT]);
    world.leave(GUILD, OWNER).await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut alice = Client::identified(&gateway, ALICE).await;
    let mut owner = Client::identified(&gateway, OWNER).await;
    world.say(OPEN, "0").await;
    assert_eq!(alice.message().await, "0");
    world.say_as(OPEN, ALICE, "1", Fate::Lost).await;
    world.stuck.send_replace(OPEN);
    world.say(OPEN, "2").await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    alice.quiet().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let invalid = alice.payload().await;
    assert_eq!((&invalid["op"], &invalid["d"]), (&9.into(), &false.into()));
    world.say_as(OPEN + (100 << 22), BOT, "unharmed", Fate::Once).await;
    assert_eq!(owner.message().await, "unharmed");
}

/// More than can wait: the guild's sessions begin again, and go on from there.
#[tokio::test(start_paused = true)]
async fn a_busy_guild_that_waits_too_long_begins_again_and_holds_up_no_other() {
    let world = World::new(false, 20_000);
    let elsewhere = GUILD + (100 << 22);
    world.put_guild(elsewhere, &[OWNER]);
    world.leave(GUILD, OWNER).await;
    let gateway = world.gateway(GatewayConfig::default()).await;
    let mut alice = Client::identified(&gateway, ALICE).await;
    let mut owner = Client::identified(&gateway, OWNER).await;
    world.say(OPEN, "0").await;
    assert_eq!(alice.message().await, "0");
    world.say_as(OPEN, ALICE, "1", Fate::Lost).await;
    world.stuck.send_replace(OPEN);
    world.say(OPEN, "first").await;
    for _ in 0..10_001 {
        world.say(OPEN, "too many").await;
    }
    world.say_as(OPEN + (100 << 22), OWNER, "elsewhere", Fate::Once).await;
    assert_eq!(owner.message().await, "elsewhere");
    world.stuck.send_replace(0);
    // What had come until then may be told, and nothing after it.
    let mut told = alice.payload().await;
    while told["op"] == 0 {
        assert!(["1", "first"].contains(&told["d"]["content"].as_str().unwrap()), "{told}");
        told = alice.payload().await;
    }
    assert_eq!((&told["op"], &told["d"]), (&9.into(), &false.into()));
    alice.seq = None;
    alice.identify(ALICE, crate::client::INTENTS).await;
    alice.dispatch("READY").await;
    alice.dispatch("GUILD_CREATE").await;
    world.say(OPEN, "after").await;
    assert_eq!(alice.message().await, "after");
    alice.quiet().await;
}

/// What was lost may have been a change of the guild itself: sessions that begin again must not start from a
/// state without it.
#[tokio::test(start_paused = true)]
async fn a_guild_that_lost_records_is_loaded_again() {
    let (world, _gateway, mut bot) = World::with_session(false, 1_000, BOT).await;
    let renamed = weir_proto::data::Channel { name: "renamed".into(), ..world.channel(OPEN) };
    world.commit(GUILD, GUILD, Change::ChannelUpdated(renamed), Fate::Lost).await;
    world.truncate_outbox();
    world.set_roles(GUILD, ALICE, &[]).await;
    assert_eq!(bot.payload().await["op"], 9);
    bot.seq = None;
    bot.identify(BOT, crate::client::INTENTS).await;
    bot.dispatch("READY").await;
    let guild = bot.dispatch("GUILD_CREATE").await;
    let names: Vec<_> = guild["channels"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert!(names.contains(&&"renamed".into()), "{names:?}");
    world.say(OPEN, "after").await;
    assert_eq!(bot.message().await, "after");
}
