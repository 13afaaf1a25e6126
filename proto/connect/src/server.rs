//! The HTTP server: connections, their bounds, and the graceful stop. [`crate::endpoint`] interprets the
//! requests.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share one port and are told apart by the first bytes. No client
//! can make the server hold memory without bound, whatever it does or leaves undone: connections are counted,
//! silence before the first request and between HTTP/1.1 requests is timed, bodies have their own bounds
//! ([`crate::RequestLimits`]), a peer that stops reading is dropped after a stalled write, and HTTP/2 peers
//! must answer pings.

mod config;
mod connected;
mod connection;
mod memory;
mod places;
mod sent;
mod slow;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatch;
use crate::endpoint::Endpoint;
use crate::listen::listen;
use crate::log_gate::LogGate;
use connected::{CoarseClock, Connected};
use connection::Protocols;
use places::Places;

pub use config::ServerConfig;
pub use connected::{BodyAccount, Peer};
pub use memory::{CONNECTION_BYTES, Memory, MemoryMax, MemoryNames};
pub use sent::{ChargeTo, INSTEAD_BYTES_MAX, Instead, KeepUntilSent, SlowDown};

/// How long the accept loop waits after a failed accept. Such failures (out of descriptors) last until
/// connections close, and retrying at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How often failures of one kind are logged: a process without free descriptors fails twenty times a second.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How often the timer driver wakes while there are connections. Its only use is to keep the driver's next
/// wake near.
///
/// tokio interrupts the driver (a write to an eventfd and a spurious wake) whenever a timer is set that is
/// due before the driver's next wake, and each request whose body or reply is not there at once sets a timer
/// for its deadline. Without a tick the next wake is a keep-alive far beyond any deadline, so that nearly
/// every request interrupted: counted with strace under `benches/unary.rs`, 1.75 such writes for each request
/// with its then two timers, and 0.03 with this tick. Deadlines below the tick still do. 50 ms is below the
/// deadlines that callers usually set, and twenty wakes a second cost nothing.
const TIMER_TICK: Duration = Duration::from_millis(50);

/// The outcome of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because the drain deadline passed; 0 after a clean stop.
    pub connections_cut: usize,
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: ServerConfig,
}

impl Server {
    /// Binds `addr`; port 0 chooses a free one.
    ///
    /// # Errors
    /// The operating system's errors of binding.
    pub async fn bind(addr: SocketAddr, config: ServerConfig) -> io::Result<Server> {
        Ok(Server::new(listen(addr)?, config))
    }

    /// A server on a listener that is already bound.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Server {
        Server { listener, config }
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// If the operating system cannot give it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers Connect calls from `dispatch` until `stop` is cancelled; see [`Server::serve_http`] for how it
    /// stops.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection at once.
    pub async fn serve(
        self,
        dispatch: Arc<dyn Dispatch>,
        stop: CancellationToken,
        drain: Duration,
    ) -> Drained {
        let endpoint = Endpoint::new(dispatch, self.config.requests.clone());
        let answer = move |mut request: Request<Incoming>, peer: &Connected| {
            request.extensions_mut().insert(peer.bodies.clone());
            // Boxed because hyper moves a call's future several times before it runs.
            Box::pin(endpoint.answer(request))
        };
        self.run(answer, stop, drain).await
    }

    /// Answers any HTTP requests with the same bounds on connections, for listeners that carry more than
    /// Connect calls. [`ServerConfig::requests`] does not apply: it is Connect's.
    ///
    /// Requests carry [`Peer`] and [`BodyAccount`] in their extensions. Replies may carry [`KeepUntilSent`],
    /// [`ChargeTo`], [`SlowDown`] and [`Instead`]. A reply for which there is no room becomes 503.
    ///
    /// When `stop` is cancelled, the server refuses new connections, lets requests in flight finish for at
    /// most `drain`, and then cuts the connections that are left.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection at once.
    pub async fn serve_http<A, F, B>(self, answer: A, stop: CancellationToken, drain: Duration) -> Drained
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let with_peer = move |mut request: Request<Incoming>, peer: &Connected| {
            request.extensions_mut().insert(peer.addr);
            request.extensions_mut().insert(peer.bodies.clone());
            answer(request)
        };
        self.run(with_peer, stop, drain).await
    }

    async fn run<A, F, B>(self, answer: A, stop: CancellationToken, drain: Duration) -> Drained
    where
        A: Fn(Request<Incoming>, &Connected) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Server { listener, config } = self;
        let (connections_max, memory) = (config.connections_max, config.memory.clone());
        let (started, clock) = (Instant::now(), CoarseClock::default());
        let mut places = Places::default();
        let log = LogGate::new(LOG_EVERY);
        let protocols = Arc::new(Protocols::new(config));
        let mut connections = JoinSet::new();
        loop {
            clock.set(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next_with_id() => {
                    places.leave(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = tokio::time::sleep(TIMER_TICK), if !connections.is_empty() => {}
                (stream, addr) = accept(&listener, &log) => {
                    let peer = Arc::new(Connected::new(addr, &memory, clock.clone()));
                    if places.taken() >= connections_max && !places.make_room(&peer) {
                        // Closing informs the client at once; in the backlog it would wait for nothing.
                        if let Some(held_back) = log.pass("full", Instant::now()) {
                            tracing::warn!(connections_max, held_back, "connection refused: too many are at work");
                        }
                        continue;
                    }
                    let protocols = Arc::clone(&protocols);
                    // It is a child token, because every wake of a connection takes its token's lock.
                    let stop = stop.child_token();
                    let serving = connection::serve(stream, Arc::clone(&peer), protocols, answer.clone(), stop);
                    places.take(peer, connections.spawn(serving));
                }
            }
        }
        // The listener closes before the drain, so that new connections are refused and their callers know
        // that nothing was sent.
        drop(listener);
        let drained = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} });
        let connections_cut = match drained.await {
            Ok(()) => 0,
            Err(_elapsed) => connections.len(),
        };
        connections.shutdown().await;
        Drained { connections_cut }
    }
}

/// Accepts the next connection and prepares it for small replies. Waits through failures of accepting, which
/// are the process's own and pass.
async fn accept(listener: &TcpListener, log: &LogGate) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Replies are written whole; Nagle's delay would only add to their latency.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was not set");
                }
                return (stream, peer);
            }
            Err(error) => {
                if let Some(held_back) = log.pass("accept", Instant::now()) {
                    tracing::warn!(%error, held_back, "accept failed");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
