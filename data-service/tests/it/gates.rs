//! The order of the gates in the service: a request that is refused at one gate has not touched the later
//! ones.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use tokio::time::sleep;
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_protect::Gate;
use weir_proto::{
    admin::{Limit, LimitKind, SetLimitRequest},
    data::{ListChangesRequest, ListMessagesResponse, RefusalReason, ViewPageRequest},
    page::ViewedPage,
};

use crate::node::{At, Node, Talk, World, options, page_of};

async fn limit(client: &DataClient, scope: String, kind: LimitKind, rate: f64, burst: u64) {
    let limit = Limit { scope, kind: kind.into(), rate, burst, set_by: "ada".into(), ..Limit::default() };
    client.set_limit(&SetLimitRequest { limit: Some(limit) }, &options()).await.unwrap();
}

/// How a page was served, in one word: the outcome, or the gate that refused.
async fn served(node: &Node, channel: u64, at: At, limit: u32, within: Duration) -> String {
    let asking = CallOptions { explain: true, ..CallOptions::within(within) };
    match node.client.list_messages(&page_of(channel, at, limit), &asking).await {
        Ok(reply) => {
            let explain = reply.explain.unwrap().to_str().unwrap().to_owned();
            explain.split_once("outcome=").unwrap().1.split(' ').next().unwrap().to_owned()
        }
        Err(DataError::Refused { reason, .. }) => format!("{reason:?}"),
        Err(DataError::DeadlineExceeded) => "deadline".to_owned(),
        Err(error) => panic!("{error:?}"),
    }
}

const PATIENT: Duration = Duration::from_secs(60);

/// From the last gate to the first: each refuses before anything behind it is touched, and what stands before
/// it answers.
#[tokio::test(start_paused = true)]
async fn each_gate_refuses_before_the_next() {
    let (world, node, place) = World::with_cold_place(1).await;
    let (warm, old) = (node.place().await, At::Before(u64::MAX >> 1));
    Talk(&node.client, warm).create("in the tail").await.unwrap();
    // A page that is in the cache and in no tail.
    assert_eq!(served(&node, place.channel, At::Before(1 << 62), 7, PATIENT).await, "led");
    // The partition's places, and those of all who may wait for one, are taken by a database that does not
    // answer.
    limit(&node.client, format!("channel/{}", place.channel), LimitKind::Concurrency, 1.0, 0).await;
    world.store.answers_take(Duration::from_secs(3600));
    let occupant = served(&node, place.channel, At::Before(1 << 61), 3, Duration::from_millis(1));
    assert_eq!(occupant.await, "deadline");
    for (kind, refused, cached) in [
        (LimitKind::Unspecified, "Concurrency", "hit"),
        (LimitKind::DatabaseReads, "DatabaseReadLimit", "hit"),
        (LimitKind::Requests, "RequestLimit", "RequestLimit"),
    ] {
        for channel in [place.channel, warm.channel] {
            if kind == LimitKind::Unspecified {
                continue;
            }
            limit(&node.client, format!("channel/{channel}"), kind, 0.0, 0).await;
        }
        let reads = world.store.history_reads();
        assert_eq!(served(&node, place.channel, old, 9, PATIENT).await, refused, "a read of the database");
        assert_eq!(served(&node, warm.channel, At::Latest, 50, PATIENT).await, cached, "a page of the tail");
        assert_eq!(
            served(&node, place.channel, At::Before(1 << 62), 7, PATIENT).await,
            cached,
            "a cached page"
        );
        assert_eq!(world.store.history_reads(), reads, "{refused}: the database was asked");
    }
    let late = served(&node, place.channel, old, 9, Duration::ZERO).await;
    assert_eq!(late, "deadline", "before all limits");
}

/// Each switch takes exactly its gate out of the way.
#[tokio::test(start_paused = true)]
async fn switches_take_gates_out() {
    let (_world, node, place) = World::with_cold_place(2).await;
    for kind in [LimitKind::Requests, LimitKind::DatabaseReads] {
        limit(&node.client, format!("channel/{}", place.channel), kind, 0.0, 0).await;
    }
    for (gate, then) in [(Gate::RequestLimit, "DatabaseReadLimit"), (Gate::DatabaseReadLimit, "led")] {
        node.service.gates().set(gate, false);
        assert_eq!(served(&node, place.channel, At::Latest, 50, PATIENT).await, then, "{}", gate.label());
    }
}

