//! A running server, messages to send to it, and clients that show what is on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost_reflect::DescriptorPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_connect::{ClientConfig, Dispatch, Drained, HttpClient, Reply, Router, Server, ServerConfig};

pub(crate) const ECHO: &str = "/test.v1.EchoService/Echo";

/// The message that the echo method takes and gives.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint32, tag = "2")]
    pub(crate) reply_count: u32,
}

impl prost::Name for Note {
    const NAME: &'static str = "Note";
    const PACKAGE: &'static str = "test.v1";
}

/// The descriptors of the tests' messages.
pub(crate) fn contract() -> DescriptorPool {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proto");
    DescriptorPool::from_file_descriptor_set(protox::compile(["test.proto"], [proto]).unwrap()).unwrap()
}

pub(crate) fn note(text: &str) -> Note {
    Note { text: text.to_owned(), reply_count: 3 }
}

pub(crate) fn encoded(note: &Note) -> Bytes {
    prost::Message::encode_to_vec(note).into()
}

/// A router with the echo method.
pub(crate) fn echo() -> Router {
    Router::new(contract()).unary(ECHO, |_context, note: Note| async move { Ok(Reply::message(note)) })
}

/// The echo method, which reports when a call has begun, and answers when the gate gives a permit.
pub(crate) fn gated() -> (Router, mpsc::Receiver<()>, Arc<Semaphore>) {
    let (entered, entries) = mpsc::channel(8);
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let router = Router::new(contract()).unary(ECHO, move |_, note: Note| {
        let (entered, opened) = (entered.clone(), Arc::clone(&opened));
        async move {
            entered.send(()).await.unwrap();
            opened.acquire().await.unwrap().forget();
            Ok(Reply::message(note))
        }
    });
    (router, entries, gate)
}

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<Drained>,
}

/// Longest drain of a test's server. A test that passes does not wait for it, unless the test says so.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

pub(crate) async fn start_with(dispatch: impl Dispatch, config: ServerConfig) -> Running {
    start_at(SocketAddr::from(([127, 0, 0, 1], 0)), dispatch, config).await
}

pub(crate) async fn start_at(addr: SocketAddr, dispatch: impl Dispatch, config: ServerConfig) -> Running {
    let server = Server::bind(addr, config).await.unwrap();
    let addr = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(Arc::new(dispatch), stop.clone(), DRAIN));
    Running { addr, stop, serving }
}

pub(crate) async fn start(dispatch: impl Dispatch) -> Running {
    start_with(dispatch, ServerConfig::default()).await
}

impl Running {
    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::new(format!("http://{}", self.addr))
    }

    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.client_config()).unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

/// A POST with the given headers and no others of Connect's.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request(Method::POST, path, headers, body)
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// One exchange on a connection of its own, made by a stock HTTP client.
pub(crate) async fn send(
    addr: SocketAddr,
    version: Version,
    mut request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let response = match version {
        Version::Http1 => {
            let host = request.uri().authority().unwrap().to_string().parse().unwrap();
            request.headers_mut().insert("host", host);
            *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
        Version::Http2 => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// Sends raw bytes and reads until the server closes.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    // A reset instead of a close is an end too.
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}
