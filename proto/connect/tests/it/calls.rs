//! Calls that succeed, as stock clients make them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use weir_connect::{Body, Codec, Dispatch, Reply, Router, UnaryRequest};

use crate::fixture::*;

#[tokio::test]
async fn both_codecs_over_both_versions() {
    let running = start(echo()).await;
    for version in VERSIONS {
        let proto = [("content-type", "application/proto"), ("connect-protocol-version", "1")];
        let reply = send(running.addr, version, post(ECHO, &proto, encoded(&note("hi")))).await;
        assert_eq!(
            (reply.status().as_u16(), header(reply.headers(), "content-type")),
            (200, "application/proto")
        );
        assert_eq!(Note::decode(reply.into_body()).unwrap(), note("hi"));

        let json = [("content-type", "application/json; charset=utf-8")];
        let reply = send(running.addr, version, post(ECHO, &json, r#"{"text":"hi","replyCount":3}"#)).await;
        assert_eq!(
            (reply.status().as_u16(), header(reply.headers(), "content-type")),
            (200, "application/json")
        );
        assert_eq!(reply.into_body(), r#"{"text":"hi","replyCount":3}"#);
    }
}

/// Two requests on one connection, byte for byte as curl sends them.
#[tokio::test]
async fn a_curl_like_request_over_plain_http1() {
    let running = start(echo()).await;
    let one = format!(
        "POST {ECHO} HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         Content-Length: 13\r\n\r\n{{\"text\":\"hi\"}}",
        running.addr
    );
    let two = one.replace("Accept: */*", "Connection: close");
    let text = raw(running.addr, format!("{one}{two}").as_bytes()).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    assert_eq!(text.matches("{\"text\":\"hi\"}").count(), 2, "{text}");
    assert!(text.contains("content-type: application/json\r\n"), "{text}");
    assert!(text.contains("content-length: 13\r\n"), "{text}");
}

/// curl waits for "100 Continue" before it sends a large body.
#[tokio::test]
async fn expect_continue_is_answered() {
    let running = start(echo()).await;
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    );
    let text = raw(running.addr, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{text}");
}

#[tokio::test]
async fn gzip_requests_are_understood() {
    let running = start(echo()).await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&encoded(&note("compressed"))).unwrap();
    let headers = [("content-type", "application/proto"), ("content-encoding", "gzip")];
    let reply = send(running.addr, Version::Http2, post(ECHO, &headers, gzip.finish().unwrap())).await;
    assert_eq!(Note::decode(reply.into_body()).unwrap(), note("compressed"));
}

#[tokio::test]
async fn our_client_sends_what_the_protocol_asks_for() {
    let router = Router::new(contract()).unary(ECHO, |context, note: Note| async move {
        let seen = ["content-type", "connect-protocol-version", "x-mine"];
        let seen = seen.map(|name| header(&context.headers, name).to_owned());
        assert_eq!(seen, ["application/proto", "1", "7"]);
        assert!(header(&context.headers, "connect-timeout-ms").parse::<u64>().unwrap() <= 10_000);
        let trailer = HeaderName::from_static("trailer-weir-explain");
        Ok(Reply::message(note).with_header(trailer, HeaderValue::from_static("hit")))
    });
    let running = start(router).await;
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-mine"), HeaderValue::from_static("7"))]);
    let reply = running.client().unary(ECHO, headers, None, encoded(&note("x"))).await.unwrap();
    assert_eq!(Note::decode(reply.body.clone()).unwrap(), note("x"));
    assert_eq!(header(&reply.headers, "trailer-weir-explain"), "hit");
}

#[tokio::test]
async fn empty_messages_travel() {
    let running = start(echo()).await;
    let reply = running.client().unary(ECHO, HeaderMap::new(), None, Bytes::new()).await.unwrap();
    assert_eq!(Note::decode(reply.body).unwrap(), Note::default());
}

/// A cached page must be the very same bytes for a protobuf caller, and readable for a JSON caller.
#[tokio::test]
async fn an_encoded_reply_is_shared_for_proto_and_rewritten_for_json() {
    let page = encoded(&note("cached"));
    let cached = page.clone();
    let router = Router::new(contract()).unary(ECHO, move |_, _: Note| {
        let cached = cached.clone();
        async move { Ok(Reply { body: Body::<Note>::EncodedProto(cached), headers: HeaderMap::new() }) }
    });
    // Through the interface itself, as the in-process transport calls it, so that the bytes can be compared
    // by address.
    let call = |codec, body: &'static [u8]| {
        router.call(UnaryRequest {
            path: ECHO.into(),
            codec,
            headers: HeaderMap::new(),
            timeout: None,
            body: Bytes::from_static(body),
        })
    };
    let proto = call(Codec::Proto, b"").await.unwrap();
    assert_eq!((proto.body.as_ptr(), proto.body.len()), (page.as_ptr(), page.len()));
    let json = call(Codec::Json, b"{}").await.unwrap();
    assert_eq!(json.body, r#"{"text":"cached","replyCount":3}"#);
}

#[tokio::test]
async fn routers_merge() {
    let other =
        Router::new(contract()).unary("/test.v1.Other/Do", |_, note: Note| async move { Ok(note.into()) });
    let running = start(echo().merge(other)).await;
    let client = running.client();
    for path in [ECHO, "/test.v1.Other/Do"] {
        let reply = client.unary(path, HeaderMap::new(), None, encoded(&note(path))).await.unwrap();
        assert_eq!(Note::decode(reply.body).unwrap(), note(path));
    }
}

#[test]
fn a_path_that_is_taken_or_malformed_is_a_mistake_in_the_program() {
    let panics = |make: fn() -> Router| std::panic::catch_unwind(make).is_err();
    assert!(panics(|| echo().merge(echo())));
    assert!(panics(|| echo().unary(ECHO, |_, note: Note| async move { Ok(note.into()) })));
    assert!(panics(
        || Router::new(contract()).unary("NoSlash", |_, note: Note| async move { Ok(note.into()) })
    ));
}
