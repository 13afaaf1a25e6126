//! HTTP/2 clients that hold places and replies: they answer pings, so that the connection lives, and read no
//! reply.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use weir_connect::budget::{Bounds, Budget};
use weir_connect::{
    Body, INSTEAD_BYTES_MAX, Instead, KeepUntilSent, Memory, Reply, Router, Server, ServerConfig, SlowDown,
};

use crate::fixture::*;

/// A reply that needs several frames of HTTP/2, and one that fits into one.
const LARGE: usize = 100_000;
const SMALL: usize = 1_000;

fn memory(budget: &Budget, replies: Bounds) -> Memory {
    Memory { replies: budget.part("replies", replies), ..Memory::default() }
}

const ROOMY: Bounds = Bounds::halves(64 << 20);

fn pages(bytes: usize) -> Router {
    Router::new(contract()).unary(ECHO, move |_, _: Note| async move {
        let page = Bytes::from(vec![0; bytes]);
        Ok(Reply { body: Body::<Note>::EncodedProto(page), headers: HeaderMap::new() })
    })
}

/// A client whose streams may each take `window` bytes. h2 answers pings while its connection is polled.
async fn client(addr: std::net::SocketAddr, window: u32) -> (SendRequest<Bytes>, Connection<TcpStream>) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    builder.handshake(stream).await.unwrap()
}

fn ask() -> Request<()> {
    Request::post(format!("http://x{ECHO}")).header("content-type", "application/proto").body(()).unwrap()
}

fn held(budget: &Budget) -> usize {
    budget.usage().iter().find(|usage| usage.part == "replies").unwrap().used
}

