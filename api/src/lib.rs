//! The api tier: Discord's REST API over the data service. It holds the business logic (validation, permissions, rate limits) and no state
//! that a restart would lose, so any number of it stands behind a load balancer.
//!
//! A request meets the modules in this order: `server` (connections and their bounds) → `envelope` (what every answer carries) →
//! `router` → `admission` (`auth`, then `ratelimit`) → `routes`, which read `path`, `query` and `body`, ask `access` what
//! the caller may do, and answer through `reply` or `error`. `basis` tells the data service what a
//! change rests on. `posting`, `history`, `opening`, `founding` and `memberships` are what several routes share; `credentials` and `users`
//! are caches.
//!
//! Imports point one way: `app` is what requests share and knows neither routes nor layers, most routes need of it only `data` (the data
//! service as they ask it), and `router` alone knows all of them.
//!
//! Discord's objects, the permission algorithm, validation and the error table are `weir-discord`'s; rows are the data service's. This
//! crate connects them.
//!
//! # Read your writes
//! The data service's freshness tokens are not handed on: Discord's clients have no place for them, and with one owner for each channel
//! a read that follows an acknowledged write shows it anyway. A deployment that reads from replicas would keep the token of each caller and
//! channel here.

mod access;
mod admission;
mod app;
mod arrival;
mod auth;
mod basis;
mod body;
mod bounds;
mod caller;
mod client;
mod config;
mod credentials;
mod data;
mod envelope;
mod error;
mod form;
mod founding;
mod history;
mod memberships;
mod metrics;
mod opening;
mod path;
mod posting;
mod prefix;
mod query;
mod ratelimit;
mod reply;
mod router;
mod routes;
mod server;
mod settings;
mod turns;
mod users;

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
    envelope: envelope::Envelope,
}

impl Api {
    /// A tier that answers from `data`.
    #[must_use]
    pub fn new(config: ApiConfig, data: DataClient, metrics: Metrics) -> Self {
        let app = app::App::new(config, data);
        Self { envelope: envelope::Envelope::new(app.clone(), metrics), app }
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
        server::serve(listener, router, &config.bounds, memory, stop, drain).await
    }
}
