//! Every way in which a request is refused: the status, the code, and the headers that the protocol or HTTP
//! asks for.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use weir_connect::{Body, ClientError, Code, ConnectError, Reply, Router};

use crate::fixture::*;

const PROTO: (&str, &str) = ("content-type", "application/proto");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends over both versions and gives the error, after checking that it is well-formed Connect and has
/// `status`.
async fn refused(running: &Running, request: Request<Full<Bytes>>, status: u16) -> (ConnectError, HeaderMap) {
    let mut errors = Vec::new();
    for version in VERSIONS {
        let reply = send(running.addr, version, request.clone()).await;
        assert_eq!(reply.status().as_u16(), status, "{version:?} {reply:?}");
        assert_eq!(header(reply.headers(), "content-type"), "application/json");
        // This status implies no code, so the code can only come from the body.
        let error = ConnectError::from_json(200, reply.body());
        assert_ne!(error.code, Code::Unknown, "{reply:?}");
        errors.push((error, reply.headers().clone()));
    }
    assert_eq!(errors[0].0, errors[1].0);
    errors.swap_remove(0)
}

#[tokio::test]
async fn paths_methods_and_content_types() {
    let running = start(echo()).await;
    for path in ["/test.v1.EchoService/Absent", "/", "/test.v1.echoservice/echo"] {
        let (error, _) = refused(&running, post(path, &[PROTO], ""), 404).await;
        assert_eq!(error.code, Code::Unimplemented);
    }
    let get = request(Method::GET, &format!("{ECHO}?encoding=json&message=%7B%7D"), &[], "");
    let (error, headers) = refused(&running, get, 405).await;
    assert_eq!((error.code, header(&headers, "allow")), (Code::Unimplemented, "POST"));

    for wrong in
        [&[][..], &[("content-type", "application/grpc")], &[("content-type", "application/connect+proto")]]
    {
        let (error, headers) = refused(&running, post(ECHO, wrong, ""), 415).await;
        assert_eq!(error.code, Code::Unimplemented);
        assert_eq!(header(&headers, "accept-post"), "application/proto, application/json");
    }
}

#[tokio::test]
async fn protocol_headers() {
    let running = start(echo()).await;
    let (error, _) =
        refused(&running, post(ECHO, &[PROTO, ("connect-protocol-version", "2")], ""), 400).await;
    assert_eq!(error.code, Code::InvalidArgument);
    for wrong in ["1s", "-1", "12345678901"] {
        let (error, _) =
            refused(&running, post(ECHO, &[PROTO, ("connect-timeout-ms", wrong)], ""), 400).await;
        assert_eq!(error.code, Code::InvalidArgument);
    }
    let (error, _) = refused(&running, post(ECHO, &[PROTO, ("content-encoding", "zstd")], ""), 501).await;
    assert_eq!(error.code, Code::Unimplemented);
    assert!(error.message.contains("identity, gzip"), "{error}");
}

#[tokio::test]
async fn bodies_that_are_not_the_message() {
    let running = start(echo()).await;
    for (content_type, body) in [
        (PROTO, &b"\xff\xff\xff"[..]),
        (JSON, b"{\"text\":"),
        (JSON, b""),
        (JSON, b"{\"text\":7}"),
        (JSON, b"null"),
    ] {
        let (error, _) = refused(&running, post(ECHO, &[content_type], body), 400).await;
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.starts_with("body is not this method's"), "{error}");
    }
    let gzip = [PROTO, ("content-encoding", "gzip")];
    let (error, _) = refused(&running, post(ECHO, &gzip, "not gzip"), 400).await;
    assert_eq!(error.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_handlers_error_arrives_whole() {
    let router = Router::new(contract()).unary(ECHO, |_, note: Note| async move {
        let explain = HeaderName::from_static("trailer-weir-explain");
        let error = ConnectError::resource_exhausted("channel limit")
            .with_detail("test.v1.Note", &note)
            .with_header(explain, HeaderValue::from_static("refused"));
        Err::<Reply<Note>, _>(error)
    });
    let running = start(router).await;
    let (error, headers) = refused(&running, post(ECHO, &[PROTO], encoded(&note("why"))), 429).await;
    assert_eq!(error.detail::<Note>("test.v1.Note"), Some(note("why")));
    assert_eq!(header(&headers, "trailer-weir-explain"), "refused");

    match running.client().unary(ECHO, HeaderMap::new(), None, encoded(&note("why"))).await {
        Err(ClientError::Connect(error)) => {
            assert_eq!((error.code, error.message.as_str()), (Code::ResourceExhausted, "channel limit"));
            assert_eq!(error.detail::<Note>("test.v1.Note"), Some(note("why")));
            assert_eq!(error.detail::<Note>("test.v1.Other"), None);
            assert_eq!(error.header("trailer-weir-explain").unwrap(), "refused");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_code_reaches_the_client_as_itself() {
    let router = Router::new(contract()).unary(ECHO, |_, note: Note| async move {
        Err::<Reply<Note>, _>(ConnectError::new(Code::from_wire(&note.text).unwrap(), "as asked"))
    });
    let running = start(router).await;
    let client = running.client();
    for code in Code::ALL {
        match client.unary(ECHO, HeaderMap::new(), None, encoded(&note(code.as_str()))).await {
            Err(ClientError::Connect(error)) => assert_eq!(error.code, code),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_panic_is_internal_and_tells_nothing() {
    let router = Router::new(contract()).unary(ECHO, |_, note: Note| async move {
        assert!(note.text == "fine", "secret {}", note.text);
        Ok(Reply::message(note))
    });
    let running = start(router).await;
    let (error, _) = refused(&running, post(ECHO, &[PROTO], encoded(&note("password"))), 500).await;
    assert_eq!((error.code, error.message.as_str()), (Code::Internal, "the handler failed"));
    // The connection and the method can still be used.
    let client = running.client();
    assert!(client.unary(ECHO, HeaderMap::new(), None, encoded(&note("password"))).await.is_err());
    assert!(client.unary(ECHO, HeaderMap::new(), None, encoded(&note("fine"))).await.is_ok());
}

#[tokio::test]
async fn a_broken_cached_page_is_internal_for_json() {
    let router = Router::new(contract()).unary(ECHO, |_, _: Note| async move {
        Ok(Reply { body: Body::<Note>::EncodedProto(Bytes::from_static(b"\xff")), headers: HeaderMap::new() })
    });
    let running = start(router).await;
    let (error, _) = refused(&running, post(ECHO, &[JSON], "{}"), 500).await;
    assert_eq!(error.code, Code::Internal);
}
