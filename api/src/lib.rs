//! The api tier: Discord's REST API over the data service. It holds the business logic (validation, permissions, rate limits) and no state
//! that a restart would lose, so any number of it stands behind a load balancer.
//!
//! A request meets the folders in this order: `entry` (connections, what every answer carries, then within `router` who is asking and how
//! often: `ratelimit`) → `routes`, which read `request`, ask `permission` what the caller may do, share `flow` among them, ask the data
//! service through `data`, and answer through `answer`. `cache` is what is remembered of users for some seconds.
//!
//! Imports point one way: `app` is what requests share and knows neither routes nor layers, most routes need of it only `data`, and
//! `router` alone knows all of them.
//!
//! Discord's objects, the permission algorithm, validation and the error table are `weir-discord`'s; rows are the data service's. This
//! crate connects them.
//!
//! # Read your writes
//! The data service's freshness tokens are not handed on: Discord's clients have no place for them, and with one owner for each channel
//! a read that follows an acknowledged write shows it anyway. A deployment that reads from replicas would keep the token of each caller and
//! channel here.

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

pub use bounds::Bounds;
pub use config::{AddMembers, ApiConfig};
pub use metrics::Metrics;
pub use ratelimit::{Bucket, Rate, RateLimitConfig};
pub use weir_connect::Drained;

/// The names of the tier's parts in the process's memory.
const MEMORY: MemoryNames =
    MemoryNames { connections: "api_connections", replies: "api_replies", bodies: "api_bodies" };

/// The REST tier, ready to serve. Cheap to clone: clones share caches, limits and bounds.
#[derive(Clone)]
pub struct Api {
    app: app::App,
    envelope: entry::envelope::Envelope,
}

impl Api {
    /// A tier that answers from `data`.
    #[must_use]
    pub fn new(config: ApiConfig, data: DataClient, metrics: Metrics) -> Self {
        let app = app::App::new(config, data);
        Self { envelope: entry::envelope::Envelope::new(app.clone(), metrics), app }
    }

    /// Serves HTTP/1.1 and HTTP/2 with prior knowledge until `stop` is cancelled; then refuses new connections, lets requests under way
    /// finish for at most `drain`, and cuts the rest. What its clients hold counts in `budget`.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection at once. Changes under way may or may not be carried out by the data service.
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
