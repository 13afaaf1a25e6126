//! Who receives which records while nothing fails.

use weir_bus::{
    EventBus, Inbox, InboxError, Published,
    redis::{RedisBus, RedisInbox},
};

use crate::server::{SOON, Server, about, command, eventually, interested, out, shared, texts, topic};

#[tokio::test]
async fn records_reach_those_who_asked_in_order() {
    let Some(config) = shared("order") else { return };
    let bus = RedisBus::new(config.clone()).expect("a url");
    let (one, both) =
        (RedisInbox::start(config.clone()).expect("a url"), RedisInbox::start(config).expect("a url"));
    interested(&one, 1).await;
    interested(&both, 1).await;
    interested(&both, 2).await;
    // More records than one call of the script takes.
    let records: Vec<_> = (0..300).map(|n| out(1 + n % 2, &n.to_string())).collect();
    assert_eq!(bus.publish(records).await.expect("redis answers"), Published::Kept);
    let even: Vec<String> = (0..300).step_by(2).map(|n| n.to_string()).collect();
    let all: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(texts(&one, 0, 150).await, even);
    assert_eq!(texts(&both, 0, 300).await, all);
    one.close().await;
    both.close().await;
}

#[tokio::test]
async fn a_guild_no_longer_asked_for_is_no_longer_sent() {
    let Some(config) = shared("remove") else { return };
    let bus = RedisBus::new(config.clone()).expect("a url");
    let inbox = RedisInbox::start(config).expect("a url");
    interested(&inbox, 1).await;
    interested(&inbox, 2).await;
    inbox.remove_interest(topic(1)).await;
    bus.publish(vec![out(1, "unasked"), out(2, "asked")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 0, 1).await, ["asked"]);
    inbox.close().await;
}

/// A record carries no number of its own on its way: one that arrived twice and belongs to no scope would be
/// shown twice.
#[tokio::test]
async fn a_record_of_two_topics_reaches_a_gateway_with_both_once() {
    let Some(config) = shared("topics") else { return };
    let bus = RedisBus::new(config.clone()).expect("a url");
    let (both, one) =
        (RedisInbox::start(config.clone()).expect("a url"), RedisInbox::start(config).expect("a url"));
    interested(&both, 1).await;
    interested(&both, 2).await;
    interested(&one, 2).await;
    let (mut typing, mut other) = (both.subscribe_ephemeral(), one.subscribe_ephemeral());
    bus.publish_ephemeral(about(&[1, 2], "typing")).await;
    bus.publish_ephemeral(about(&[2, 1], "still typing")).await;
    bus.publish(vec![about(&[1, 2], "a"), about(&[2], "b"), about(&[3], "nobody"), about(&[], "no topic")])
        .await
        .expect("redis answers");
    bus.publish(vec![about(&[2, 1], "c")]).await.expect("redis answers");
    assert_eq!(texts(&both, 0, 3).await, ["a", "b", "c"]);
    assert_eq!(texts(&one, 0, 3).await, ["a", "b", "c"]);
    for inbox in [&mut typing, &mut other] {
        for text in ["typing", "still typing"] {
            let record = tokio::time::timeout(SOON, inbox.recv()).await.expect("soon").expect("open");
            assert_eq!(record.as_ref(), text.as_bytes());
        }
        assert!(inbox.try_recv().is_err());
    }
    both.close().await;
    one.close().await;
}

#[tokio::test]
async fn ephemeral_records_take_no_position() {
    let Some(config) = shared("ephemeral") else { return };
    let bus = RedisBus::new(config.clone()).expect("a url");
    let inbox = RedisInbox::start(config).expect("a url");
    interested(&inbox, 1).await;
    let mut typing = inbox.subscribe_ephemeral();
    bus.publish_ephemeral(out(1, "typing")).await;
    let record = tokio::time::timeout(SOON, typing.recv()).await.expect("soon").expect("the inbox lives");
    assert_eq!(record.as_ref(), b"typing");
    assert_eq!(inbox.head(), 0);
    inbox.close().await;
}

#[tokio::test]
async fn a_gateway_that_died_is_forgotten_by_the_next_publication() {
    let Some(config) = shared("dead") else { return };
    let bus = RedisBus::new(config.clone()).expect("a url");
    let interest = format!("{}interest:1", config.prefix);
    command::<()>(&config, &["SADD", &interest, "a-gateway-without-keys"]).await;
    bus.publish(vec![out(1, "nobody")]).await.expect("redis answers");
    assert_eq!(command::<u64>(&config, &["SCARD", &interest]).await, 0);
}

#[tokio::test]
async fn an_inbox_with_a_gap_cuts_its_readers_off() {
    let Some(server) = Server::start() else { return };
    let config = server.config();
    let bus = RedisBus::new(config.clone()).expect("a url");
    let inbox = RedisInbox::start(config.clone()).expect("a url");
    interested(&inbox, 1).await;
    bus.publish(vec![out(1, "a")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 0, 1).await, ["a"]);
    // A number without an entry, as trimming leaves behind for a reader that is too slow.
    let counts: Vec<String> = command(&config, &["KEYS", &format!("{}count:*", config.prefix)]).await;
    command::<u64>(&config, &["INCR", &counts[0]]).await;
    bus.publish(vec![out(1, "c")]).await.expect("redis answers");
    // Position 2 stands for what is missing; 3 is the record after it.
    eventually("the record after the gap", async || inbox.head() == 3).await;
    assert!(matches!(inbox.read(1, 10).await, Err(InboxError::Truncated { floor: 2 })));
    assert_eq!(texts(&inbox, 2, 1).await, ["c"]);
}

#[tokio::test]
async fn a_stream_that_no_longer_fits_its_numbers_makes_the_gateway_begin_anew() {
    let Some(server) = Server::start() else { return };
    let config = server.config();
    let bus = RedisBus::new(config.clone()).expect("a url");
    let inbox = RedisInbox::start(config.clone()).expect("a url");
    interested(&inbox, 1).await;
    bus.publish(vec![out(1, "a")]).await.expect("redis answers");
    texts(&inbox, 0, 1).await;
    let counts: Vec<String> = command(&config, &["KEYS", &format!("{}count:*", config.prefix)]).await;
    command::<u64>(&config, &["DEL", &counts[0]]).await;
    bus.publish(vec![out(1, "refused by the stream")]).await.expect("redis answers");
    eventually("a loss is reported", async || {
        bus.publish(Vec::new()).await.is_ok_and(|published| published == Published::Lost)
    })
    .await;
    bus.publish(vec![out(1, "again")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 1, 1).await, ["again"]);
}
