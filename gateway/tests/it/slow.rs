//! Clients that do not read, and gateways that stop.

use std::time::Duration;

use weir_gateway::{GatewayConfig, Stopped};

use crate::{
    client::{Client, INTENTS, Received},
    world::{BOT, OPEN, World},
};

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut_while_others_are_served_and_resumes() {
    let (world, gateway, mut good) = World::with_session(true, 100_000, BOT).await;
    // A pipe that holds little more than the introduction.
    let mut slow = Client::ready_over(gateway.pipe(8 << 10), "/?v=10", BOT, INTENTS).await;
    slow.dispatch("GUILD_CREATE").await;
    for i in 0..500 {
        world.say(OPEN, &format!("{i} {}", "x".repeat(200))).await;
        assert!(good.message().await.starts_with(&format!("{i} ")));
    }
    // The write timeout passes; what fitted the pipe is still there to be read, then the connection ends in
    // the middle of a frame.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut next = 0;
    while let Received::Payload(payload) = slow.receive().await {
        assert!(payload["d"]["content"].as_str().unwrap().starts_with(&format!("{next} ")));
        next += 1;
    }
    assert!((1..500).contains(&next), "{next}");
    let mut again = Client::resuming(&gateway, BOT, &slow.session_id, slow.last_seq()).await;
    for i in next..500 {
        assert!(again.message().await.starts_with(&format!("{i} ")));
    }
    again.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn who_falls_off_the_ring_is_closed_with_4000_and_resumes_from_the_log() {
    let world = World::new(true, 100_000);
    let gateway = world.gateway(GatewayConfig { ring_records_max: 32, ..GatewayConfig::default() }).await;
    let mut slow = Client::ready_over(gateway.pipe(8 << 10), "/?v=10", BOT, INTENTS).await;
    slow.dispatch("GUILD_CREATE").await;
    for i in 0..500 {
        world.say(OPEN, &i.to_string()).await;
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut next = 0;
    let code = loop {
        match slow.receive().await {
            Received::Payload(payload) => assert_eq!(payload["d"]["content"], next.to_string()),
            Received::Closed(code) => break code,
            Received::Cut => panic!("cut without a word"),
        }
        next += 1;
    };
    assert_eq!(code, 4000);
    let mut again = Client::resuming(&gateway, BOT, &slow.session_id, slow.last_seq()).await;
    for i in next..500 {
        assert_eq!(again.message().await, i.to_string());
    }
    again.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_stops_asks_its_clients_to_reconnect_and_drains() {
    let (world, gateway, mut client) = World::with_session(true, 1_000, BOT).await;
    gateway.stop.cancel();
    assert_eq!(client.payload().await["op"], 7);
    assert_eq!(client.closed().await, 4000);
    drop(client);
    assert_eq!(gateway.gateway.stopped().await, Stopped::Clean);
    let gateway = world.gateway(GatewayConfig::default()).await;
    let client = Client::identified(&gateway, BOT).await;
    assert_eq!(client.last_seq(), 2);
}
