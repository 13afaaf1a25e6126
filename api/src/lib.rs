//! The api tier: Discord's REST API over the data service.
mod config;
mod metrics;
mod ratelimit;
mod server;
pub use config::{ApiConfig, Bounds, Rate, RateLimitConfig};
pub use metrics::Metrics;
pub use ratelimit::Bucket;
pub use server::Drained;
