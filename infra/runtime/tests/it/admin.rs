//! The admin listener over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_connect::{
    ClientConfig, ClientError, Code, ConnectError, Dispatch, Drained, HttpClient, UnaryRequest, UnaryResponse,
};
use weir_runtime::{Admin, AdminToken, Readiness, Registry};

use crate::http1::{exchange, get};

const METHOD: &str = "/weir.admin.v1.EchoService/Echo";

struct Echo;

#[async_trait]
impl Dispatch for Echo {
    fn serves(&self, path: &str) -> bool {
        path == METHOD
    }

    async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError> {
        Ok(UnaryResponse { headers: HeaderMap::new(), body: request.body })
    }
}

struct Running {
    addr: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    stopping: CancellationToken,
    stop: CancellationToken,
    serving: JoinHandle<Drained>,
    token: AdminToken,
    _directory: tempfile::TempDir,
}

async fn start() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let token = AdminToken::load_or_create(&directory.path().join("admin.token")).unwrap();
    let (registry, readiness) = (Registry::new(), Readiness::new());
    let (stopping, stop) = (CancellationToken::new(), CancellationToken::new());
    let localhost = SocketAddr::from(([127, 0, 0, 1], 0));
    let admin = Admin::bind(localhost, registry.clone(), readiness.clone(), stopping.clone()).await.unwrap();
    let admin = admin.mount(Arc::new(Echo), token.clone());
    let addr = admin.local_addr().unwrap();
    let serving = tokio::spawn(admin.serve(stop.clone(), Duration::from_secs(5)));
    Running { addr, registry, readiness, stopping, stop, serving, token, _directory: directory }
}

#[tokio::test]
async fn metrics_are_exposed_as_openmetrics() {
    let running = start().await;
    running.registry.counter("weir_data_db_writes_total", "Writes").inc_by(7);
    let reply = get(running.addr, "/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    assert!(reply.body.contains("\nweir_data_db_writes_total 7\n"), "{}", reply.body);
    assert!(reply.body.ends_with("# EOF\n"), "{}", reply.body);
}

#[tokio::test]
async fn metrics_show_what_each_part_of_the_memory_holds() {
    let running = start().await;
    let part = running.registry.budget().part("replies", weir_connect::budget::Bounds::halves(100));
    let account = part.account(running.addr.ip());
    let held = account.hold(40).unwrap();
    assert!(account.hold(11).is_err());
    let reply = get(running.addr, "/metrics").await;
    for line in [
        "weir_memory_held_bytes{part=\"replies\"} 40",
        "weir_memory_held_max_bytes{part=\"replies\"} 100",
        "weir_memory_refused_total{part=\"replies\"} 1",
        // One is the connection that asks.
        "weir_memory_held_bytes{part=\"admin_connections\"} 16384",
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line}: {}", reply.body);
    }
    drop(held);
    let reply = get(running.addr, "/metrics").await;
    assert!(reply.body.contains("\nweir_memory_held_bytes{part=\"replies\"} 0\n"), "{}", reply.body);
    assert!(reply.body.contains("\nweir_memory_held_peak_bytes{part=\"replies\"} 40\n"), "{}", reply.body);
}

#[tokio::test]
async fn readiness_lists_every_reason_and_ends_when_the_stop_begins() {
    let running = start().await;
    assert_eq!(get(running.addr, "/readyz").await.status, 200);
    let store = running.readiness.register("store");
    running.readiness.register("bus").not_ready("refused \"twice\"");
    let reply = get(running.addr, "/readyz").await;
    assert_eq!(reply.status, 503);
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let expected = serde_json::json!({"ready": false, "reasons": [
        {"check": "bus", "reason": "refused \"twice\""},
        {"check": "store", "reason": "starting"},
    ]});
    assert_eq!(body, expected);
    assert_eq!(get(running.addr, "/healthz").await.status, 200, "alive, if not ready");

    store.ready();
    running.stopping.cancel();
    let reply = get(running.addr, "/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains(r#"{"check":"process","reason":"stopping"}"#), "{}", reply.body);
}

#[tokio::test]
async fn admin_methods_need_the_token_and_nothing_else_does() {
    let running = start().await;
    let client = HttpClient::new(ClientConfig::new(format!("http://{}", running.addr))).unwrap();
    let call = |authorization: Option<HeaderValue>, path| {
        let headers = authorization.map(|value| (header::AUTHORIZATION, value)).into_iter().collect();
        client.unary(path, headers, None, Bytes::from_static(b"hello"))
    };
    for wrong in [None, Some(HeaderValue::from_static("Bearer 00"))] {
        // A method that does not exist is refused in the same way, so that unauthenticated clients learn
        // nothing.
        for path in [METHOD, "/weir.admin.v1.EchoService/Absent"] {
            match call(wrong.clone(), path).await {
                Err(ClientError::Connect(error)) => {
                    assert_eq!(error.code, Code::Unauthenticated);
                    assert_eq!(error.header("www-authenticate").unwrap(), "Bearer");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let token = Some(running.token.authorization());
    assert_eq!(call(token.clone(), METHOD).await.unwrap().body, "hello");
    match call(token, "/weir.admin.v1.EchoService/Absent").await {
        Err(ClientError::Connect(error)) => assert_eq!(error.code, Code::Unimplemented),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_the_token_a_get_is_told_to_post() {
    let running = start().await;
    let authorization = running.token.authorization();
    let request = format!(
        "GET {METHOD} HTTP/1.1\r\nhost: admin\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
        authorization.to_str().unwrap()
    );
    let reply = exchange(running.addr, &request).await;
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: post"), "{}", reply.head);
}

#[tokio::test]
async fn it_stops_when_told_and_not_before() {
    let running = start().await;
    running.stopping.cancel();
    assert_eq!(get(running.addr, "/healthz").await.status, 200, "the drain can be watched");
    running.stop.cancel();
    assert_eq!(running.serving.await.unwrap(), Drained { connections_cut: 0 });
    assert!(tokio::net::TcpStream::connect(running.addr).await.is_err());
}