/// A crowd that asks for one cold page at once spends the database budget of one reader: the index and the
/// rows.
#[tokio::test(start_paused = true)]
async fn joined_reads_cost_no_budget() {
    let (world, node, place) = World::with_cold_place(3).await;
    limit(&node.client, format!("channel/{}", place.channel), LimitKind::DatabaseReads, 0.001, 2).await;
    world.store.answers_take(Duration::from_millis(50));
    let crowd = (0..100).map(|_| served(&node, place.channel, At::Latest, 50, PATIENT));
    let crowd = join_all(crowd).await;
    assert_eq!(crowd.iter().filter(|outcome| *outcome == "led").count(), 1, "{crowd:?}");
    assert!(crowd.iter().all(|outcome| outcome == "led" || outcome == "joined"), "{crowd:?}");
    let old = At::Before(world.store.rows().history(place.channel)[5].id);
    assert_eq!(served(&node, place.channel, old, 3, PATIENT).await, "DatabaseReadLimit");
}

/// Whose channel an id is, is read by leave of the other limits: made-up ids reach the database no faster
/// than those let them.
#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_a_request_that_is_refused() {
    let (world, node, place) = World::with_place(4).await;
    limit(&node.client, format!("guild/{}", place.guild), LimitKind::Requests, 1.0, 5).await;
    limit(&node.client, "class/reads".into(), LimitKind::Requests, 0.001, 3).await;
    let before = world.store.reads();
    for id in 1..100_u64 {
        let _ = served(&node, (id << 22) + 7, At::Latest, 50, PATIENT).await;
    }
    // Of each of the three: whose it is, its index, and no rows.
    assert_eq!(world.store.reads() - before, 6, "three requests were let in");
}

/// A guild's limit holds for its channels, also for those whose guild must be read first.
#[tokio::test(start_paused = true)]
async fn a_guilds_limit_is_charged_once_for_each_request_whether_its_channel_is_known_or_not() {
    let (_world, node, place) = World::with_cold_place(5).await;
    limit(&node.client, format!("guild/{}", place.guild), LimitKind::Requests, 0.001, 5).await;
    let mut outcomes = Vec::new();
    for _ in 0..8 {
        outcomes.push(served(&node, place.channel, At::Latest, 50, PATIENT).await);
    }
    let refused = outcomes.iter().filter(|outcome| *outcome == "RequestLimit").count();
    assert_eq!((refused, &outcomes[5..]), (3, &["RequestLimit"; 3].map(str::to_owned)[..]), "{outcomes:?}");
}

/// A smaller page is cut from a larger one of the same anchor, in flight or kept.
#[tokio::test(start_paused = true)]
async fn a_smaller_page_is_cut_from_a_larger_one() {
    let (world, node, place) = World::with_cold_place(6).await;
    let newest = world.store.rows().history(place.channel)[59].id;
    world.store.answers_take(Duration::from_millis(50));
    let reads = world.store.reads();
    let larger = served(&node, place.channel, At::Before(newest), 50, PATIENT);
    let smaller = async {
        sleep(Duration::from_millis(1)).await;
        served(&node, place.channel, At::Before(newest), 20, PATIENT).await
    };
    let (larger, smaller) = tokio::join!(larger, smaller);
    assert_eq!((larger.as_str(), smaller.as_str()), ("led", "subsumed"), "in flight");
    assert_eq!(served(&node, place.channel, At::Before(newest), 7, PATIENT).await, "subsumed", "kept");
    assert_eq!(world.store.reads() - reads, 1, "all by one read");
    let rows = Talk(&node.client, place).list(At::Before(newest), 7).await.unwrap();
    let contents: Vec<_> = rows.iter().map(|row| row.content.as_str()).collect();
    assert_eq!(contents, ["m58", "m57", "m56", "m55", "m54", "m53", "m52"]);
    Talk(&node.client, place).edit(rows[0].id, "another").await.unwrap();
    let again = Talk(&node.client, place).list(At::Before(newest), 7).await.unwrap();
    assert_eq!(again[0].content, "another", "a change makes the larger page stale too");
}

