//! Clients that are slow, silent, many or greedy cannot hold anything for long.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use weir_connect::budget::{Bounds, Budget};
use weir_connect::{
    Body, ClientError, Code, ConnectError, Memory, NotSent, Reply, RequestLimits, Router, ServerConfig,
};

use crate::fixture::*;

const PROTO: (&str, &str) = ("content-type", "application/proto");

fn limited(requests: RequestLimits) -> ServerConfig {
    ServerConfig { requests, ..ServerConfig::default() }
}

/// Reads until the server closes the connection or resets it.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let limits = RequestLimits { request_bytes_max: 1000, ..RequestLimits::default() };
    let running = start_with(echo(), limited(limits)).await;
    let body = |bytes: usize| encoded(&note(&"x".repeat(bytes)));
    for version in VERSIONS {
        let reply = send(running.addr, version, post(ECHO, &[PROTO], body(900))).await;
        assert_eq!(reply.status().as_u16(), 200);
        let reply = send(running.addr, version, post(ECHO, &[PROTO], body(1000))).await;
        assert_eq!(reply.status().as_u16(), 429);
        let error = ConnectError::from_json(200, reply.body());
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("1000 bytes"), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_becomes_much_larger_when_it_is_decoded_is_refused_before_it_is() {
    let budget = Budget::default();
    let memory = Memory { bodies: budget.part("bodies", Bounds::halves(64 << 20)), ..Memory::default() };
    let config = ServerConfig { memory, ..ServerConfig::default() };
    let running = start_with(crate::json::kinds(), config).await;
    let json = ("content-type", "application/json");
    // Each empty message takes two bytes: 2 MiB that would become half a gigabyte.
    let many = Bytes::from([0x62_u8, 0].repeat(1 << 20));
    let written = Bytes::from(format!("{{\"inners\":[{}{{}}]}}", "{},".repeat(1 << 19)));
    for (kind, hostile) in [(PROTO, many), (json, written)] {
        for version in VERSIONS {
            let reply = send(running.addr, version, post(crate::json::KINDS, &[kind], hostile.clone())).await;
            let error = ConnectError::from_json(200, reply.body());
            assert_eq!((reply.status().as_u16(), error.code), (429, Code::ResourceExhausted));
            assert!(error.message.contains("send less at once"), "{error}");
        }
    }
    // The same number of bytes as text is accepted.
    let mut text = vec![0x3a];
    prost::encoding::encode_varint(2 << 20, &mut text);
    text.resize(text.len() + (2 << 20), b'x');
    let reply =
        send(running.addr, Version::Http2, post(crate::json::KINDS, &[PROTO], Bytes::from(text))).await;
    assert_eq!(reply.status().as_u16(), 200);
    assert_eq!(budget.usage()[0].used, 0);
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let running = start(echo()).await;
    let head = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: 99999999\r\n\r\n"
    );
    // No byte of the body is sent, and the answer arrives all the same.
    let text = raw(running.addr, head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 429 "), "{text}");
}

#[tokio::test]
async fn an_undeclared_body_is_cut_off_at_the_limit() {
    let limits = RequestLimits { request_bytes_max: 10, ..RequestLimits::default() };
    let running = start_with(echo(), limited(limits)).await;
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ntransfer-encoding: chunked\r\n\r\n\
         8\r\n12345678\r\n8\r\n12345678\r\n"
    );
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 429 "), "{text}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let running = start(echo()).await;
    let long = "x".repeat(20_000);
    let request = format!("POST {ECHO} HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let running = start(echo()).await;
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: 10\r\n\r\n12345"
    );
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 504 ") && text.contains("deadline_exceeded"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_first_request_ends_the_connection() {
    let running = start(echo()).await;
    // The client sends nothing; half of HTTP/2's preface; half of an HTTP/1.1 head.
    for first in [&b""[..], b"PRI * HTTP/2.0\r\n", b"POST / HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        stream.write_all(first).await.unwrap();
        let rest = closed(&mut stream).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_http1_connection_is_closed_after_its_request() {
    let running = start(echo()).await;
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    // It returns only because the server closes, which the client did not ask for.
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_http2_peer_that_answers_no_ping_is_dropped() {
    let running = start(echo()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    // It sends the preface and empty SETTINGS, then nothing: a live socket whose owner is gone.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_connection_too_many_takes_the_place_of_an_idle_one() {
    let config = ServerConfig { connections_max: 1, ..ServerConfig::default() };
    let running = start_with(echo(), config).await;
    let mut first = TcpStream::connect(running.addr).await.unwrap();
    let request = format!("GET {ECHO} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 405"), "{text}");
    assert!(closed(&mut first).await.is_empty());
}

/// Bytes that report when their last holder drops them.
struct Tracked(Vec<u8>, mpsc::Sender<()>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _ = self.1.try_send(());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_reply_loses_it() {
    let (released, mut releases) = mpsc::channel(2);
    let router = Router::new(contract()).unary(ECHO, move |_, _: Note| {
        // That is far more than the sockets' buffers take.
        let page = Bytes::from_owner(Tracked(vec![0; 24 << 20], released.clone()));
        async move { Ok(Reply { body: Body::<Note>::EncodedProto(page), headers: HeaderMap::new() }) }
    });
    let running = start(router).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    releases.recv().await.expect("the reply was released while the client still holds the connection");
    drop(stream);
}

#[tokio::test]
async fn bodies_in_flight_share_what_their_peer_may_hold() {
    let memory =
        Memory { bodies: Budget::default().part("bodies", Bounds::halves(3000)), ..Memory::default() };
    let (router, mut entries, gate) = gated();
    let running = start_with(router, ServerConfig { memory, ..ServerConfig::default() }).await;
    let client = running.client();
    let call = |client: weir_connect::HttpClient| async move {
        client.unary(ECHO, HeaderMap::new(), None, encoded(&note(&"x".repeat(1000)))).await
    };
    let first = tokio::spawn(call(client.clone()));
    entries.recv().await.unwrap();
    match call(client.clone()).await {
        Err(ClientError::Connect(error)) => assert_eq!(error.code, Code::Unavailable),
        other => panic!("{other:?}"),
    }
    gate.add_permits(2);
    assert!(first.await.unwrap().is_ok());
    assert!(call(client).await.is_ok(), "the first one's share was given back");
}

#[tokio::test]
async fn callers_wait_for_a_place_within_their_deadline_and_the_server_sees_only_those_in_place() {
    let (router, mut entries, gate) = gated();
    let running = start(router).await;
    let mut config = running.client_config();
    (config.connections, config.streams_per_connection) = (1, 1);
    let client = weir_connect::HttpClient::new(config).unwrap();
    let call = |timeout| {
        let client = client.clone();
        async move { client.unary(ECHO, HeaderMap::new(), timeout, encoded(&note(""))).await }
    };
    let first = tokio::spawn(call(None));
    entries.recv().await.unwrap();
    let got = call(Some(Duration::from_millis(20))).await;
    assert!(matches!(got, Err(ClientError::NotSent(NotSent::TimedOut))), "{got:?}");
    assert!(entries.try_recv().is_err(), "the one that waited was never sent");
    gate.add_permits(2);
    assert!(first.await.unwrap().is_ok());
    assert!(call(None).await.is_ok());
}
