//! Starts the tiers over one backend, and stops them in order.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weir_api::Api;
use weir_connect::Drained;
use weir_data_client::{DataClient, transport::InProcess};
use weir_data_service::{
    backend::{Backend, GatewayEnd},
    clock::SystemClock,
    node::{DataService, Parts},
    rpc::not_ready::Standby,
};
use weir_gateway::{Deps, Gateway, dependencies};
use weir_runtime::{AdminToken, Check, Readiness, Registry, running::token_file};

use super::{
    error::ServeError,
    listeners::{ListenerThreads, Listeners},
};
use crate::config::Config;

/// Part of the drain time that each listener behind the gateway gets. Requests are short, sessions are not.
const REQUEST_SHARE: u32 = 4;
/// Time for the admin listener at the very end, when only a scraper may still use it.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// The names of the tiers in `/readyz`.
pub(super) const TIERS: [&str; 3] = ["data_service", "gateway", "api"];

/// Running tiers.
pub(super) struct Tiers {
    gateway: Gateway,
    gateway_stop: CancellationToken,
    api: Serving<weir_api::Drained>,
    data_listener: Serving<Drained>,
    data: Arc<DataService>,
    data_stop: CancellationToken,
    admin: Serving<Drained>,
}

/// The listeners of the data service and the operators, served from the beginning. The services behind them
/// follow when the store is open.
pub(super) struct Doors {
    data_listener: Serving<Drained>,
    callers: Arc<Standby>,
    admin: Serving<Drained>,
    operators: Arc<Standby>,
}

impl Doors {
    /// Serves the two listeners and leaves the others bound.
    ///
    /// # Errors
    /// [`ServeError::Token`]
    pub(super) fn open(
        config: &Config,
        threads: &ListenerThreads,
        listeners: Listeners,
    ) -> Result<(Self, [TcpListener; 2]), ServeError> {
        let Listeners { api, gateway, data_service, admin, .. } = listeners;
        let token = AdminToken::load_or_create(&token_file(&config.backend.directory))?;
        let (callers, operators) = (Standby::new(), Standby::new());
        let share = config.drain / REQUEST_SHARE;
        let stop = CancellationToken::new();
        let serving = data_service.serve(Arc::clone(&callers) as _, stop.clone(), share);
        let data_listener = Serving { task: threads.data_service.spawn(serving), stop };
        let stop = CancellationToken::new();
        let admin = admin.mount(Arc::clone(&operators) as _, token);
        let admin = Serving { task: tokio::spawn(admin.serve(stop.clone(), ADMIN_DRAIN)), stop };
        Ok((Self { data_listener, callers, admin, operators }, [api, gateway]))
    }

    /// Stops serving before any service was behind the listeners.
    pub(super) async fn close(self) {
        self.data_listener.stop("data service listener").await;
        self.admin.stop("admin listener").await;
    }
}

/// A listener that is being served.
struct Serving<D> {
    task: JoinHandle<D>,
    stop: CancellationToken,
}

impl<D: Send + 'static> Serving<D> {
    /// Stops the listener and waits for its end; the listener bounds its own drain.
    async fn stop(self, tier: &'static str) -> Option<D> {
        self.stop.cancel();
        let ended = self.task.await;
        ended.inspect_err(|error| tracing::error!(%error, tier, "the tier's task failed")).ok()
    }
}

impl Tiers {
    /// Starts every tier. `config.drain` is divided among them.
    ///
    /// # Errors
    /// [`ServeError`]. Tiers that were started end with the process.
    pub(super) async fn start(
        config: &Config,
        backend: &Backend,
        threads: &ListenerThreads,
        listeners: [TcpListener; 2],
        doors: Doors,
        registry: Registry,
        (readiness, checks): (&Readiness, [Check; TIERS.len()]),
    ) -> Result<Self, ServeError> {
        let [api, gateway] = listeners;
        let (gateway_stop, data_stop) = (CancellationToken::new(), CancellationToken::new());
        let parts = Parts::over(backend, Arc::new(SystemClock), registry.clone(), readiness.clone());
        let data = DataService::open(config.data.clone(), parts, data_stop.clone()).await?;
        // The calls carry the same bytes as over HTTP, without a socket.
        let client = DataClient::new(Arc::new(InProcess::new(data.dispatch())));
        let share = config.drain / REQUEST_SHARE;

        let GatewayEnd { inbox, sessions, redis } = backend.gateway_end()?;
        if let Some(redis) = redis {
            let watching = dependencies::watch_bus(
                move || redis.connected(),
                readiness.register("bus"),
                gateway_stop.clone(),
            );
            // The task ends with the gateway.
            tokio::spawn(watching);
        }
        let metrics = weir_gateway::GatewayMetrics::new(&registry);
        let budget = registry.budget().clone();
        let deps = Deps { data: client.clone(), inbox, sessions, metrics, budget };
        let mut gateway_config = config.gateway.clone();
        gateway_config.drain_timeout = config.drain.saturating_sub(share * 2);
        let gateway = Gateway::start(gateway_config, deps, gateway, gateway_stop.clone());
        let gateway = threads.gateway.run(gateway).await?;

        let served = Api::new(config.api.clone(), client, weir_api::ApiMetrics::register(&registry));
        let stop = CancellationToken::new();
        let budget = registry.budget().clone();
        let stopping = stop.clone();
        let task = tokio::spawn(async move { served.serve(api, &budget, stopping, share).await });
        let api = Serving { task, stop };
        let Doors { data_listener, callers, admin, operators } = doors;
        callers.begin(data.dispatch());
        operators.begin(data.admin_dispatch());
        checks.iter().for_each(Check::ready);
        Ok(Self { gateway, gateway_stop, api, data_listener, data, data_stop, admin })
    }

    /// Completes with a listener's name when its task ends unexpectedly.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn ended(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.api.task => "api",
            _ = &mut self.data_listener.task => "data service listener",
            _ = &mut self.admin.task => "admin listener",
        }
    }

    /// Stops the tiers, dependent ones first. Sessions are told to reconnect while requests are still
    /// answered, requests are finished while changes are still made, and changes while the store is open. The
    /// admin listener serves until the end.
    pub(super) async fn stop(self, drain: Duration) {
        tracing::info!(?drain, "draining");
        self.gateway_stop.cancel();
        if let weir_gateway::Stopped::Cut(connections) = self.gateway.stopped().await {
            tracing::warn!(connections, "gateway connections were cut");
        }
        let api = self.api.stop("api").await.map_or(0, |drained| drained.connections_cut);
        let data = self
            .data_listener
            .stop("data service listener")
            .await
            .map_or(0, |drained| drained.connections_cut);
        if api + data > 0 {
            tracing::warn!(api, data, "connections with requests under way were cut");
        }
        self.data_stop.cancel();
        self.data.closed().await;
        self.admin.stop("admin listener").await;
    }
}