/// Gateways that catch up share their reads, and no limit of the channel keeps them from it.
#[tokio::test(start_paused = true)]
async fn changes_pass_the_gates() {
    let (world, node, place) = World::with_cold_place(7).await;
    let after_rev = world.bus.of(place.channel)[40].rev;
    let request = ListChangesRequest { scope_id: place.channel, after_rev, limit: 100 };
    for kind in [LimitKind::Requests, LimitKind::DatabaseReads] {
        limit(&node.client, format!("channel/{}", place.channel), kind, 0.0, 0).await;
    }
    world.store.answers_take(Duration::from_millis(20));
    let far = options();
    let alone = world.store.reads();
    let one = node.client.list_changes(&request, &far).await.unwrap().message;
    let alone = world.store.reads() - alone;
    assert_eq!(one.records.len(), 19);
    let before = world.store.reads();
    let crowd = join_all((0..50).map(|_| node.client.list_changes(&request, &far))).await;
    assert!(crowd.into_iter().all(|reply| reply.unwrap().message == one));
    assert!(world.store.reads() - before <= alone, "fifty gateways read what one reads");
    limit(&node.client, "class/reads".into(), LimitKind::DatabaseReads, 0.0, 0).await;
    match node.client.list_changes(&request, &far).await {
        Err(DataError::Refused { reason: RefusalReason::DatabaseReadLimit, .. }) => {}
        other => panic!("{other:?}"),
    }
}

async fn view(node: &Node, channel_id: u64, viewer_id: u64, at: At) -> Result<ViewedPage, DataError> {
    let request = ViewPageRequest { page: Some(page_of(channel_id, at, 50)), viewer_id };
    Ok(node.client.view_page(&request, &options()).await?.message)
}

/// A page and the check of its viewer are one request; the viewer's own rows are not the channel's reads of
/// the database.
#[tokio::test(start_paused = true)]
async fn a_viewed_page_is_one_request_and_its_check_costs_the_channel_nothing() {
    let (world, node, place) = World::with_place(9).await;
    Talk(&node.client, place).create("in the tail").await.unwrap();
    limit(&node.client, format!("channel/{}", place.channel), LimitKind::DatabaseReads, 0.0, 0).await;
    limit(&node.client, format!("channel/{}", place.channel), LimitKind::Requests, 0.001, 3).await;
    let viewed = view(&node, place.channel, place.user, At::Latest).await.unwrap();
    let page = ListMessagesResponse::decode(viewed.page.unwrap()).unwrap();
    assert_eq!(page.messages[0].content, "in the tail");
    let context = viewed.context.unwrap();
    assert_eq!((context.member.unwrap().user_id, context.channel.unwrap().id), (place.user, place.channel));
    // Where the tail is not in memory, the page would be a read of the database that the channel may not
    // make. A stranger is told that it is no member all the same.
    let cold = world.node().await;
    let outside = view(&cold, place.channel, place.user + (1 << 22), At::Latest).await.unwrap();
    assert_eq!((outside.page, outside.context.unwrap().member), (None, None));
    match view(&cold, place.channel, place.user, At::Latest).await {
        Err(DataError::Refused { reason: RefusalReason::DatabaseReadLimit, .. }) => {}
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        view(&node, place.channel, place.user, At::Latest).await.unwrap();
    }
    let reads = world.store.reads();
    match view(&node, place.channel, place.user, At::Latest).await {
        Err(DataError::Refused { reason: RefusalReason::RequestLimit, .. }) => {}
        other => panic!("the fourth of three: {other:?}"),
    }
    assert_eq!(world.store.reads(), reads, "nothing is read for what is refused");
    match view(&node, 77 << 22, place.user, At::Latest).await {
        Err(DataError::NotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
    let empty = node.place().await;
    assert_eq!(view(&node, empty.channel, empty.user, At::Latest).await.unwrap().page, Some(Bytes::new()));
}

/// No id is below the first: a channel's buckets are not looked through for such a page.
#[tokio::test(start_paused = true)]
async fn a_page_before_everything_costs_no_read() {
    let (world, node, place) = World::with_cold_place(10).await;
    let reads = world.store.history_reads();
    assert!(Talk(&node.client, place).list(At::Before(0), 50).await.unwrap().is_empty());
    assert_eq!(world.store.history_reads(), reads);
}

/// With the cache switched off a page costs one read of its rows: where they lie is no answer, and is kept.
#[tokio::test(start_paused = true)]
async fn without_the_cache_a_page_costs_one_read() {
    let (world, node, place) = World::with_cold_place(8).await;
    for gate in [Gate::Cache, Gate::Coalesce] {
        node.service.gates().set(gate, false);
    }
    let (index, rows) = (world.store.index_reads(), world.store.partition_reads());
    for _ in 0..10 {
        assert_eq!(served(&node, place.channel, At::Latest, 50, PATIENT).await, "led");
    }
    assert_eq!((world.store.index_reads() - index, world.store.partition_reads() - rows), (1, 10));
}
