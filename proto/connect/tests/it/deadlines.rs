//! A caller's deadline reaches the handler, ends it, and is clamped.

use std::future::pending;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_connect::{
    ClientError, Code, ConnectError, Context, Lost, Reply, RequestLimits, Router, ServerConfig,
};

use crate::fixture::*;

const PROTO: (&str, &str) = ("content-type", "application/proto");

/// A method that answers with the milliseconds of its deadline.
fn tells_its_time() -> Router {
    Router::new(contract()).unary(ECHO, |context: Context, _: Note| async move {
        let remaining = context.remaining().expect("every request over HTTP has a deadline");
        Ok(Reply::message(note(&remaining.as_millis().to_string())))
    })
}

/// Reports its end when it is dropped.
struct Tell(mpsc::Sender<Instant>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.try_send(Instant::now());
    }
}

/// A method that never answers, and a channel that reports when its call was dropped.
fn never_answers() -> (Router, mpsc::Receiver<Instant>) {
    let (ended, ends) = mpsc::channel(8);
    let router = Router::new(contract()).unary(ECHO, move |_, _: Note| {
        let tell = Tell(ended.clone());
        async move {
            let _tell = tell;
            pending::<Result<Reply<Note>, ConnectError>>().await
        }
    });
    (router, ends)
}

async fn given_ms(running: &Running, headers: &[(&str, &str)]) -> u64 {
    let reply = send(running.addr, Version::Http2, post(ECHO, headers, "")).await;
    let reply: Note = prost::Message::decode(reply.into_body()).unwrap();
    reply.text.parse().unwrap()
}

#[tokio::test]
async fn the_handler_is_given_what_the_caller_has_left_at_most_the_maximum() {
    let requests = RequestLimits { request_timeout_max: Duration::from_secs(30), ..RequestLimits::default() };
    let config = ServerConfig { requests, ..ServerConfig::default() };
    let running = start_with(tells_its_time(), config).await;
    // The lower bounds leave a second for a slow machine.
    let given = given_ms(&running, &[PROTO, ("connect-timeout-ms", "5000")]).await;
    assert!((4000..=5000).contains(&given), "{given}");
    let clamped = given_ms(&running, &[PROTO, ("connect-timeout-ms", "9999999999")]).await;
    assert!((29_000..=30_000).contains(&clamped), "{clamped}");
    let absent = given_ms(&running, &[PROTO]).await;
    assert!((29_000..=30_000).contains(&absent), "{absent}");
}

#[tokio::test]
async fn our_client_sends_the_time_that_is_left() {
    let running = start(tells_its_time()).await;
    let timeout = Some(Duration::from_secs(7));
    let reply = running.client().unary(ECHO, HeaderMap::new(), timeout, encoded(&note(""))).await.unwrap();
    let reply: Note = prost::Message::decode(reply.body).unwrap();
    let given: u64 = reply.text.parse().unwrap();
    assert!((6000..=7000).contains(&given), "{given}");
}

#[tokio::test(start_paused = true)]
async fn the_server_ends_a_handler_at_its_deadline() {
    let (router, mut ends) = never_answers();
    let running = start(router).await;
    for version in VERSIONS {
        let started = Instant::now();
        let request = post(ECHO, &[PROTO, ("connect-timeout-ms", "2000")], "");
        let reply = send(running.addr, version, request).await;
        assert_eq!(reply.status().as_u16(), 504);
        assert_eq!(ConnectError::from_json(200, reply.body()).code, Code::DeadlineExceeded);
        let lasted = ends.recv().await.unwrap() - started;
        // Paused time may jump a little while the sockets work.
        assert!((2000..2100).contains(&lasted.as_millis()), "{lasted:?}");
    }
}

#[tokio::test]
async fn an_expired_request_never_reaches_the_handler() {
    let (router, mut ends) = never_answers();
    let running = start(router).await;
    let request = post(ECHO, &[PROTO, ("connect-timeout-ms", "0")], "");
    let reply = send(running.addr, Version::Http2, request).await;
    assert_eq!(reply.status().as_u16(), 504);
    assert!(ends.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_deadline_passes_learns_that_the_outcome_is_unknown() {
    let (router, mut ends) = never_answers();
    let running = start(router).await;
    let outcome = running
        .client()
        .unary(ECHO, HeaderMap::new(), Some(Duration::from_secs(1)), encoded(&note("")))
        .await;
    let error = outcome.expect_err("it never answers");
    // Server and client share the deadline. Whichever answers first, the caller learns that time is up and
    // nothing false.
    match error {
        ClientError::Unknown(Lost::TimedOut) => {}
        ClientError::Connect(error) => assert_eq!(error.code, Code::DeadlineExceeded),
        other => panic!("{other:?}"),
    }
    assert!(ends.recv().await.is_some(), "the handler was ended");
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_handler_and_not_the_connection() {
    let (router, mut ends) = never_answers();
    let (entered, mut entries) = mpsc::channel(1);
    let other =
        Router::new(contract()).unary("/test.v1.Other/Do", |_, note: Note| async move { Ok(note.into()) });
    let entering = Router::new(contract()).unary("/test.v1.Enter/Do", move |_, note: Note| {
        entered.try_send(()).unwrap();
        async move { Ok(note.into()) }
    });
    let running = start(router.merge(other).merge(entering)).await;
    let mut config = running.client_config();
    config.connections = 1;
    let client = weir_connect::HttpClient::new(config).unwrap();

    let leaving = client.clone();
    let call =
        tokio::spawn(async move { leaving.unary(ECHO, HeaderMap::new(), None, encoded(&note(""))).await });
    // A later stream of the same connection has been answered, so the earlier one has been dispatched.
    client.unary("/test.v1.Enter/Do", HeaderMap::new(), None, encoded(&note(""))).await.unwrap();
    entries.recv().await.unwrap();
    call.abort();
    assert!(ends.recv().await.is_some(), "the handler was dropped");
    assert!(client.unary("/test.v1.Other/Do", HeaderMap::new(), None, encoded(&note(""))).await.is_ok());
}
