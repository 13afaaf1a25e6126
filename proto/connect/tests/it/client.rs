//! How the client classifies errors, tested against an HTTP/2 server that misbehaves frame by frame.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_connect::{ClientConfig, ClientError, Code, HttpClient, Lost, NotSent, ServerConfig, UnaryResponse};

use crate::fixture::*;

type Outcome = Result<UnaryResponse, ClientError>;

async fn listen() -> (TcpListener, HttpClient) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = client_of(listener.local_addr().unwrap());
    (listener, client)
}

fn client_of(addr: SocketAddr) -> HttpClient {
    let mut config = ClientConfig::new(format!("http://{addr}"));
    config.connections = 1;
    HttpClient::new(config).unwrap()
}

fn call(client: &HttpClient) -> JoinHandle<Outcome> {
    let client = client.clone();
    tokio::spawn(async move { client.unary(ECHO, HeaderMap::new(), None, encoded(&note("x"))).await })
}

/// The server's side of the next connection.
async fn accept(listener: &TcpListener) -> Connection<TcpStream, Bytes> {
    let (stream, _) = listener.accept().await.unwrap();
    h2::server::handshake(stream).await.unwrap()
}

type Stream = (Request<RecvStream>, SendResponse<Bytes>);

async fn stream(connection: &mut Connection<TcpStream, Bytes>) -> Stream {
    connection.accept().await.unwrap().unwrap()
}

/// Drives a connection until its peer ends it or we do.
async fn finish(mut connection: Connection<TcpStream, Bytes>) {
    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
}

/// The outcome of a call that is answered by `status`, headers and body.
async fn answered(status: u16, content_type: &str, body: &'static str) -> ClientError {
    let (listener, client) = listen().await;
    let outcome = call(&client);
    let mut connection = accept(&listener).await;
    let (_request, mut respond) = stream(&mut connection).await;
    let head = Response::builder().status(status).header("content-type", content_type).body(()).unwrap();
    respond.send_response(head, false).unwrap().send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    let driving = tokio::spawn(finish(connection));
    let error = outcome.await.unwrap().expect_err("not a Connect success");
    driving.abort();
    error
}

