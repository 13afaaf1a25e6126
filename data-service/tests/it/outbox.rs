//! Rule 4 and hazard 43: every acknowledged change reaches the bus after any crash in between.
//!
//! Length: one world of fakes serves every way in which a process, the bus or the database may fail between
//! commit and publication.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;
use weir_data_client::DataClient;
use weir_proto::{
    data::{GetGuildRequest, ListChangesRequest, Member, Message, PutMemberRequest},
    event::{Record, record::Change},
};

use crate::{
    fake_bus::{Consumer, gist},
    fake_store::{Dice, Fate},
    node::{Node, Talk, World, begin_import, import, imported, options},
    order::assert_chained,
};

/// Revisions of a channel that the bus has seen at least once.
fn published(world: &World, scope_id: u64) -> BTreeSet<u64> {
    world.bus.of(scope_id).iter().map(|record| record.rev).collect()
}

/// Records that wait for the bus, as the metric tells.
fn waiting(node: &Node) -> u64 {
    let shown = node.registry.encode();
    let line = shown.lines().find_map(|line| line.strip_prefix("weir_data_outbox_waiting_records "));
    line.expect("registered").parse().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_down_delays_delivery_and_not_acknowledgement() {
    let (world, node, place) = World::with_place(1).await;
    let talk = Talk(&node.client, place);
    sleep(Duration::from_secs(2)).await;
    world.bus.down(true);
    // The channel's very first message too: nothing lies before it in the chain.
    let mut revs = BTreeSet::new();
    let first = talk.create("first").await.unwrap();
    revs.insert(first.rev);
    for index in 0..20 {
        revs.insert(talk.create(&format!("m{index}")).await.unwrap().rev);
    }
    revs.insert(talk.edit(first.id, "edited").await.unwrap().last_rev);
    sleep(Duration::from_secs(5)).await;
    assert!(published(&world, place.channel).is_empty());
    assert_eq!(waiting(&node), 22, "the operator sees how many");
    world.bus.down(false);
    revs.insert(talk.create("after").await.unwrap().rev);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(waiting(&node), 0);
    assert_eq!(published(&world, place.channel), revs);
    let mut consumer = Consumer::default();
    consumer.take(world.bus.of(place.channel));
    assert!(consumer.taken.iter().map(|record| record.rev).is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_quiet_for_days_is_caught_up_too() {
    let (world, node, place) = World::with_place(2).await;
    let talk = Talk(&node.client, place);
    talk.create("long ago").await.unwrap();
    sleep(Duration::from_secs(3 * 24 * 3_600)).await;
    world.bus.down(true);
    let late = talk.create("while the bus is down").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    world.bus.down(false);
    sleep(Duration::from_secs(2)).await;
    assert!(published(&world, place.channel).contains(&late.rev));
}

/// The bus fails at random, reads are slow at random: what is acknowledged is published in the end.
#[test]
fn a_flapping_bus_loses_nothing() {
    for seed in 0..300 {
        crate::history::paused(async move {
            let (world, node, place) = World::with_place(seed).await;
            let talk = Talk(&node.client, place);
            world.store.slow(Duration::from_millis(300));
            let dice = Dice::new(seed);
            let mut revs = BTreeSet::new();
            for index in 0..12 {
                world.bus.down(dice.roll(2) == 0);
                revs.insert(talk.create(&format!("m{index}")).await.unwrap().rev);
                sleep(Duration::from_millis(dice.roll(300))).await;
            }
            world.bus.down(false);
            sleep(Duration::from_secs(60)).await;
            assert_eq!(published(&world, place.channel), revs, "seed {seed}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_commit_and_publication_is_made_good_by_the_next_start() {
    let (mut world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    let kept = talk.create("published").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    world.bus.down(true);
    let lost = talk.create("acknowledged, then the power went").await.unwrap();
    let edit = talk.edit(kept.id, "so was this").await.unwrap();
    world.crash();
    assert!(!published(&world, place.channel).contains(&lost.rev));
    let next = world.node().await;
    sleep(Duration::from_secs(2)).await;
    let found = published(&world, place.channel);
    assert!(found.contains(&lost.rev) && found.contains(&edit.last_rev), "left unpublished: {found:?}");
    let after = Talk(&next.client, place).create("after").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let mut consumer = Consumer { have: kept.rev, ..Consumer::default() };
    consumer.take(world.bus.of(place.channel));
    let told: Vec<_> = consumer.taken.iter().map(|record| gist(record)).collect();
    assert_eq!(
        told,
        [
            (lost.rev, "created", lost.id),
            (edit.last_rev, "edited", kept.id),
            (after.rev, "created", after.id)
        ]
    );
}

/// The time between minting a revision and committing it may be long (a bucket to index, a note to write);
/// the watermark must not pass it.
#[tokio::test(start_paused = true)]
async fn the_watermark_never_passes_a_revision_that_is_not_published() {
    for takes_ms in [500, 2_500, 12_000, 25_000] {
        let (mut world, node, place) = World::with_place(4).await;
        sleep(Duration::from_secs(5)).await;
        world.store.noting_takes(Duration::from_millis(takes_ms));
        world.bus.down(true);
        let made = Talk(&node.client, place).create("slow to commit").await.unwrap();
        world.crash();
        let _next = world.node().await;
        sleep(Duration::from_secs(3)).await;
        assert!(
            published(&world, place.channel).contains(&made.rev),
            "{takes_ms} ms between minting and commit"
        );
    }
}

/// A process killed at any moment of a create or an edit.
#[test]
fn a_kill_at_any_moment_loses_no_acknowledged_change() {
    for at_ms in 0..60 {
        crate::history::paused(async move {
            let (mut world, node, place) = World::with_place(at_ms).await;
            let first = Talk(&node.client, place).create("first").await.unwrap();
            sleep(Duration::from_millis(2_500)).await;
            world.store.slow(Duration::from_millis(20));
            let client = node.client.clone();
            let acknowledged = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let told = std::sync::Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let talk = Talk(&client, place);
                loop {
                    let row = talk.create("m").await.unwrap();
                    told.lock().unwrap().push(row.rev);
                    let row = talk.edit(first.id, &format!("e{}", row.rev)).await.unwrap();
                    told.lock().unwrap().push(row.last_rev);
                }
            });
            sleep(Duration::from_millis(at_ms * 7)).await;
            world.crash();
            let revs = acknowledged.lock().unwrap().clone();
            // A commit that was on its way lands; the lease outlasts that by far.
            sleep(Duration::from_secs(1)).await;
            let next = world.node().await;
            let after = Talk(&next.client, place).create("after").await.unwrap();
            sleep(Duration::from_secs(3)).await;
            let found = published(&world, place.channel);
            for rev in revs.iter().chain([&after.rev]) {
                assert!(found.contains(rev), "killed after {} ms: {rev} was acknowledged", at_ms * 7);
            }
            // What was committed and not acknowledged is history, so it must be told as well.
            for row in world.store.rows().history(place.channel) {
                assert!(found.contains(&row.rev), "killed after {} ms: {row:?}", at_ms * 7);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_lost_is_published_again_even_if_nothing_new_happens() {
    let (world, node, place) = World::with_place(5).await;
    let talk = Talk(&node.client, place);
    let made = talk.create("kept by the database").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    world.bus.lose();
    sleep(Duration::from_secs(5)).await;
    assert!(published(&world, place.channel).contains(&made.rev), "noticed without a new record");
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_noticed_while_healing_is_made_good() {
    let (world, node, place) = World::with_place(6).await;
    let talk = Talk(&node.client, place);
    let first = talk.create("first").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    world.bus.down(true);
    let second = talk.create("second").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    world.bus.lose();
    world.bus.down(false);
    sleep(Duration::from_secs(5)).await;
    let found = published(&world, place.channel);
    assert!(found.contains(&first.rev) && found.contains(&second.rev), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_cannot_be_read_keeps_no_other_one_waiting() {
    // The bus is down and many fall behind, or it loses what it had, and everybody's is published again.
    for bus_loses in [false, true] {
        let (world, node) = World::with_node(9).await;
        let mut places = Vec::new();
        for _ in 0..8 {
            places.push(node.place().await);
        }
        sleep(Duration::from_secs(2)).await;
        let mut posted = Vec::new();
        world.bus.down(!bus_loses);
        for place in &places {
            posted.push(Talk(&node.client, *place).create("hello").await.unwrap().rev);
        }
        sleep(Duration::from_secs(1)).await;
        // Wherever the table of those that are behind begins.
        world.store.unreadable.lock().unwrap().extend(places[..4].iter().map(|place| (place.channel, 0)));
        if bus_loses {
            world.bus.lose();
        }
        world.bus.down(false);
        sleep(Duration::from_secs(5)).await;
        let is_told = |at: usize| published(&world, places[at].channel).contains(&posted[at]);
        assert!((4..8).all(is_told), "{bus_loses}: {:?}", (0..8).map(is_told).collect::<Vec<_>>());
        let records = world.bus.of(places[7].channel).len();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.bus.of(places[7].channel).len(), records, "once, not once for each try");
        assert!(!(0..4).any(is_told));
        world.store.unreadable.lock().unwrap().clear();
        sleep(Duration::from_secs(10)).await;
        assert!((0..8).all(is_told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_can_be_read_in_part_is_published_so_far_once_and_its_loss_is_said_once() {
    let (world, node, place) = World::with_place(10).await;
    let talk = Talk(&node.client, place);
    sleep(Duration::from_secs(2)).await;
    world.bus.down(true);
    let first = talk.create("first").await.unwrap();
    // More than are read back at once.
    for index in 0..600 {
        talk.create(&format!("m{index}")).await.unwrap();
    }
    world.store.unreadable.lock().unwrap().insert(place.channel, first.rev);
    world.bus.down(false);
    sleep(Duration::from_secs(60)).await;
    let told = world.bus.of(place.channel).len();
    assert!((500..600).contains(&told), "{told}: one page, once");
    sleep(Duration::from_secs(30 * 3_600)).await;
    assert_eq!(world.bus.of(place.channel).len(), told);
    assert_eq!(world.bus.topics_of(0), [[0]], "every gateway is told that changes are gone, once");
    // What falls behind later is lost later, and said then.
    world.bus.down(true);
    talk.edit(first.id, "while the bus is away").await.unwrap();
    world.bus.down(false);
    sleep(Duration::from_secs(20 * 3_600)).await;
    assert_eq!(world.bus.topics_of(0).len(), 1);
    sleep(Duration::from_secs(10 * 3_600)).await;
    assert_eq!(world.bus.topics_of(0).len(), 2);
    world.store.unreadable.lock().unwrap().clear();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(published(&world, place.channel).len(), 602, "600, the first, and its edit");
}

#[tokio::test(start_paused = true)]
async fn membership_goes_to_the_guild_and_to_the_user() {
    let (world, _node, place) = World::with_place(7).await;
    sleep(Duration::from_secs(1)).await;
    let topics: BTreeSet<u64> = world.bus.topics_of(place.guild).into_iter().flatten().collect();
    assert_eq!(topics, BTreeSet::from([place.guild, place.user]));
    assert_chained(&world, place.channel);
}

#[tokio::test(start_paused = true)]
async fn typing_is_told_once_and_kept_nowhere() {
    let (world, node, place) = World::with_place(8).await;
    let writes = world.store.seen().len();
    let typing = weir_proto::data::TypingRequest {
        channel_id: place.channel,
        user_id: place.user,
        timestamp_ms: 5,
        context: None,
    };
    node.client.typing(&typing, &options()).await.unwrap();
    let told = world.bus.ephemeral();
    assert_eq!(told.len(), 1);
    let (topics, record) = &told[0];
    assert_eq!((topics, record.guild_id), (&vec![place.guild], place.guild), "found from the channel's row");
    assert!(matches!(record.change, Some(Change::Typing(_))));
    assert_eq!(world.store.seen().len(), writes);
}

/// All changes above a revision, page by page.
async fn changes(client: &DataClient, scope_id: u64, mut after_rev: u64, limit: u32) -> Vec<Record> {
    use prost::Message as _;
    let mut all: Vec<Record> = Vec::new();
    for _ in 0..1_000 {
        let request = ListChangesRequest { scope_id, after_rev, limit };
        let page = client.list_changes(&request, &options()).await.unwrap().message;
        assert!(!page.truncated && page.records.len() <= limit as usize);
        for bytes in page.records {
            let record = Record::decode(&*bytes).unwrap();
            assert_eq!(record.prev_rev, after_rev, "each names the one before");
            after_rev = record.rev;
            all.push(record);
        }
        if !page.more {
            return all;
        }
    }
    panic!("the pages never end");
}

#[test]
fn changes_of_all_kinds_come_in_order_whatever_the_page() {
    for seed in 0..60 {
        crate::history::paused(async move {
            let world = World::new(seed);
            // Half of the stores keep creates in their log as well, as the embedded one does.
            world.store.rows().logs_creates = seed % 2 == 0;
            let node = world.node().await;
            let place = node.place().await;
            let talk = Talk(&node.client, place);
            let dice = Dice::new(seed);
            let start = talk.create("start").await.unwrap();
            let mut live = vec![start.id];
            let mut expected = Vec::new();
            for _ in 0..40 {
                match dice.roll(4) {
                    0 if live.len() > 1 => {
                        let id = live.swap_remove(1 + dice.roll(live.len() as u64 - 1) as usize);
                        expected.push((talk.delete(id).await.unwrap(), "deleted", id));
                    }
                    1 => {
                        let id = live[dice.roll(live.len() as u64) as usize];
                        expected.push((
                            talk.edit(id, &format!("e{}", expected.len())).await.unwrap().last_rev,
                            "edited",
                            id,
                        ));
                    }
                    _ => {
                        let row = talk.create("m").await.unwrap();
                        live.push(row.id);
                        expected.push((row.rev, "created", row.id));
                    }
                }
            }
            // A message that is gone has no row to be told from; its removal is told.
            expected.retain(|(_, what, id)| *what != "created" || live.contains(id));
            for limit in [1, 3, 7, 100] {
                let found = changes(&node.client, place.channel, start.rev, limit).await;
                let found: Vec<_> = found.iter().map(gist).collect();
                assert_eq!(found, expected, "seed {seed}, pages of {limit}");
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn changes_older_than_a_day_are_said_to_be_gone() {
    let (_world, node, place) = World::with_place(9).await;
    let row = Talk(&node.client, place).create("m").await.unwrap();
    sleep(Duration::from_secs(25 * 3_600)).await;
    let request = ListChangesRequest { scope_id: place.channel, after_rev: row.rev, limit: 10 };
    assert!(node.client.list_changes(&request, &options()).await.unwrap().message.truncated);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_publishes_what_is_on_its_way() {
    let (world, node, place) = World::with_place(10).await;
    world.store.script([Fate::Slow(Duration::from_millis(500))]);
    let client = node.client.clone();
    let writing = tokio::spawn(async move { Talk(&client, place).create("m").await });
    sleep(Duration::from_millis(100)).await;
    node.close().await;
    let row = writing.await.unwrap().expect("the turn under way is finished");
    let _next = world.node().await;
    sleep(Duration::from_secs(2)).await;
    assert!(published(&world, place.channel).contains(&row.rev));
}

/// Commits arrive while the two tables are read one after the other: a list may end early, but shows
/// everything below its end.
#[test]
fn a_list_of_changes_leaves_nothing_out_below_its_end() {
    for seed in 0..100 {
        crate::history::paused(async move {
            let (world, node, place) = World::with_place(seed).await;
            let start = Talk(&node.client, place).create("start").await.unwrap();
            world.store.slow(Duration::from_millis(3));
            let client = node.client.clone();
            let writing = tokio::spawn(async move {
                let talk = Talk(&client, place);
                let mut revs = BTreeSet::new();
                for index in 0..30 {
                    revs.insert(talk.create(&format!("m{index}")).await.unwrap().rev);
                    revs.insert(talk.edit(start.id, &format!("e{index}")).await.unwrap().last_rev);
                }
                revs
            });
            let mut lists = Vec::new();
            while !writing.is_finished() {
                let limit = if lists.len() % 2 == 0 { 1_000 } else { 4 };
                lists.push(changes(&node.client, place.channel, start.rev, limit).await);
            }
            let revs = writing.await.unwrap();
            for list in lists {
                let Some(last) = list.last() else { continue };
                let listed: BTreeSet<u64> = list.iter().map(|record| record.rev).collect();
                let all: BTreeSet<u64> = revs.range(..=last.rev).copied().collect();
                assert_eq!(listed, all, "seed {seed}");
            }
        });
    }
}

/// Imported rows have revisions and make no records: the chain of records passes over them, in the process
/// that imported and in the next.
#[tokio::test(start_paused = true)]
async fn imported_rows_are_no_links_of_the_chain() {
    let (mut world, node, place) = World::with_place(11).await;
    begin_import(&*world.store, vec![place.channel]).await;
    let load = async |client: &DataClient, first: u64| {
        let row = |id: u64| Message {
            id: imported(id, 0),
            author_id: place.user,
            content: "old".into(),
            ..Message::default()
        };
        let messages: Vec<Message> = (first..first + 3).map(row).collect();
        import(client, place.channel, [messages]).await.unwrap();
    };
    load(&node.client, 1_000).await;
    let first = Talk(&node.client, place).create("first").await.unwrap();
    load(&node.client, 2_000).await;
    let second = Talk(&node.client, place).create("second").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    world.crash();
    let node = world.node().await;
    load(&node.client, 3_000).await;
    world.crash();
    let node = world.node().await;
    let third = Talk(&node.client, place).create("third").await.unwrap();
    let edit = Talk(&node.client, place).edit(imported(1_000, 0), "an imported row, edited").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    world.crash();
    let node = world.node().await;
    let fourth = Talk(&node.client, place).create("fourth").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let told: std::collections::BTreeMap<u64, u64> = world
        .bus
        .of(place.channel)
        .iter()
        .filter(|record| !record.recovered)
        .map(|record| (record.rev, record.prev_rev))
        .collect();
    let revs = [first.rev, second.rev, third.rev, edit.last_rev, fourth.rev];
    for (one, next) in revs.iter().zip(&revs[1..]) {
        assert_eq!(told[next], *one);
    }
    assert_eq!(told[&first.rev], 0);
    drop(node);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_is_published_hours_later_and_after_more_than_a_day_its_loss_is_told() {
    for (seed, hours) in [(12, 1), (13, 23), (14, 26)] {
        let (mut world, node, place) = World::with_place(seed).await;
        sleep(Duration::from_secs(5)).await;
        world.bus.down(true);
        let talk = Talk(&node.client, place);
        let left = talk.create("acknowledged, then the power went").await.unwrap();
        let edit = talk.edit(left.id, "so was this").await.unwrap();
        world.crash();
        sleep(Duration::from_secs(hours * 3_600)).await;
        world.bus.down(false);
        let _next = world.node().await;
        sleep(Duration::from_secs(2)).await;
        let found = published(&world, place.channel);
        let lost = world.bus.topics_of(0);
        if hours < 24 {
            assert!(found.contains(&left.rev) && found.contains(&edit.last_rev), "after {hours} hours");
            assert!(lost.is_empty(), "after {hours} hours");
        } else {
            assert_eq!(lost, [[0]], "every gateway is told, once");
            assert!(matches!(world.bus.of(0)[0].change, Some(Change::RecordsLost(_))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guild_says_up_to_where_it_includes_everything() {
    let (mut world, node, place) = World::with_place(15).await;
    let member = Member { guild_id: place.guild, user_id: place.user, nick: "n".into(), ..Member::default() };
    let request = PutMemberRequest { member: Some(member), basis: None };
    let rev = node.client.put_member(&request, &options()).await.unwrap().message.member.unwrap().rev;
    sleep(Duration::from_secs(5)).await;
    world.crash();
    let node = world.node().await;
    let get = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    let as_of = async || node.client.get_guild(&get, &options()).await.unwrap().message.as_of_us;
    assert!(as_of().await >= rev, "although no row of the guild shows it");
    // A change under way is not included, however long it takes.
    world.store.hold_commits(true);
    let client = node.client.clone();
    let saying = tokio::spawn(async move { Talk(&client, place).create("m").await.unwrap() });
    sleep(Duration::from_secs(1)).await;
    let meanwhile = as_of().await;
    world.store.hold_commits(false);
    assert!(meanwhile < saying.await.unwrap().rev);
    // The owner's own memory of the guild says it too, once it has one.
    let again = node.client.put_member(&request, &options()).await.unwrap().message.member.unwrap().rev;
    let state = node.client.get_guild(&get, &options()).await.unwrap().message.state.unwrap();
    assert_eq!(state.rev, again);
}

/// Found out late, because the bus or the database was away: the window counts from the last time that all
/// was well.
#[tokio::test(start_paused = true)]
async fn a_loss_that_is_found_out_late_is_made_good_from_before_it() {
    let (world, node, place) = World::with_place(16).await;
    let made = Talk(&node.client, place).create("then nobody was asked for ten minutes").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    world.bus.down(true);
    world.bus.lose();
    sleep(Duration::from_secs(600)).await;
    world.bus.down(false);
    sleep(Duration::from_secs(5)).await;
    assert!(published(&world, place.channel).contains(&made.rev));
}

/// The bus took the record when no gateway was with it, and the process died before it could be told so.
#[tokio::test(start_paused = true)]
async fn a_loss_that_nobody_lived_to_hear_of_is_made_good_by_the_next_start() {
    let (mut world, node, place) = World::with_place(17).await;
    let made = Talk(&node.client, place).create("taken by a bus without gateways").await.unwrap();
    sleep(Duration::from_secs(3)).await;
    world.bus.lose();
    world.crash();
    let _next = world.node().await;
    sleep(Duration::from_secs(3)).await;
    assert!(published(&world, place.channel).contains(&made.rev));
}
