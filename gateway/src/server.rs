//! The listener, the tasks behind it, and their graceful end.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_bus::{Inbox, SessionStore};
use weir_connect::Budget;
use weir_data_client::DataClient;
use weir_runtime::{Strangers, SystemClock, WallClock};

use crate::{
    GatewayConfig, GatewayMetrics, IdentifyLimits, connection,
    consume::{
        consumer::{Consumer, consume_ephemeral},
        gap::GapDetector,
    },
    data::{calls::DataCalls, guild_loader::GuildLoader},
    dispatch::member_list,
    fanout::{Fanout, ring::Ring},
    limits::{
        allowances::Allowances,
        identifies::Identifies,
        introductions::Introductions,
        memory::{self, Memory},
        places::Places,
        weight::ByteGauge,
    },
    metrics::Refusal,
    session::registry::{SessionBounds, SessionRegistry},
    shared::Shared,
    socket::upgrade,
};

/// Time between two sweeps for what has expired. A resume window can be exceeded by this much.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long interest in a guild without sessions is kept, so that a client that reconnects need not load it
/// again.
const IDLE_GUILD: Duration = Duration::from_secs(60);
/// Pause after `accept` failed, which happens when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most refusals (HTTP 503) being written at once to connections beyond the bound; further connections are
/// dropped without an answer.
const REFUSALS_MAX: usize = 64;
/// Time limit for writing such a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What a gateway needs from its process.
#[derive(Clone)]
pub struct Deps {
    /// The data service.
    pub data: DataClient,
    /// Source of records.
    pub inbox: Arc<dyn Inbox>,
    /// Where sessions are stored if the inbox is durable.
    pub sessions: Arc<dyn SessionStore>,
    /// Where the gateway counts.
    pub metrics: GatewayMetrics,
    /// The process's memory budget.
    pub budget: Budget,
}

/// Why a gateway could not start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The sessions that an earlier process left cannot be read.
    #[error("sessions of an earlier process cannot be read: {0}")]
    Sessions(#[from] weir_bus::SessionStoreError),
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every connection was told to reconnect and closed.
    Clean,
    /// The drain timeout passed, and this many connections were cut.
    Cut(usize),
}

/// A running gateway. Dropping it does not stop it: cancel the token that it was started with.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    connections: TaskTracker,
    background: TaskTracker,
    places: Arc<Places>,
}

impl Gateway {
    /// Starts a gateway on a listener; returns as soon as it accepts.
    ///
    /// # Errors
    /// [`StartError`] if the sessions of an earlier process cannot be read.
    ///
    /// # Cancel safety
    /// A dropped call has started nothing.
    pub async fn start(
        config: GatewayConfig,
        deps: Deps,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let gateway = Self::without_listener(config, deps, shutdown).await?;
        let accepting = gateway.clone();
        gateway.background.spawn(async move { accepting.accept(listener).await });
        Ok(gateway)
    }

