//! Rule 13: limits that operators tune while requests run.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use tokio::time::sleep;
use weir_connect::{codec::Codec, dispatch::UnaryRequest};
use weir_data_client::{DataClient, DataError, client::EXPLAIN};
use weir_data_service::clock::WallClock;
use weir_proto::{
    admin::{
        Limit, LimitChange, LimitKind, ListLimitChangesRequest, ListLimitsRequest, SetLimitRequest,
        UnsetLimitRequest,
    },
    data::RefusalReason,
};
use weir_store::Store as _;

use crate::node::{At, Place, Talk, World, options, page_of};

fn limit(scope: &str, kind: LimitKind, rate: f64) -> Limit {
    Limit {
        scope: scope.into(),
        kind: kind.into(),
        rate,
        set_by: "ada".into(),
        reason: "an incident".into(),
        ..Limit::default()
    }
}

async fn set(client: &DataClient, limit: Limit) -> Result<Limit, DataError> {
    let request = SetLimitRequest { limit: Some(limit) };
    Ok(client.set_limit(&request, &options()).await?.message.limit.unwrap())
}

async fn list(client: &DataClient) -> Vec<Limit> {
    client.list_limits(&ListLimitsRequest {}, &options()).await.unwrap().message.limits
}

async fn changes(client: &DataClient, scope: &str) -> Vec<LimitChange> {
    let request = ListLimitChangesRequest { limit: 0, scope: scope.into() };
    client.list_limit_changes(&request, &options()).await.unwrap().message.changes
}

/// Refusals among `calls` reads of the newest page.
async fn refusals(client: &DataClient, place: Place, calls: usize) -> Vec<(RefusalReason, String, Duration)> {
    let mut refused = Vec::new();
    for _ in 0..calls {
        match Talk(client, place).list(At::Latest, 1).await {
            Ok(_) => {}
            Err(DataError::Refused { reason, limit, retry_after, .. }) => {
                refused.push((reason, limit, retry_after))
            }
            Err(error) => panic!("{error}"),
        }
    }
    refused
}