#[tokio::test]
async fn a_refused_connection_is_not_sent_and_backs_off() {
    let (listener, client) = listen().await;
    drop(listener);
    match call(&client).await.unwrap() {
        Err(ClientError::NotSent(NotSent::Connect(error))) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
    match call(&client).await.unwrap() {
        Err(ClientError::NotSent(NotSent::BackingOff { retry_after })) => {
            assert!(retry_after <= Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let running = start(echo()).await;
    let addr = running.addr;
    let client = client_of(addr);
    assert!(call(&client).await.unwrap().is_ok());
    running.stop.cancel();
    running.serving.await.unwrap();
    assert!(matches!(call(&client).await.unwrap(), Err(ClientError::NotSent(_))));
    let _again = start_at(addr, echo(), ServerConfig::default()).await;
    // Until the pause is over, every attempt must report that it was not sent, and the pause must end within
    // its bound.
    let found = async {
        loop {
            match call(&client).await.unwrap() {
                Ok(_) => break,
                Err(ClientError::NotSent(NotSent::BackingOff { retry_after })) => {
                    tokio::time::sleep(retry_after).await;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_the_connect_times_out() {
    // A listener whose backlog is full drops further SYNs, so connecting hangs as it does towards a dead
    // host.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(addr)).await);
    }
    match call(&client_of(addr)).await.unwrap() {
        Err(ClientError::NotSent(NotSent::ConnectTimedOut(after))) => {
            assert_eq!(after, Duration::from_secs(1))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_stream_is_not_sent() {
    let (listener, client) = listen().await;
    let outcome = call(&client);
    let mut connection = accept(&listener).await;
    let (_request, mut respond) = stream(&mut connection).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    tokio::spawn(finish(connection));
    let got = outcome.await.unwrap();
    assert!(matches!(got, Err(ClientError::NotSent(NotSent::Refused(_)))), "{got:?}");
}

#[tokio::test]
async fn any_other_reset_is_unknown() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::NO_ERROR] {
        let (listener, client) = listen().await;
        let outcome = call(&client);
        let mut connection = accept(&listener).await;
        let (_request, mut respond) = stream(&mut connection).await;
        respond.send_reset(reason);
        tokio::spawn(finish(connection));
        let got = outcome.await.unwrap();
        assert!(matches!(got, Err(ClientError::Unknown(Lost::Connection(_)))), "{reason}: {got:?}");
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_unknown() {
    let (listener, client) = listen().await;
    let outcome = call(&client);
    let mut connection = accept(&listener).await;
    let taken = stream(&mut connection).await;
    drop(connection);
    drop(taken);
    let got = outcome.await.unwrap();
    assert!(matches!(got, Err(ClientError::Unknown(Lost::Connection(_)))), "{got:?}");
}

/// GOAWAY that names the first stream as the last one: the first may have been processed, the second was not.
#[tokio::test]
async fn goaway_parts_the_streams_that_were_taken_from_those_that_were_not() {
    let (listener, client) = listen().await;
    let first = call(&client);
    let mut peer = BarePeer::accept(&listener).await;
    peer.until_end_of(1).await;
    let second = call(&client);
    peer.until_end_of(3).await;
    let last_stream_and_no_error = [0, 0, 0, 1, 0, 0, 0, 0];
    peer.write(GOAWAY, 0, &last_stream_and_no_error).await;
    let got = second.await.unwrap();
    assert!(matches!(got, Err(ClientError::NotSent(NotSent::Refused(_)))), "second: {got:?}");
    assert!(!first.is_finished(), "the first may still be answered");
    drop(peer);
    let got = first.await.unwrap();
    assert!(matches!(got, Err(ClientError::Unknown(Lost::Connection(_)))), "first: {got:?}");
}

#[tokio::test]
async fn after_goaway_the_request_in_flight_is_answered_and_the_next_gets_a_new_connection() {
    let (listener, client) = listen().await;
    let first = call(&client);
    let mut connection = accept(&listener).await;
    let (_request, mut respond) = stream(&mut connection).await;
    connection.graceful_shutdown();
    let head = Response::builder().header("content-type", "application/proto").body(()).unwrap();
    respond.send_response(head, false).unwrap().send_data(encoded(&note("late")), true).unwrap();
    tokio::spawn(finish(connection));
    assert_eq!(first.await.unwrap().unwrap().body, encoded(&note("late")));

    let second = call(&client);
    let mut connection = accept(&listener).await;
    let (_request, mut respond) = stream(&mut connection).await;
    let head = Response::builder().header("content-type", "application/proto").body(()).unwrap();
    respond.send_response(head, true).unwrap();
    tokio::spawn(finish(connection));
    assert!(second.await.unwrap().is_ok());
}

/// The one race that [`NotSent`] depends on: an empty message must not let HEADERS end the stream.
#[tokio::test]
async fn headers_never_end_the_stream() {
    let (listener, client) = listen().await;
    tokio::spawn(async move { client.unary(ECHO, HeaderMap::new(), None, Bytes::new()).await });
    let frames = BarePeer::accept(&listener).await.until_end_of(1).await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert_eq!((frames[0].kind, frames[0].flags & END_STREAM), (HEADERS, 0));
    assert_eq!((frames[1].kind, frames[1].flags & END_STREAM), (DATA, END_STREAM));
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;

/// A frame's head.
#[derive(Debug)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// An HTTP/2 server written by hand, for what the library would not do: it sends every frame when the test
/// says so.
struct BarePeer(TcpStream);

impl BarePeer {
    async fn accept(listener: &TcpListener) -> BarePeer {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_exact(&mut [0; 24]).await.unwrap();
        let mut peer = BarePeer(tcp);
        peer.write(SETTINGS, 0, &[]).await;
        peer
    }

    async fn write(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let connection = [0; 4];
        let frame = [&[0, 0, length, kind, flags][..], &connection, payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// Reads until `stream` ends; gives the frames of that stream.
    async fn until_end_of(&mut self, stream: u32) -> Vec<Head> {
        let mut frames = Vec::new();
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.0.read_exact(&mut vec![0; length as usize]).await.unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let head = Head { kind: head[3], flags: head[4], stream: id };
            if head.stream == stream {
                let ended = matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0;
                frames.push(head);
                if ended {
                    return frames;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_hangs_up_is_left_alone_for_a_while() {
    let (listener, client) = listen().await;
    let hanging_up = tokio::spawn(async move {
        let mut connections = 0_u32;
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            connections += 1;
            if connections == 50 {
                break;
            }
        }
    });
    // Whichever way the client finds out, some call is soon refused without another connection.
    let backed_off = async {
        loop {
            match call(&client).await.unwrap() {
                Err(ClientError::NotSent(NotSent::BackingOff { .. })) => break,
                Err(ClientError::NotSent(_) | ClientError::Unknown(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), backed_off).await.unwrap();
    assert!(!hanging_up.is_finished());
    hanging_up.abort();
}

#[tokio::test]
async fn callers_that_come_together_share_one_connection() {
    let (listener, client) = listen().await;
    let calls: Vec<_> = (0..20).map(|_| call(&client)).collect();
    let mut connection = accept(&listener).await;
    for _ in 0..20 {
        let (_request, mut respond) = stream(&mut connection).await;
        let head = Response::builder().header("content-type", "application/proto").body(()).unwrap();
        respond.send_response(head, true).unwrap();
    }
    let driving = tokio::spawn(finish(connection));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    driving.abort();
    let another = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(another.is_err(), "a second connection was made");
}

#[tokio::test]
async fn a_caller_who_leaves_while_connecting_leaves_the_attempt_to_others() {
    let (listener, client) = listen().await;
    let leaving = call(&client);
    let staying = call(&client);
    tokio::task::yield_now().await;
    leaving.abort();
    let _ = leaving.await;
    let mut connection = accept(&listener).await;
    let answering = tokio::spawn(async move {
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let head = Response::builder().header("content-type", "application/proto").body(()).unwrap();
            let _ = respond.send_response(head, true);
        }
    });
    assert!(staying.await.unwrap().is_ok());
    answering.abort();
}

#[tokio::test]
async fn replies_of_other_http_servers_are_understood_as_far_as_they_go() {
    match answered(502, "text/html", "<html>").await {
        ClientError::Connect(error) => assert_eq!(error.code, Code::Unavailable),
        other => panic!("{other:?}"),
    }
    match answered(404, "application/json", "{\"code\":\"not_found\",\"message\":\"m\"}").await {
        ClientError::Connect(error) => {
            assert_eq!((error.code, error.message.as_str()), (Code::NotFound, "m"));
        }
        other => panic!("{other:?}"),
    }
    match answered(200, "text/html", "<html>").await {
        ClientError::Unknown(Lost::NotConnect { content_type }) => assert_eq!(content_type, "text/html"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_cut_off() {
    let running = start(echo()).await;
    let mut config = running.client_config();
    config.reply_bytes_max = 100;
    let client = HttpClient::new(config).unwrap();
    let outcome = client.unary(ECHO, HeaderMap::new(), None, encoded(&note(&"x".repeat(200)))).await;
    assert!(matches!(outcome, Err(ClientError::Unknown(Lost::ReplyTooLarge { max: 100 }))), "{outcome:?}");
    assert!(client.unary(ECHO, HeaderMap::new(), None, encoded(&note("x"))).await.is_ok());
}

#[tokio::test]
async fn a_path_that_is_none_is_not_sent() {
    let (_listener, client) = listen().await;
    match client.unary("no slash", HeaderMap::new(), None, Bytes::new()).await {
        Err(ClientError::NotSent(NotSent::InvalidPath { path })) => assert_eq!(path, "no slash"),
        other => panic!("{other:?}"),
    }
}