    /// Starts a gateway that serves only the streams it is given: behind a proxy in the same process, or in a
    /// test.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    ///
    /// # Cancel safety
    /// A dropped call has started nothing.
    pub async fn without_listener(
        config: GatewayConfig,
        deps: Deps,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let Deps { data, inbox, sessions, metrics, budget } = deps;
        let durable = inbox.durable();
        // A durable log's positions go on; those of any other inbox begin with this process.
        let log_head = inbox.head();
        let head = if durable { log_head } else { 0 };
        let ring = Ring::new(head, config.ring_records_max, config.ring_bytes_max);
        let fanout = Arc::new(Fanout::new(ring, config.guild_bytes_max));
        let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
        let calls = Arc::new(DataCalls::new(data, config.call_timeout, clock.clone()));
        let guild_loader = GuildLoader::new(calls.clone(), inbox.clone(), fanout.clone());
        let registry = SessionRegistry::new(
            sessions,
            durable,
            fanout.clone(),
            metrics.clone(),
            SessionBounds {
                sessions: config.sessions_max,
                per_user: config.sessions_per_user_max,
                bytes: config.session_bytes_max,
            },
            config.resume_window,
        );
        registry.adopt_rows().await?;
        let (connections, background) = (TaskTracker::new(), TaskTracker::new());
        let gaps = GapDetector::new(config.scopes_max);
        let consumer = Consumer::new(
            inbox.clone(),
            fanout.clone(),
            calls.clone(),
            metrics.clone(),
            gaps,
            config.held_back_bytes_max,
        );
        let gauges = memory::Gauges {
            ring: fanout.ring.bytes().clone(),
            held_back: consumer.held_back().clone(),
            scopes: consumer.scopes().clone(),
            guilds: fanout.states_bytes(),
            sessions: registry.bytes(),
        };
        memory::watch(&budget, &config, gauges);
        background.spawn(consumer.run(log_head, shutdown.clone()));
        background.spawn(consume_ephemeral(fanout.clone(), inbox.subscribe_ephemeral(), shutdown.clone()));
        let places = Arc::new(Places::new(config.connections_max));
        let admissions = Semaphore::new(config.admissions_max.clamp(1, Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared {
            identifies: Identifies::new(config.identify_limits == IdentifyLimits::Discord),
            strangers: Strangers::default(),
            allowances: Allowances::new(),
            introductions: Introductions::new(&config, &metrics, &budget),
            memory: Arc::new(Memory::new(&budget, &config)),
            config,
            clock,
            calls,
            guild_loader,
            inbox,
            fanout,
            registry,
            metrics,
            admissions,
            member_list_reads: Semaphore::new(member_list::READS_MAX),
            stop: shutdown,
            replayed: ByteGauge::default(),
        });
        shared.identifies.watch(&budget);
        shared.strangers.watch(&budget, "gateway_strangers");
        shared.allowances.watch(&budget);
        background.spawn(sweep(shared.clone()));
        Ok(Self { shared, connections, background, places })
    }

    /// Serves a stream, from the first byte of its HTTP request. If all places are taken, the address with
    /// the most connections without a session loses the oldest of them; if there is none, the new connection
    /// is refused with HTTP 503.
    ///
    /// All streams served this way count as one client address where limits are kept by address; see
    /// [`Gateway::serve_peer`].
    pub fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_peer(stream, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }

    /// Serves a stream like [`Gateway::serve`], for a peer whose address is known.
    pub fn serve_peer<S>(&self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(place) = self.places.take(peer) else {
            self.shared.metrics.refused(Refusal::Full);
            if self.connections.len() < self.shared.config.connections_max + REFUSALS_MAX {
                self.connections.spawn(async move {
                    let text = "this gateway is full";
                    let _ =
                        timeout(REFUSAL_TIMEOUT, upgrade::refuse(stream, "503 Service Unavailable", text))
                            .await;
                });
            }
            return;
        };
        let shared = self.shared.clone();
        self.connections.spawn(async move {
            let held = shared.memory.connection(peer);
            shared.metrics.connections.inc();
            let open = OpenConnection(shared.clone());
            let (displaced, metrics) = (place.displaced(), shared.metrics.clone());
            tokio::select! {
                () = connection::serve(shared, stream, peer, place) => {}
                () = displaced.notified() => metrics.refused(Refusal::Displaced),
            }
            drop((held, open));
        });
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.shared.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Dispatches are small and urgent, so they are sent without delay; a socket that refuses
                    // the option still works.
                    let _ = stream.set_nodelay(true);
                    self.serve_peer(stream, peer.ip());
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Returns when the gateway was told to stop and its connections are closed, or when the drain timeout
    /// has passed.
    ///
    /// # Cancel safety
    /// Safe: it can be called again.
    pub async fn stopped(&self) -> Stopped {
        self.shared.stop.cancelled().await;
        self.connections.close();
        self.background.close();
        let drained = async {
            self.connections.wait().await;
            self.background.wait().await;
        };
        match timeout(self.shared.config.drain_timeout, drained).await {
            Ok(()) => Stopped::Clean,
            Err(_) => Stopped::Cut(self.connections.len()),
        }
    }
}

/// Takes a connection off the gauge, however its task ends.
struct OpenConnection(Arc<Shared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        shared.registry.expire(now).await;
        if let Some(before) = now.checked_sub(IDLE_GUILD) {
            shared.guild_loader.forget_idle(before).await;
        }
    }
}
