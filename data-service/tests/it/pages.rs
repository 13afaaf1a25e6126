//! Pages against the whole list: any anchor, any limit, histories over years with gaps in them.

use std::sync::Arc;

use weir_data_client::CallOptions;
use weir_data_service::{clock::WallClock, freshness::Freshness};
use weir_proto::{data::Message, id::EPOCH_MS};
use weir_store::Store;

use crate::{
    fake_store::Dice,
    node::{At, Node, Place, Talk, World, begin_import, embedded, import, imported, options, page_of},
    ownership::START_US,
};

/// The page as the whole list gives it; `all` oldest first.
fn naive(all: &[Message], at: At, limit: usize) -> Vec<u64> {
    let ids: Vec<u64> = all.iter().map(|row| row.id).collect();
    let below = |id: u64, limit: usize| -> Vec<u64> {
        ids.iter().rev().filter(|known| **known < id).take(limit).copied().collect()
    };
    let above = |id: u64, limit: usize| -> Vec<u64> {
        let mut rows: Vec<u64> = ids.iter().filter(|known| **known > id).take(limit).copied().collect();
        rows.reverse();
        rows
    };
    match at {
        At::Latest => below(u64::MAX, limit),
        At::Before(id) => below(id, limit),
        At::After(id) => above(id, limit),
        At::Around(id) => {
            let mut page = above(id, limit / 2);
            page.extend(ids.iter().filter(|known| **known == id));
            page.extend(below(id, limit / 2));
            page
        }
    }
}

/// Messages over `years` years up to now, in clumps, so that many buckets are empty and some are full.
fn clumps(dice: &Dice, now_us: u64, years: u64, channel_id: u64) -> Vec<Message> {
    let span_ms = years * 365 * 24 * 3_600_000;
    let now_ms = now_us / 1_000 - EPOCH_MS;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..1 + dice.roll(25) {
        let at_ms = now_ms - 1 - dice.roll(span_ms);
        for _ in 0..1 + dice.roll(30) {
            ids.insert(imported(at_ms - dice.roll(at_ms.min(100_000_000)), dice.roll(1 << 12)));
        }
    }
    let row = |id| Message { id, channel_id, author_id: 5, content: format!("{id}"), ..Message::default() };
    ids.into_iter().map(row).collect()
}

async fn compare(node: &Node, place: Place, dice: &Dice, all: &[Message], label: &str) {
    let talk = Talk(&node.client, place);
    for _ in 0..40 {
        let known = all.get(dice.roll(all.len() as u64 + 1) as usize).map_or(u64::MAX >> 1, |row| row.id);
        let id = match dice.roll(5) {
            0 => known.saturating_sub(1).max(1),
            1 => known + 1,
            2 => 1 + dice.roll(u64::MAX >> 1),
            _ => known,
        };
        let limit = 1 + dice.roll(100) as u32;
        let at = match dice.roll(4) {
            0 => At::Latest,
            1 => At::Before(id),
            2 => At::After(id),
            _ => At::Around(id),
        };
        let page = talk.list(at, limit).await.unwrap();
        let found: Vec<u64> = page.iter().map(|row| row.id).collect();
        assert_eq!(found, naive(all, at, limit as usize), "{label}: {at:?} limit {limit}");
        assert!(page.iter().all(|row| row.content == row.id.to_string() || row.content == "edited"));
    }
}

/// Imports clumps, deletes and edits some, and compares pages with the naive ones.
async fn walk(node: &Node, store: &dyn Store, dice: &Dice, now_us: u64, label: &str) {
    let place = node.place().await;
    begin_import(store, vec![place.channel]).await;
    let mut all = clumps(dice, now_us, 6, place.channel);
    for part in all.chunks(1_000) {
        import(&node.client, place.channel, [part.to_vec()]).await.unwrap();
    }
    compare(node, place, dice, &all, label).await;
    let talk = Talk(&node.client, place);
    for _ in 0..all.len() / 3 {
        let index = dice.roll(all.len() as u64) as usize;
        if dice.roll(3) == 0 {
            talk.edit(all[index].id, "edited").await.unwrap();
        } else {
            talk.delete(all.remove(index).id).await.unwrap();
        }
        if all.is_empty() {
            break;
        }
    }
    compare(node, place, dice, &all, label).await;
    for _ in 0..dice.roll(4) {
        let mut row = talk.create("new").await.unwrap();
        row.content = row.id.to_string();
        talk.edit(row.id, "edited").await.unwrap();
        all.push(row);
    }
    compare(node, place, dice, &all, label).await;
    assert!(
        node.client
            .list_messages(&crate::node::page_of(place.channel, At::Before(u64::MAX), 1), &options())
            .await
            .is_ok()
    );
}

