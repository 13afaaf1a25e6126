//! The api tier: Discord's REST API over the data service. It holds the business logic (validation,
//! permissions, rate limits) and no state that a restart would lose, so any number of processes may stand
//! behind a load balancer.
//!
//! A request passes the folders in this order: `entry` accepts connections and gives every answer its common
//! headers, then within `router` it finds out who is asking and how often (`ratelimit`). The `routes` read
//! the `request`, ask `permission` what the caller may do, share `flow` among them, ask the data service
//! through `data`, and answer through `answer`. `cache` keeps tokens and users for some seconds.
//!
//! Imports point one way. `app` is what requests share and knows neither routes nor layers; most routes need
//! only `data` of it. `router` alone knows all of them.
//!
//! `weir-discord` has Discord's objects, the permission algorithm, validation and the error table; the data
//! service has the rows. This crate connects them.
//!
//! # Read your writes
//! The data service's freshness tokens are not passed on to clients: Discord's protocol has no place for
//! them, and as each channel has one owner, a read that follows an acknowledged write shows it anyway. A
//! deployment that reads from replicas would keep the token of each caller and channel here.

mod answer;
mod app;
mod bounds;
mod cache;
mod config;
mod data;
mod entry;
mod flow;
mod metrics;
mod permission;
mod ratelimit;
mod request;
mod router;
mod routes;
mod settings;
mod turns;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_connect::{Budget, Memory, MemoryNames};
use weir_data_client::DataClient;

pub use bounds::ApiBounds;
pub use config::{AddMembers, ApiConfig};
pub use metrics::ApiMetrics;
pub use ratelimit::{Rate, RateLimitConfig, RouteBucket};
pub use weir_connect::Drained;

/// The names that the memory budget shows for the tier's parts.
const MEMORY: MemoryNames =
    MemoryNames { connections: "api_connections", replies: "api_replies", bodies: "api_bodies" };

/// The REST tier, ready to serve. Clones share caches, limits and bounds.
#[derive(Clone)]
pub struct Api {
    app: app::App,
    envelope: entry::envelope::Envelope,
}

impl Api {
    /// A tier that answers from `data`.
    #[must_use]
    pub fn new(config: ApiConfig, data: DataClient, metrics: ApiMetrics) -> Self {
        let app = app::App::new(config, data);
        Self { envelope: entry::envelope::Envelope::new(app.clone(), metrics), app }
    }

    /// Serves HTTP/1.1, and HTTP/2 with prior knowledge, until `stop` is cancelled. Then it refuses new
    /// connections, lets requests under way finish for at most `drain`, and cuts the rest. The memory that
    /// its clients hold counts in `budget`.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection at once. The data service may or may not carry out changes
    /// under way.
    pub async fn serve(
        self,
        listener: TcpListener,
        budget: &Budget,
        stop: CancellationToken,
        drain: Duration,
    ) -> Drained {
        let config = &self.app.config;
        self.app.watch(budget);
        let memory = Memory::of(budget, MEMORY, config.bounds.connections_max, config.memory);
        let router = router::router(&self.app, &self.envelope);
        entry::server::serve(listener, router, &config.bounds, memory, stop, drain).await
    }
}