#[tokio::test(start_paused = true)]
async fn a_limit_acts_on_the_next_request_of_its_channel_and_on_no_other() {
    let (world, node) = World::with_node(1).await;
    let (hot, quiet) = (node.place().await, node.place().await);
    assert!(refusals(&node.client, hot, 50).await.is_empty());
    let scope = format!("channel/{}", hot.channel);
    let burst = Limit { burst: 5, ..limit(&scope, LimitKind::Requests, 10.0) };
    let was_set = set(&node.client, burst).await.unwrap();
    assert_eq!(was_set.set_at_ms, world.clock.wall_ms());
    let refused = refusals(&node.client, hot, 20).await;
    assert_eq!(refused.len(), 15, "a burst of five, then nothing within the same instant");
    let (reason, name, retry_after) = &refused[0];
    assert_eq!((*reason, name.as_str()), (RefusalReason::RequestLimit, format!("{scope}/requests").as_str()));
    assert!(*retry_after > Duration::ZERO && *retry_after <= Duration::from_millis(100), "{retry_after:?}");
    assert!(refusals(&node.client, quiet, 50).await.is_empty());

    // Whoever comes back when told finds room.
    sleep(*retry_after).await;
    assert!(refusals(&node.client, hot, 1).await.is_empty());
    // Steady: ten a second, whoever asks however often.
    let mut admitted = 0;
    for _ in 0..1_000 {
        sleep(Duration::from_millis(10)).await;
        admitted += 1 - refusals(&node.client, hot, 1).await.len();
    }
    assert!((100..=106).contains(&admitted), "{admitted} admitted in ten seconds at 10/s with a burst of 5");
    assert!(list(&node.client).await[0].refused > 900);

    // Raised: at once, without a burst for the past. Lowered: at once.
    set(&node.client, Limit { burst: 50, ..limit(&scope, LimitKind::Requests, 1_000.0) }).await.unwrap();
    assert!(refusals(&node.client, hot, 100).await.len() >= 50);
    set(&node.client, limit(&scope, LimitKind::Requests, 0.0)).await.unwrap();
    assert_eq!(refusals(&node.client, hot, 5).await.len(), 5);
    let request =
        UnsetLimitRequest { scope: scope.clone(), kind: LimitKind::Requests.into(), who: "bob".into() };
    assert!(node.client.unset_limit(&request, &options()).await.unwrap().message.existed);
    assert!(refusals(&node.client, hot, 50).await.is_empty());
    assert!(!node.client.unset_limit(&request, &options()).await.unwrap().message.existed);

    let told: Vec<(String, String)> =
        changes(&node.client, &scope).await.into_iter().map(|change| (change.action, change.who)).collect();
    let of = |action: &str, who: &str| (action.to_owned(), who.to_owned());
    assert_eq!(told, [of("unset", "bob"), of("set", "ada"), of("set", "ada"), of("set", "ada")]);
    assert!(changes(&node.client, "channel/1").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn writes_have_limits_of_their_own() {
    let (world, node, place) = World::with_place(2).await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, Limit { burst: 2, ..limit(&scope, LimitKind::Writes, 1.0) }).await.unwrap();
    let talk = Talk(&node.client, place);
    let first = talk.create("one").await.unwrap();
    talk.edit(first.id, "two").await.unwrap();
    for answer in [talk.create("three").await.map(drop), talk.delete(first.id).await.map(drop)] {
        match answer {
            Err(DataError::Refused { reason: RefusalReason::WriteLimit, limit, retry_after, .. }) => {
                assert_eq!(limit, format!("{scope}/writes"));
                assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refusals(&node.client, place, 20).await.is_empty(), "reads go on");
    assert_eq!(world.store.seen_of(place.channel).len(), 2, "what is refused does not reach the database");
    sleep(Duration::from_secs(1)).await;
    talk.create("in time").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn database_reads_are_charged_only_when_the_database_is_read() {
    let (world, writer, place) = World::with_place(3).await;
    for _ in 0..60 {
        Talk(&writer.client, place).create("m").await.unwrap();
    }
    let node = world.node().await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, Limit { burst: 2, ..limit(&scope, LimitKind::DatabaseReads, 0.001) }).await.unwrap();
    assert!(refusals(&node.client, place, 100).await.is_empty(), "two reads, then memory");
    let old = Talk(&node.client, place).list(At::Latest, 50).await.unwrap()[49].id;
    match Talk(&node.client, place).list(At::Before(old), 5).await {
        Err(DataError::Refused { reason: RefusalReason::DatabaseReadLimit, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_and_refuses_nobody() {
    let (_world, node, place) = World::with_place(4).await;
    let scope = format!("channel/{}", place.channel);
    let dry = Limit { dry_run: true, burst: 5, ..limit(&scope, LimitKind::Requests, 1.0) };
    set(&node.client, dry).await.unwrap();
    assert!(refusals(&node.client, place, 25).await.is_empty());
    let listed = list(&node.client).await;
    assert_eq!((listed[0].refused, listed[0].dry_run), (20, true));
    // The same limit in earnest takes the dry run's place.
    set(&node.client, Limit { burst: 5, ..limit(&scope, LimitKind::Requests, 1.0) }).await.unwrap();
    assert!(!refusals(&node.client, place, 25).await.is_empty());
    assert_eq!(list(&node.client).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_by_itself_and_that_is_on_record() {
    let (world, node, place) = World::with_place(5).await;
    let scope = format!("channel/{}", place.channel);
    let until = world.clock.wall_ms() + 30_000;
    let ends = Limit { expires_at_ms: until, ..limit(&scope, LimitKind::Requests, 0.0) };
    set(&node.client, ends).await.unwrap();
    sleep(Duration::from_millis(29_900)).await;
    assert_eq!(refusals(&node.client, place, 3).await.len(), 3);
    sleep(Duration::from_millis(200)).await;
    assert!(refusals(&node.client, place, 3).await.is_empty(), "at its time, not when somebody looks");
    sleep(Duration::from_secs(2)).await;
    assert!(list(&node.client).await.is_empty());
    let newest = changes(&node.client, &scope).await.remove(0);
    assert_eq!((newest.action.as_str(), newest.who.as_str()), ("expired", "weir"));
    let past = Limit { expires_at_ms: 5, ..limit(&scope, LimitKind::Requests, 1.0) };
    assert!(matches!(set(&node.client, past).await, Err(DataError::Invalid { .. })));
}

#[tokio::test(start_paused = true)]
async fn limits_survive_a_restart() {
    let (mut world, node, place) = World::with_place(6).await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, limit(&scope, LimitKind::Requests, 0.0)).await.unwrap();
    let ended = format!("guild/{}", place.guild);
    let expires_at_ms = world.clock.wall_ms() + 1_000;
    set(&node.client, Limit { expires_at_ms, ..limit(&ended, LimitKind::Requests, 0.0) }).await.unwrap();
    world.crash();
    sleep(Duration::from_secs(10)).await;
    let node = world.node().await;
    assert_eq!(refusals(&node.client, place, 3).await.len(), 3, "in force from the first request on");
    sleep(Duration::from_secs(2)).await;
    let left: Vec<String> = list(&node.client).await.into_iter().map(|limit| limit.scope).collect();
    assert_eq!(left, [scope], "one ended while nothing ran");
    assert_eq!(changes(&node.client, &ended).await[0].action, "expired");
}

#[tokio::test(start_paused = true)]
async fn an_expired_limit_that_cannot_be_removed_keeps_no_other_one_listed() {
    let (world, node) = World::with_node(6).await;
    let expires_at_ms = world.clock.wall_ms() + 100;
    for id in 1..=3_u64 {
        let scope = format!("channel/{}", id << 22);
        set(&node.client, Limit { expires_at_ms, ..limit(&scope, LimitKind::Requests, 0.0) }).await.unwrap();
    }
    world.store.removals_fail.store(1, SeqCst);
    let mut listed = 3;
    while listed == 3 {
        sleep(Duration::from_millis(100)).await;
        listed = list(&node.client).await.len();
    }
    assert_eq!(listed, 1, "in one go but for the one that failed");
    sleep(Duration::from_secs(5)).await;
    assert!(list(&node.client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guilds_limit_covers_its_channels_and_classes_cover_all() {
    let (_world, node) = World::with_node(7).await;
    let (one, other) = (node.place().await, node.place().await);
    let guild = format!("guild/{}", one.guild);
    set(&node.client, limit(&guild, LimitKind::Requests, 0.0)).await.unwrap();
    let refused = refusals(&node.client, one, 3).await;
    assert_eq!(refused.len(), 3);
    assert_eq!(refused[0].1, format!("{guild}/requests"));
    assert!(refusals(&node.client, other, 3).await.is_empty());
    set(&node.client, limit("class/writes", LimitKind::Writes, 0.0)).await.unwrap();
    assert!(Talk(&node.client, other).create("m").await.is_err());
    assert!(refusals(&node.client, other, 3).await.is_empty());
    set(&node.client, limit("all", LimitKind::Requests, 0.0)).await.unwrap();
    assert_eq!(refusals(&node.client, other, 3).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let (_world, node) = World::with_node(8).await;
    for (wrong, says) in [
        (limit("channel/x", LimitKind::Requests, 1.0), "decimal"),
        (limit("room/1", LimitKind::Requests, 1.0), "channel/ID"),
        (limit("channel/1", LimitKind::Unspecified, 1.0), "kind"),
        (limit("channel/1", LimitKind::Requests, -1.0), "rate"),
        (limit("channel/1", LimitKind::Requests, f64::NAN), "rate"),
        (limit("channel/1", LimitKind::Concurrency, 1.5), "whole"),
    ] {
        match set(&node.client, wrong).await {
            Err(DataError::Invalid { problem }) => assert!(problem.contains(says), "{problem}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(list(&node.client).await.is_empty() && changes(&node.client, "").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_cannot_be_stored_is_not_in_force() {
    let (world, node, place) = World::with_place(9).await;
    let scope = format!("channel/{}", place.channel);
    sleep(Duration::from_millis(500)).await;
    world.store.settings_fail.store(1, SeqCst);
    assert!(set(&node.client, limit(&scope, LimitKind::Requests, 0.0)).await.is_err());
    assert!(refusals(&node.client, place, 3).await.is_empty());
    assert!(list(&node.client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_and_the_record_of_its_change_are_one_write() {
    let (world, node) = World::with_node(1).await;
    let before = world.store.counters().writes;
    set(&node.client, limit("channel/7", LimitKind::Requests, 10.0)).await.unwrap();
    assert_eq!(world.store.counters().writes - before, 1);
    // One that could not be kept is neither in force nor on record.
    world.store.settings_fail.store(1, SeqCst);
    set(&node.client, limit("channel/7", LimitKind::Requests, 99.0)).await.unwrap_err();
    let rates = |limits: Vec<Limit>| limits.into_iter().map(|limit| limit.rate).collect::<Vec<_>>();
    assert_eq!(rates(list(&node.client).await), [10.0]);
    assert_eq!(changes(&node.client, "").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn old_changes_are_removed_and_new_ones_stay() {
    let (world, node) = World::with_node(1).await;
    set(&node.client, limit("channel/1", LimitKind::Requests, 10.0)).await.unwrap();
    let kept = world.store.read_settings("limit_change", 10).await.unwrap();
    let [(key, record)] = &kept[..] else { panic!("{kept:?}") };
    let newest = u64::from_be_bytes(key[..8].try_into().unwrap());
    for older in 1..=9_500 {
        let key = [(newest + older).to_be_bytes(), 0_u64.to_be_bytes()].concat();
        world.store.write_setting("limit_change", &key, Some(record.clone())).await.unwrap();
    }
    // What a process does after its first change, and after every 64th.
    let again = world.node().await;
    let writes = world.store.counters().writes;
    set(&again.client, limit("channel/2", LimitKind::Requests, 10.0)).await.unwrap();
    assert_eq!(world.store.counters().writes - writes, 1, "the change does not wait for it");
    sleep(Duration::from_secs(5)).await;
    let kept = world.store.read_settings("limit_change", 20_000).await.unwrap();
    assert_eq!(kept.len(), 9_000);
    assert_eq!(changes(&again.client, "channel/2").await.len(), 1);
    assert!(kept.iter().any(|(key, _)| u64::from_be_bytes(key[..8].try_into().unwrap()) == newest));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stands_beside_the_limit_that_refuses() {
    let (world, node, place) = World::with_place(1).await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, Limit { burst: 2, ..limit(&scope, LimitKind::Requests, 1.0) }).await.unwrap();
    let tried = Limit { burst: 1, dry_run: true, ..limit(&scope, LimitKind::Requests, 1.0) };
    set(&node.client, tried).await.unwrap();
    assert_eq!(refusals(&node.client, place, 10).await.len(), 8, "the limit in force still refuses");
    let refused = |dry_run| {
        let client = node.client.clone();
        async move { list(&client).await.iter().find(|limit| limit.dry_run == dry_run).unwrap().refused }
    };
    assert_eq!((refused(false).await, refused(true).await > 0), (8, true));
    // Both survive a restart, and both go at once.
    let again = world.node().await;
    assert_eq!(list(&again.client).await.len(), 2);
    let request = UnsetLimitRequest { scope, kind: LimitKind::Requests.into(), who: "ada".into() };
    assert!(node.client.unset_limit(&request, &options()).await.unwrap().message.existed);
    assert!(list(&node.client).await.is_empty());
    assert!(refusals(&node.client, place, 10).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_with_an_end_gives_way_to_the_one_it_stood_before() {
    let (world, node, place) = World::with_place(1).await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, Limit { burst: 6, ..limit(&scope, LimitKind::Requests, 0.001) }).await.unwrap();
    let ends = world.clock.wall_ms() + 60_000;
    let strict = Limit { burst: 2, expires_at_ms: ends, ..limit(&scope, LimitKind::Requests, 0.001) };
    set(&node.client, strict.clone()).await.unwrap();
    assert_eq!(refusals(&node.client, place, 10).await.len(), 8);
    sleep(Duration::from_secs(62)).await;
    let left = list(&node.client).await;
    assert_eq!(left.iter().map(|limit| (limit.burst, limit.expires_at_ms)).collect::<Vec<_>>(), [(6, 0)]);
    // Its own rule again: never more than its burst, however the two were changed.
    let refused = refusals(&node.client, place, 10).await;
    assert!((4..=10).contains(&refused.len()), "{}", refused.len());
    // One without an end replaces both.
    let ends = world.clock.wall_ms() + 60_000;
    set(&node.client, Limit { expires_at_ms: ends, ..strict }).await.unwrap();
    assert_eq!(list(&node.client).await.len(), 2);
    set(&node.client, Limit { burst: 3, ..limit(&scope, LimitKind::Requests, 5.0) }).await.unwrap();
    let left = list(&node.client).await;
    assert_eq!(left.iter().map(|limit| (limit.burst, limit.expires_at_ms)).collect::<Vec<_>>(), [(3, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_renewed_as_it_ended_stays() {
    let (world, node) = World::with_node(1).await;
    let ends = world.clock.wall_ms() + 10_000;
    for channel in 1..=50 {
        let scope = format!("channel/{channel}");
        let limit = Limit { expires_at_ms: ends, ..limit(&scope, LimitKind::Requests, 5.0) };
        set(&node.client, limit).await.unwrap();
    }
    // The sweep is among them when the last are renewed: each of its removals takes a while.
    world.store.slow(Duration::from_millis(100));
    sleep(Duration::from_millis(10_050)).await;
    for channel in (1..=50).rev() {
        let scope = format!("channel/{channel}");
        let ends = world.clock.wall_ms() + 600_000;
        let limit = Limit { expires_at_ms: ends, ..limit(&scope, LimitKind::Requests, 7.0) };
        set(&node.client, limit).await.unwrap();
    }
    sleep(Duration::from_secs(30)).await;
    let rates: Vec<f64> = list(&node.client).await.iter().map(|limit| limit.rate).collect();
    assert_eq!(rates, [7.0; 50]);
}

#[tokio::test(start_paused = true)]
async fn explain_says_refused_while_a_limit_refuses_and_charges_nothing() {
    let (_world, node, place) = World::with_place(1).await;
    let scope = format!("channel/{}", place.channel);
    let explained = async || {
        let request = weir_proto::admin::ExplainChannelRequest { channel_id: place.channel };
        let reply = node.client.explain_channel(&request, &options()).await.unwrap().message;
        (reply.outcome, reply.gates.join("; "))
    };
    set(&node.client, Limit { burst: 1, ..limit(&scope, LimitKind::Requests, 0.1) }).await.unwrap();
    for _ in 0..3 {
        assert_ne!(explained().await.0, "refused", "nothing was charged yet");
    }
    assert!(refusals(&node.client, place, 1).await.is_empty(), "nor by the questions");
    let (outcome, why) = explained().await;
    assert_eq!(outcome, "refused");
    assert!(why.contains(&format!("over the limit {scope}/requests (request_limit): retry after")), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_explains_itself_and_is_counted_as_a_read() {
    let (_world, node, place) = World::with_place(30).await;
    let scope = format!("channel/{}", place.channel);
    set(&node.client, limit(&scope, LimitKind::Requests, 0.0)).await.unwrap();
    let call = UnaryRequest {
        path: "/weir.data.v1.MessageService/ListMessages".into(),
        codec: Codec::Proto,
        headers: HeaderMap::from_iter([(EXPLAIN, HeaderValue::from_static("1"))]),
        timeout: None,
        body: page_of(place.channel, At::Latest, 5).encode_to_vec().into(),
    };
    let refused = node.service.dispatch().call(call).await.unwrap_err();
    let told = refused.header(EXPLAIN.as_str()).unwrap().to_str().unwrap();
    assert_eq!(told, format!("outcome=refused reason=request_limit limit={scope}/requests"));
    let shown = node.registry.encode();
    assert!(
        shown.contains("weir_data_reads_total{method=\"ListMessages\",outcome=\"refused\"} 1"),
        "{shown}"
    );
}