#[test]
fn pages_equal_the_whole_list_cut_over_the_scripted_store() {
    for seed in 0..40 {
        crate::history::paused(async move {
            let world = World::new(seed);
            let mut config = crate::node::small();
            config.live.tail_rows_max = 1 + (seed as usize * 7) % 200;
            let node = world.node_with(config).await;
            walk(&node, &*world.store, &Dice::new(seed), START_US, &format!("seed {seed}")).await;
            world.store.assert_sound();
        });
    }
}

#[tokio::test]
async fn pages_equal_the_whole_list_cut_over_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    for seed in 0..6 {
        let now_us = weir_data_service::clock::SystemClock.wall_us();
        walk(&node, &*store, &Dice::new(seed), now_us, &format!("seed {seed}")).await;
    }
    node.close().await;
    store.close().await;
}

/// Rule 12, and what it costs where it does not reach.
#[tokio::test(start_paused = true)]
async fn a_quiet_channel_costs_two_reads_whatever_its_age() {
    let (world, writer) = World::with_node(1).await;
    for years_ago in [0_u64, 1, 5, 10] {
        let place = writer.place().await;
        let at_ms = START_US / 1_000 - EPOCH_MS - years_ago * 365 * 24 * 3_600_000 - 1_000;
        let messages = (0..60).map(|index| Message {
            id: imported(at_ms, index),
            author_id: 5,
            content: "old".into(),
            ..Message::default()
        });
        begin_import(&*world.store, vec![place.channel]).await;
        import(&writer.client, place.channel, [messages.collect::<Vec<_>>()]).await.unwrap();
        let cold = world.node().await;
        let before = world.store.history_reads();
        assert_eq!(Talk(&cold.client, place).list(At::Latest, 50).await.unwrap().len(), 50);
        assert_eq!(
            world.store.history_reads() - before,
            2,
            "{years_ago} years ago: the index and the newest bucket"
        );
        let middle = imported(at_ms, 30);
        let cold = world.node().await;
        let before = world.store.history_reads();
        assert_eq!(Talk(&cold.client, place).list(At::Before(middle), 20).await.unwrap().len(), 20);
        assert_eq!(world.store.history_reads() - before, 1, "a page inside a bucket is one read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sparse_channel_costs_one_read_for_each_bucket_of_the_page() {
    let (world, writer, place) = World::with_place(2).await;
    let now_ms = START_US / 1_000 - EPOCH_MS;
    // One message in each of 30 buckets.
    let messages: Vec<Message> = (0..30)
        .rev()
        .map(|index| now_ms - 1_000 - index * weir_proto::bucket::BUCKET_MS)
        .map(|ms| Message {
            id: imported(ms, 0),
            author_id: 5,
            content: "sparse".into(),
            ..Message::default()
        })
        .collect();
    begin_import(&*world.store, vec![place.channel]).await;
    import(&writer.client, place.channel, [messages]).await.unwrap();
    let cold = world.node().await;
    let before = world.store.history_reads();
    assert_eq!(Talk(&cold.client, place).list(At::Latest, 10).await.unwrap().len(), 10);
    let reads = world.store.history_reads() - before;
    println!(
        "10 messages in 10 buckets, asked cold as the default page (50 rows): {reads} reads, one after another"
    );
    assert!(reads <= 31, "{reads}");
    let before = world.store.history_reads();
    assert_eq!(Talk(&cold.client, place).list(At::Latest, 50).await.unwrap().len(), 30);
    assert_eq!(world.store.history_reads() - before, 0, "afterwards the whole channel is its tail");
}

#[tokio::test(start_paused = true)]
async fn imports_of_a_channel_that_wait_together_are_one_step() {
    let (world, node, place) = World::with_place(4).await;
    let at_ms = START_US / 1_000 - EPOCH_MS - 60_000;
    let part = |number: u64| {
        let ids = (0..1_000).map(move |index| imported(at_ms, number * 1_000 + index));
        let message = |id| Message { id, author_id: 5, content: id.to_string(), ..Message::default() };
        ids.map(message).collect::<Vec<_>>()
    };
    begin_import(&*world.store, vec![place.channel]).await;
    let before = world.store.counters().writes;
    let written = import(&node.client, place.channel, (0..10).map(part)).await.unwrap();
    assert_eq!(written, 10_000, "the rows of all batches are told");
    // The bucket once, then 8,000 rows and the 2,000 that were too many for the step.
    assert_eq!(world.store.counters().writes - before, 3);
    assert_eq!(world.store.rows().history(place.channel).len(), 10_000);
    let newest: Vec<String> =
        (9_995..10_000).rev().map(|number| imported(at_ms, number).to_string()).collect();
    assert_eq!(Talk(&node.client, place).contents(At::Latest, 5).await, newest);
}

#[tokio::test(start_paused = true)]
async fn an_import_into_the_future_is_refused() {
    let (world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    let future_ms = world.clock.wall_ms() - EPOCH_MS + 3_600_000;
    let message =
        Message { id: imported(future_ms, 0), author_id: 5, content: "x".into(), ..Message::default() };
    begin_import(&*world.store, vec![place.channel]).await;
    assert!(import(&node.client, place.channel, [vec![message]]).await.is_err());
    talk.create("the channel still works").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn asking_for_a_guilds_id_as_a_channel_does_not_hold_the_guild_up() {
    let world = World::new(4);
    let node = world.node_with(crate::node::small()).await;
    let place = node.place().await;
    let restarted = world
        .node_as(crate::node::small(), Arc::clone(&world.ownership) as _, Arc::clone(&world.clock) as _)
        .await;
    let talk = Talk(&restarted.client, Place { channel: place.guild, ..place });
    assert!(talk.list(At::Latest, 5).await.unwrap().is_empty());
    let role = weir_proto::data::Role { guild_id: place.guild, name: "r".into(), ..Default::default() };
    let request = weir_proto::data::PutRoleRequest { role: Some(role), basis: None };
    restarted.client.put_role(&request, &options()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_revision_that_never_was_costs_no_read() {
    let (world, node, place) = World::with_place(9).await;
    let newest = Talk(&node.client, place).create("m").await.unwrap();
    let page = page_of(place.channel, At::Latest, 5);
    node.client.list_messages(&page, &options()).await.unwrap();
    let before = world.store.history_reads();
    for ahead in [1, 1 << 40, u64::MAX - newest.rev] {
        let token = Freshness { scope_id: place.channel.try_into().unwrap(), rev: newest.rev + ahead };
        let with_token = CallOptions { freshness: Some(token.encode()), ..options() };
        let reply = node.client.list_messages(&page, &with_token).await.unwrap();
        assert_eq!(reply.message.messages.len(), 1);
        let told = Freshness::decode(&reply.freshness.unwrap()).unwrap();
        assert_eq!(told.rev, newest.rev, "and the claim is not handed on");
    }
    assert_eq!(world.store.history_reads(), before);
}

/// Nothing was written since the node began, so it knows of no revision that it could hold against the claim.
#[tokio::test(start_paused = true)]
async fn nor_does_one_of_a_channel_that_was_only_read() {
    let (world, node, place) = World::with_place(10).await;
    let newest = Talk(&node.client, place).create("m").await.unwrap();
    drop(node);
    let (ownership, clock) = (Arc::clone(&world.ownership) as _, Arc::clone(&world.clock) as _);
    let node = world.node_as(crate::node::small(), ownership, clock).await;
    let pages = [page_of(place.channel, At::Latest, 5), page_of(place.channel, At::Before(newest.id + 1), 5)];
    for page in &pages {
        node.client.list_messages(page, &options()).await.unwrap();
    }
    let before = world.store.history_reads();
    for rev in [newest.rev, newest.rev + 1, newest.rev + (1 << 40), u64::MAX] {
        let token = Freshness { scope_id: place.channel.try_into().unwrap(), rev };
        let with_token = CallOptions { freshness: Some(token.encode()), ..options() };
        for page in &pages {
            let reply = node.client.list_messages(page, &with_token).await.unwrap();
            assert_eq!(reply.message.messages.len(), 1);
        }
    }
    assert_eq!(world.store.history_reads(), before);
}
