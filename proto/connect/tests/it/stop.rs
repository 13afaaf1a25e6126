//! The graceful stop: requests in flight finish, new ones are refused, and the drain deadline holds.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_connect::{ClientError, Drained, Server, ServerConfig};

use crate::fixture::*;

#[tokio::test]
async fn requests_in_flight_finish_over_both_versions_and_new_ones_are_not_sent() {
    let (router, mut entries, gate) = gated();
    let running = start(router).await;
    let proto = [("content-type", "application/proto")];
    let addr = running.addr;
    let http1 =
        tokio::spawn(
            async move { send(addr, Version::Http1, post(ECHO, &proto, encoded(&note("1")))).await },
        );
    let client = running.client();
    let calling = client.clone();
    let http2 =
        tokio::spawn(async move { calling.unary(ECHO, HeaderMap::new(), None, encoded(&note("2"))).await });
    for _ in 0..2 {
        entries.recv().await.unwrap();
    }
    running.stop.cancel();
    // The listener closes first. From outside, only a failing connect shows that it has.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let got = client.unary(ECHO, HeaderMap::new(), None, encoded(&note("late"))).await;
    assert!(matches!(got, Err(ClientError::NotSent(_))), "{got:?}");
    gate.add_permits(2);
    assert_eq!(http1.await.unwrap().into_body(), encoded(&note("1")));
    assert_eq!(http2.await.unwrap().unwrap().body, encoded(&note("2")));
    assert_eq!(running.serving.await.unwrap(), Drained { connections_cut: 0 });
    assert!(entries.try_recv().is_err(), "the late request reached no handler");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_stop() {
    let running = start(echo()).await;
    let silent = TcpStream::connect(running.addr).await.unwrap();
    let client = running.client();
    client.unary(ECHO, HeaderMap::new(), None, encoded(&note(""))).await.unwrap();
    running.stop.cancel();
    // The limit is far below the drain deadline and every other timeout of the server.
    let drained = tokio::time::timeout(Duration::from_secs(5), running.serving).await.unwrap();
    assert_eq!(drained.unwrap(), Drained { connections_cut: 0 });
    drop(silent);
}

#[tokio::test]
async fn the_drain_deadline_cuts_what_does_not_end() {
    let (router, mut entries, _gate) = gated();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), ServerConfig::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(Arc::new(router), stop.clone(), Duration::from_millis(20)));
    let client =
        weir_connect::HttpClient::new(weir_connect::ClientConfig::new(format!("http://{addr}"))).unwrap();
    let call =
        tokio::spawn(async move { client.unary(ECHO, HeaderMap::new(), None, encoded(&note(""))).await });
    entries.recv().await.unwrap();
    stop.cancel();
    assert_eq!(serving.await.unwrap(), Drained { connections_cut: 1 });
    // The call was being handled, so its caller must not be told that it was not.
    let got = call.await.unwrap();
    assert!(matches!(got, Err(ClientError::Unknown(_))), "{got:?}");
}
