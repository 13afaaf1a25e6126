//! What the tier counts. Labels are route templates and status numbers: both sets are fixed, whatever strangers send.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Label of requests that no route matched.
pub(crate) const UNMATCHED: &str = "unmatched";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    route: String,
}

/// Counters and histograms of the api tier. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Served, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Registers `weir_api_requests_total{route,status}` and `weir_api_request_seconds{route}`; `route` is a method and a path template
    /// without its version.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { requests: Family::default(), seconds: Family::new_with_constructor(latency_histogram) };
        registry.register("weir_api_requests", "Requests answered, by route and status", metrics.requests.clone());
        registry.register(
            "weir_api_request_seconds",
            "Time from a request's head to its answer's head, by route",
            metrics.seconds.clone(),
        );
        metrics
    }

    /// Counts one answered request.
    pub(crate) fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let route = route.to_owned();
        self.seconds.get_or_create(&Served { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { route, status: status.as_u16() }).inc();
    }
}

/// 0.25 ms to 8 s in doubling steps: from an answer out of the data service's cache to its deadline.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}
