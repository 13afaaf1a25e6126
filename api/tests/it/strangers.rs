//! Tokens that nobody has: what they may cost the data service.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::Instant};
use weir_discord::token::{BotToken, SECRET_BYTES};
use weir_proto::id::UserId;
use weir_runtime::{
    TrustedProxies,
    strangers::{ANSWERS_BURST, FAILURES_BURST, PAUSE_MAX},
};

use crate::harness::{Answer, Served, answer, connect, request};

/// Requests of a flood.
const FLOOD: u64 = 300;

/// A token of the right shape that nobody has.
fn nobodys(number: u64) -> String {
    let user = UserId::try_from((1_000 + number) << 22).unwrap();
    BotToken::generate(user, 1_790_000_000, &[7; SECRET_BYTES]).reveal().to_owned()
}

async fn ask(served: &Served, token: &str, forwarded: &str) -> Answer {
    let request = request(Method::GET, "/api/v10/users/@me")
        .header("authorization", format!("Bot {token}"))
        .header("x-forwarded-for", forwarded);
    served.send(request.body(Full::default()).unwrap()).await
}

fn resolved(served: &Served) -> usize {
    served.data.take_calls().iter().filter(|call| call.ends_with("ResolveToken")).count()
}

#[tokio::test]
async fn a_token_that_nobody_has_is_looked_up_once_however_often_it_comes() {
    let served = Served::start().await;
    for _ in 0..FLOOD {
        assert_eq!(ask(&served, &nobodys(1), "").await.outcome(), (401, 0));
    }
    assert_eq!(resolved(&served), 1);
}

#[tokio::test]
async fn an_address_that_guesses_is_throttled_before_the_data_service_and_others_are_not() {
    let served = Served::with(|config| {
        config.rate_limits = None;
        config.trusted_proxies = TrustedProxies::parse(&["127.0.0.1"]).unwrap();
    })
    .await;
    let ann = served.bot("ann");
    assert_eq!(ask(&served, &ann.token, "192.0.2.1").await.status, 200);
    served.data.take_calls();
    let mut throttled = 0;
    for number in 0..FLOOD {
        // What the client wrote itself does not hide it.
        let forwarded = format!("198.51.100.{}, 192.0.2.1", number % 250);
        let answer = ask(&served, &nobodys(number), &forwarded).await;
        if answer.status == 429 {
            throttled += 1;
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            assert!(answer.json()["retry_after"].as_f64().unwrap() > 0.0);
        } else {
            assert_eq!(answer.status, 401);
        }
    }
    let reads = resolved(&served);
    // What an address gets back while a slow machine runs this is part of the sum.
    assert_eq!(reads + throttled, FLOOD as usize);
    assert!(reads >= FAILURES_BURST as usize && throttled > 0, "{reads} reads, {throttled} throttled");
    assert_eq!(ask(&served, &nobodys(FLOOD), "192.0.2.2").await.status, 401, "another address");
    // A bot of the same address that was let in before.
    assert_eq!(ask(&served, &ann.token, "192.0.2.1").await.status, 200);
}

/// Bytes of a body that is announced.
const BODY: usize = 10_000;

/// Posts all of a body but its last byte, and keeps the connection.
async fn begin_body(served: &Served, token: &str, forwarded: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /api/v10/channels/1/messages HTTP/1.1\r\nhost: weir\r\nauthorization: Bot {token}\r\n\
         x-forwarded-for: {forwarded}\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b' '; BODY - 1]).await.unwrap();
    stream
}

/// Times that a body found no room, of so many tries.
async fn without_room(served: &Served, token: &str, forwarded: &str, tries: usize) -> usize {
    let mut refused = 0;
    let body = Bytes::from(format!("{:BODY$}", "{}"));
    for _ in 0..tries {
        let request = request(Method::POST, "/api/v10/channels/1/messages")
            .header("authorization", format!("Bot {token}"))
            .header("x-forwarded-for", forwarded)
            .header("content-type", "application/json");
        let answer = served.send(request.body(Full::from(body.clone())).unwrap()).await;
        refused += usize::from(answer.status == 503);
    }
    refused
}

#[tokio::test]
async fn the_room_for_bodies_is_shared_by_clients_and_tokens_and_not_by_their_proxy() {
    let served = Served::with(|config| {
        config.rate_limits = None;
        config.trusted_proxies = TrustedProxies::parse(&["127.0.0.1"]).unwrap();
        // Half of it for one client, a quarter for one token.
        config.memory.bodies = 8 * BODY;
    })
    .await;
    let [ann, bob, cid, dan] = ["ann", "bob", "cid", "dan"].map(|name| served.bot(name));
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(begin_body(&served, &ann.token, "192.0.2.1").await);
        open.push(begin_body(&served, &dan.token, "192.0.2.4").await);
    }
    assert_eq!(without_room(&served, &bob.token, "192.0.2.2", 50).await, 0, "another client");
    assert_eq!(without_room(&served, &cid.token, "192.0.2.1", 50).await, 0, "another token of that client");
    assert!(without_room(&served, &ann.token, "192.0.2.3", 50).await > 0, "that token, wherever it is");
}

/// Connections of a crowd.
const CROWD: u32 = 40;

/// Asks without a token on many connections, more often than an address may without a pause; the longest time
/// that one answer took.
async fn longest_of_crowd(served: &Served, forwarded: &'static str) -> Duration {
    let address = served.address;
    let one = move || async move {
        let mut connection = connect(address).await;
        let mut longest = Duration::ZERO;
        for _ in 0..2 * ANSWERS_BURST / CROWD {
            let request = request(Method::GET, "/api/v10/gateway").header("x-forwarded-for", forwarded);
            let start = Instant::now();
            let answer = answer(&mut connection, request.body(Full::default()).unwrap()).await;
            assert_eq!(answer.status, 200);
            longest = longest.max(start.elapsed());
        }
        longest
    };
    let crowd: JoinSet<Duration> = (0..CROWD).map(|_| one()).collect();
    crowd.join_all().await.into_iter().max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_asks_very_often_without_a_token_is_answered_slowly_and_who_has_one_is_not() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let longest = longest_of_crowd(&served, "").await;
    assert!(longest >= PAUSE_MAX / 2, "{longest:?}");
    // From the same address.
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(served.get(&ann, "/users/@me").await.status, 200);
    }
    let each = start.elapsed() / 100;
    assert!(each < PAUSE_MAX / 4, "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_the_client_that_asks_very_often_is_slowed_down_and_no_other() {
    let proxies = TrustedProxies::parse(&["127.0.0.1"]).unwrap();
    let served = Served::with(|config| config.trusted_proxies = proxies).await;
    let longest = longest_of_crowd(&served, "192.0.2.1").await;
    assert!(longest >= PAUSE_MAX / 2, "{longest:?}");
    let start = Instant::now();
    for _ in 0..100 {
        let request = request(Method::GET, "/api/v10/gateway").header("x-forwarded-for", "192.0.2.2");
        assert_eq!(served.send(request.body(Full::default()).unwrap()).await.status, 200);
    }
    let each = start.elapsed() / 100;
    assert!(each < PAUSE_MAX / 4, "{each:?}");
}
