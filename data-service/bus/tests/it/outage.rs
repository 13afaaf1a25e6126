//! Redis is down, comes back, and has lost its memory.

use std::time::{Duration, Instant};

use weir_bus::{
    EventBus, Inbox, InboxError, PublishError, Published,
    redis::{RedisBus, RedisInbox},
};

use crate::server::{Server, command, eventually, interested, out, texts, topic};

/// Publishes nothing until the bus reports a loss, as a publisher does each second.
async fn reports_loss(bus: &RedisBus) {
    eventually("a loss is reported", async || {
        bus.publish(Vec::new()).await.is_ok_and(|published| published == Published::Lost)
    })
    .await;
}

#[tokio::test]
async fn a_server_killed_and_started_empty_delays_delivery_and_is_reported() {
    let Some(mut server) = Server::start() else { return };
    let bus = RedisBus::new(server.config()).expect("a url");
    let inbox = RedisInbox::start(server.config()).expect("a url");
    interested(&inbox, 1).await;
    bus.publish(vec![out(1, "before")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 0, 1).await, ["before"]);
    bus.ping().await.expect("redis answers");

    server.kill();
    assert!(bus.ping().await.is_err());
    let began = Instant::now();
    let refused = bus.publish(vec![out(1, "while down")]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable { .. })));
    assert!(began.elapsed() < Duration::from_secs(3), "a publication has an end: {:?}", began.elapsed());
    assert!(inbox.add_interest(topic(2)).await.is_err());

    server.restart();
    reports_loss(&bus).await;
    // By the time the loss is reported, the gateway listens again: to its old interest and to the one that it
    // could not add.
    bus.publish(vec![out(1, "recovered"), out(2, "added while down")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 1, 2).await, ["recovered", "added while down"]);
}

#[tokio::test]
async fn memory_lost_without_a_restart_is_reported_too() {
    let Some(server) = Server::start() else { return };
    let bus = RedisBus::new(server.config()).expect("a url");
    let inbox = RedisInbox::start(server.config()).expect("a url");
    interested(&inbox, 1).await;
    bus.publish(vec![out(1, "before")]).await.expect("redis answers");
    texts(&inbox, 0, 1).await;
    command::<()>(&server.config(), &["FLUSHALL"]).await;
    reports_loss(&bus).await;
    bus.publish(vec![out(1, "recovered")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 1, 1).await, ["recovered"]);
}

#[tokio::test]
async fn a_gateway_away_for_longer_than_the_window_cuts_its_readers_off() {
    let Some(mut server) = Server::start() else { return };
    let mut config = server.config();
    config.recovered_window = Duration::ZERO;
    let bus = RedisBus::new(config.clone()).expect("a url");
    let inbox = RedisInbox::start(config).expect("a url");
    interested(&inbox, 1).await;
    bus.publish(vec![out(1, "before")]).await.expect("redis answers");
    texts(&inbox, 0, 1).await;
    server.kill();
    server.restart();
    eventually("readers are cut off", async || {
        matches!(inbox.read(1, 10).await, Err(InboxError::Truncated { floor: 2 }))
    })
    .await;
}

#[tokio::test]
async fn an_inbox_may_start_before_its_server() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let inbox = RedisInbox::start(server.config()).expect("a url");
    assert!(!inbox.registered());
    server.restart();
    inbox.wait_registered().await;
    interested(&inbox, 1).await;
    let bus = RedisBus::new(server.config()).expect("a url");
    bus.publish(vec![out(1, "a")]).await.expect("redis answers");
    assert_eq!(texts(&inbox, 0, 1).await, ["a"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    // It accepts connections and sends nothing, as a frozen server does.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut config =
        weir_bus::redis::RedisConfig::new(format!("redis://{}", silent.local_addr().expect("bound")));
    config.timeout = Duration::from_millis(300);
    let bus = RedisBus::new(config).expect("a url");
    let began = Instant::now();
    assert!(matches!(bus.publish(vec![out(1, "a")]).await, Err(PublishError::Unavailable { .. })));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
