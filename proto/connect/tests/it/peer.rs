//! Every request of a connection carries its peer's address.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use weir_connect::{Peer, Server, ServerConfig};

use crate::fixture::*;

#[tokio::test]
async fn a_request_tells_its_peers_address() {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), ServerConfig::default()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let answer = |request: Request<Incoming>| async move {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string());
        Response::new(Full::new(Bytes::from(peer.unwrap_or_default())))
    };
    let serving = tokio::spawn(server.serve_http(answer, stop.clone(), Duration::from_secs(20)));
    for version in VERSIONS {
        let reply = send(addr, version, post("/", &[], Bytes::new())).await;
        assert_eq!(reply.into_body(), "127.0.0.1", "{version:?}");
    }
    stop.cancel();
    serving.await.unwrap();
}