/// Sends one request, reads no byte of the reply, and waits for the stream's reset.
async fn reset(mut sender: SendRequest<Bytes>) -> h2::Error {
    let (response, _) = sender.send_request(ask(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    // Flow control is not released, so the part of the window that arrived stays taken.
    loop {
        match body.data().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("the reply ended"),
        }
    }
}

async fn a_reply_is_reset(bytes: usize, window: u32) {
    let budget = Budget::default();
    let config = ServerConfig { memory: memory(&budget, ROOMY), ..ServerConfig::default() };
    let running = start_with(pages(bytes), config).await;
    let (sender, connection) = client(running.addr, window).await;
    let connection = tokio::spawn(connection);
    let error = reset(sender.clone()).await;
    assert!(error.is_reset(), "{error}");
    assert!(!connection.is_finished(), "the connection goes on");
    assert_eq!(held(&budget), 0);
    // The server serves the next request in the same way.
    assert!(reset(sender).await.is_reset());
}

#[tokio::test(start_paused = true)]
async fn a_reply_whose_window_is_closed_is_reset_and_let_go_of() {
    a_reply_is_reset(SMALL, 0).await;
    a_reply_is_reset(LARGE, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_whose_window_closes_half_way_is_reset_and_let_go_of() {
    a_reply_is_reset(LARGE, 1).await;
    a_reply_is_reset(LARGE, LARGE as u32 - 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_replies_have_ended_and_do_not_move_is_cut() {
    let budget = Budget::default();
    let config = ServerConfig { memory: memory(&budget, ROOMY), ..ServerConfig::default() };
    let running = start_with(pages(SMALL), config).await;
    // One byte of a small reply is taken: its end is queued behind the rest, so it can no longer be reset.
    let (mut sender, connection) = client(running.addr, 1).await;
    let (response, _) = sender.send_request(ask(), true).unwrap();
    let connection = tokio::spawn(connection);
    let body = response.await.unwrap().into_body();
    drop(connection.await.unwrap());
    assert_eq!(held(&budget), 0);
    drop(body);
}

#[tokio::test]
async fn unread_replies_are_bounded_for_a_peer_and_the_next_is_refused() {
    let budget = Budget::default();
    let bounds = Bounds { total: 10 * LARGE, peer: 3 * LARGE, token: 3 * LARGE };
    let config = ServerConfig { memory: memory(&budget, bounds), ..ServerConfig::default() };
    let running = start_with(pages(LARGE), config).await;
    let mut open = Vec::new();
    // Each request has a connection of its own: the bound is the peer's.
    for expected in [200, 200, 200, 503] {
        let (mut sender, connection) = client(running.addr, 0).await;
        tokio::spawn(connection);
        let (response, _) = sender.send_request(ask(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), expected);
        open.push((sender, response));
    }
    assert_eq!(held(&budget), 3 * LARGE);
    drop(open);
}

#[tokio::test]
async fn whole_replies_of_every_size_arrive_and_leave_nothing_held() {
    for bytes in [0, 1, SMALL, 16 << 10, (16 << 10) + 1, LARGE, 5 << 20] {
        let budget = Budget::default();
        let config = ServerConfig { memory: memory(&budget, ROOMY), ..ServerConfig::default() };
        let running = start_with(pages(bytes), config).await;
        for version in VERSIONS {
            let headers = [("content-type", "application/proto")];
            let reply = send(running.addr, version, post(ECHO, &headers, Bytes::new())).await;
            assert_eq!((reply.status().as_u16(), reply.body().len()), (200, bytes), "{version:?}");
        }
        running.stop.cancel();
        running.serving.await.unwrap();
        assert_eq!(held(&budget), 0, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_keeps_is_kept_until_its_reply_is_given_up() {
    let permits = Arc::new(Semaphore::new(1));
    let server = Server::bind(([127, 0, 0, 1], 0).into(), ServerConfig::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let taken = Arc::clone(&permits);
    let answer = move |_| {
        let permit = Arc::clone(&taken).try_acquire_owned().unwrap();
        async move {
            let mut reply = http::Response::new(http_body_util::Full::new(Bytes::from(vec![0; LARGE])));
            reply.extensions_mut().insert(KeepUntilSent::new(permit));
            reply
        }
    };
    tokio::spawn(server.serve_http(answer, tokio_util::sync::CancellationToken::new(), DRAIN));
    let (mut sender, connection) = client(addr, 0).await;
    tokio::spawn(connection);
    let (response, _) = sender.send_request(ask(), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(permits.available_permits(), 0, "the reply is not sent");
    drop(permits.acquire().await.unwrap());
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_that_answers_pings_is_told_to_go() {
    let running = start(echo()).await;
    let (sender, connection) = client(running.addr, 65_535).await;
    // It ends only because the server ends it.
    let ended = within(connection).await;
    assert!(ended.is_none_or(|error| error.is_go_away()));
    drop(sender);
}

async fn within(connection: Connection<TcpStream>) -> Option<h2::Error> {
    bounded(connection).await.err()
}

async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(3600), future).await.expect("within an hour")
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_under_way_is_not_idle() {
    let (router, mut entries, gate) = gated();
    let config = ServerConfig { idle_timeout: Duration::from_secs(5), ..ServerConfig::default() };
    let running = start_with(router, config).await;
    let (mut sender, connection) = client(running.addr, 65_535).await;
    tokio::spawn(connection);
    let (response, _) = sender.send_request(ask(), true).unwrap();
    entries.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    gate.add_permits(1);
    assert_eq!(response.await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn idle_http2_connections_do_not_lock_out_the_next_one() {
    let config = ServerConfig { connections_max: 4, ..ServerConfig::default() };
    let running = start_with(echo(), config).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let (sender, connection) = client(running.addr, 65_535).await;
        idle.push((sender, tokio::spawn(connection)));
    }
    for version in VERSIONS {
        let reply =
            send(running.addr, version, post(ECHO, &[("content-type", "application/proto")], "")).await;
        assert_eq!(reply.status().as_u16(), 200);
    }
}

/// Longer than the virtual clock advances while bytes are on their way.
const PAUSE: Duration = Duration::from_secs(5);

/// A server whose every reply asks its client to slow down.
async fn slowing() -> std::net::SocketAddr {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerConfig::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let answer = |_| async {
        let mut response = http::Response::new(http_body_util::Full::new(Bytes::from_static(b"slowly")));
        response.extensions_mut().insert(SlowDown(PAUSE));
        response
    };
    tokio::spawn(server.serve_http(answer, tokio_util::sync::CancellationToken::new(), DRAIN));
    addr
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_to_slow_down_is_answered_at_once_and_its_next_request_is_read_later() {
    let addr = slowing().await;
    let (sender, connection) = client(addr, 65_535).await;
    tokio::spawn(connection);
    let start = Instant::now();
    let ask = || async { sender.clone().send_request(ask(), true).unwrap().0.await.unwrap() };
    ask().await;
    let first = start.elapsed();
    ask().await;
    assert!(start.elapsed() >= PAUSE && first < PAUSE, "{first:?}, {:?}", start.elapsed());

    let (stream, start) = (TcpStream::connect(addr).await.unwrap(), Instant::now());
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut times = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/").header("host", "x").body(http_body_util::Full::<Bytes>::default());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        times.push(start.elapsed());
    }
    assert!(times[0] < PAUSE && times[1] >= PAUSE, "HTTP/1.1, another connection: {times:?}");
}

/// Sends a request over HTTP/2 to a server whose replies find no room and have an [`Instead`] of this many
/// bytes.
async fn replaced(bytes: usize, window: u32) -> (Response<h2::RecvStream>, SendRequest<Bytes>) {
    let budget = Budget::default();
    let config = ServerConfig { memory: memory(&budget, Bounds::halves(100)), ..ServerConfig::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = move |_: Request<hyper::body::Incoming>| async move {
        let mut instead = Response::new(Bytes::from(vec![b'x'; bytes]));
        *instead.status_mut() = StatusCode::IM_A_TEAPOT;
        instead.headers_mut().insert("via", http::HeaderValue::from_static("1.1 test"));
        let mut response = Response::new(Full::new(Bytes::from(vec![0; SMALL])));
        response.extensions_mut().insert(Instead(Arc::new(instead)));
        response
    };
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(Server::new(listener, config).serve_http(answer, stop, Duration::ZERO));
    let (mut sender, connection) = client(addr, window).await;
    tokio::spawn(connection);
    let (response, _) = sender.send_request(ask(), true).unwrap();
    (response.await.unwrap(), sender)
}

#[tokio::test]
async fn instead_of_a_reply_without_room_goes_what_its_handler_gave_for_that() {
    let (response, _sender) = replaced(INSTEAD_BYTES_MAX, 65_535).await;
    assert_eq!((response.status().as_u16(), &response.headers()["via"]), (418, &"1.1 test".parse().unwrap()));
    let mut body = response.into_body();
    let mut got = 0;
    while let Some(data) = body.data().await {
        got += data.unwrap().len();
    }
    assert_eq!(got, INSTEAD_BYTES_MAX);
    // An `Instead` that is not small itself is not sent.
    let (response, _sender) = replaced(INSTEAD_BYTES_MAX + 1, 65_535).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert!(response.into_body().is_end_stream());
}
