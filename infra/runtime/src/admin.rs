//! The admin listener: `/metrics`, `/healthz`, `/readyz`, and the operators' Connect methods behind a token.
//!
//! `/healthz` says that the process answers at all. `/readyz` says that it should get traffic; that ends as
//! soon as the stop begins, before anything is closed. The listener must be the last to stop, so that the
//! drain can be watched. Its connections are bounded as on every other listener, by [`weir_connect::Server`].
//!
//! Only the admin methods require the token. The other pages are for scrapers and probes; the listener is on
//! 127.0.0.1 unless configured otherwise.

mod readiness;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use weir_connect::{
    CONNECTION_BYTES, ConnectError, Dispatch, Drained, Endpoint, Memory, MemoryMax, MemoryNames,
    RequestLimits, Server, ServerConfig,
};

pub use readiness::{Check, NotReady, Readiness};
pub use token::{AdminToken, AdminTokenError};

use crate::Threads;
use crate::metrics::{self, Registry};

/// Most connections to the admin listener: scrapers, probes and a few operators. That is far below the
/// service's own bound, so that the listener cannot take its descriptors.
const CONNECTIONS_MAX: usize = 64;

/// The listener has parts of its own in the memory budget, so that operators are answered whatever other
/// listeners hold.
const MEMORY: MemoryNames =
    MemoryNames { connections: "admin_connections", replies: "admin_replies", bodies: "admin_bodies" };

/// 8 MiB for each part: a scrape is some 100 KiB, and a request at most [`REQUEST_BYTES_MAX`].
const MEMORY_MAX: MemoryMax = MemoryMax { replies: 8 << 20, bodies: 8 << 20 };

/// Most bytes that the listener may hold in all.
pub(crate) const MEMORY_BYTES: u64 =
    (CONNECTIONS_MAX * CONNECTION_BYTES + MEMORY_MAX.replies + MEMORY_MAX.bodies) as u64;

/// Most bytes of an admin request, which carries a limit or a channel id.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// A bound admin listener that does not serve yet.
#[derive(Debug)]
pub struct Admin {
    /// It has threads of its own, so that probes and operators do not wait behind requests to other
    /// listeners.
    threads: Threads,
    server: Server,
    routes: Router,
}

#[derive(Clone)]
struct Methods {
    endpoint: Endpoint,
    token: Arc<AdminToken>,
}

#[derive(Clone)]
struct Ready {
    readiness: Readiness,
    stopping: CancellationToken,
}

impl Admin {
    /// Binds `addr`; port 0 chooses a free one. Once `stopping` is cancelled, `/readyz` answers 503.
    ///
    /// # Errors
    /// The operating system's errors of binding and of starting threads.
    pub async fn bind(
        addr: SocketAddr,
        registry: Registry,
        readiness: Readiness,
        stopping: CancellationToken,
    ) -> io::Result<Admin> {
        let memory = Memory::of(registry.budget(), MEMORY, CONNECTIONS_MAX, MEMORY_MAX);
        let config = ServerConfig { connections_max: CONNECTIONS_MAX, memory, ..ServerConfig::default() };
        let routes = Router::new()
            .route("/metrics", get(show_metrics))
            .with_state(registry)
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(show_readiness).with_state(Ready { readiness, stopping }));
        let threads = Threads::as_processors("weir-admin")?;
        let server = threads.run(Server::bind(addr, config)).await?;
        Ok(Admin { threads, server, routes })
    }

    /// Mounts the admin methods of `dispatch`, which are answered only to requests that carry `token`.
    #[must_use]
    pub fn mount(mut self, dispatch: Arc<dyn Dispatch>, token: AdminToken) -> Admin {
        let limits = RequestLimits { request_bytes_max: REQUEST_BYTES_MAX, ..RequestLimits::default() };
        let methods = Methods { endpoint: Endpoint::new(dispatch, limits), token: Arc::new(token) };
        // Requests with other HTTP methods than POST also go to the endpoint, because it answers with a
        // Connect error that says what is wrong.
        let call = post(call_method).fallback(call_method).with_state(methods);
        self.routes = self.routes.route("/{service}/{method}", call);
        self
    }

    /// Adds other routes, such as a console's pages. They are open to everyone who can reach the listener,
    /// and must show nothing that is secret.
    ///
    /// # Panics
    /// If a route is already there.
    #[must_use]
    pub fn merge(mut self, routes: Router) -> Admin {
        self.routes = self.routes.merge(routes);
        self
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// If the operating system cannot give it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// Serves until `stop`, which should come after everything else has drained. Then drains for at most
    /// `drain`.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection at once.
    pub async fn serve(self, stop: CancellationToken, drain: Duration) -> Drained {
        let routes = self.routes.into_service::<Body>();
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            // A router is always ready, and its clone shares the routes.
            let answered = routes.clone().call(request.map(Body::new));
            async move {
                match answered.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        self.threads.run(self.server.serve_http(answer, stop, drain)).await
    }
}

async fn show_metrics(State(registry): State<Registry>) -> Response {
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    ([(header::CONTENT_TYPE, content_type)], registry.encode()).into_response()
}

async fn show_readiness(State(state): State<Ready>) -> Response {
    let mut reasons = state.readiness.reasons();
    if state.stopping.is_cancelled() {
        reasons.insert(0, NotReady { check: "process", reason: "stopping".to_owned() });
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    let content_type = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, content_type)], body.to_string()).into_response()
}

async fn call_method(State(methods): State<Methods>, request: Request) -> Response {
    // This comes before everything else, so that a client without the token does not even learn which methods
    // exist.
    if !methods.token.authorizes(request.headers()) {
        let error = ConnectError::unauthenticated("admin methods need the token of the admin token file")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return weir_connect::endpoint::failure(error).map(Body::new);
    }
    methods.endpoint.answer(request).await.map(Body::new)
}
