//! What the tier counts. Labels are route templates and status numbers. Both sets are fixed, whatever clients
//! send.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use weir_runtime::metrics::{HistogramFamily, LATENCY_SECONDS, Registry};

/// Label of requests that no route matched.
pub(crate) const UNMATCHED: &str = "unmatched";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Faulty {
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    route: String,
}

/// Counters and histograms of the api tier. Cheap to clone.
#[derive(Clone)]
pub struct ApiMetrics {
    requests: Family<Answered, Counter>,
    seconds: HistogramFamily<Served>,
    faults: Family<Faulty, Counter>,
}

impl ApiMetrics {
    /// Registers `weir_api_requests_total{route,status}`, `weir_api_request_seconds{route}` and
    /// `weir_api_data_faults_total{fault}`. `route` is a method and a path template without its version.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            requests: registry.counters("weir_api_requests_total", "Requests answered, by route and status"),
            seconds: registry.histograms(
                "weir_api_request_seconds",
                "Time from a request's head to its answer's head, by route",
                LATENCY_SECONDS,
            ),
            faults: registry.counters(
                "weir_api_data_faults_total",
                "Requests that failed by the data service or the database, by what it was",
            ),
        }
    }

    /// Counts one request that failed because of a fault behind this tier.
    pub(crate) fn fault(&self, fault: &'static str) {
        self.faults.get_or_create(&Faulty { fault }).inc();
    }

    /// Counts one answered request.
    pub(crate) fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let route = route.to_owned();
        self.seconds.get_or_create(&Served { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { route, status: status.as_u16() }).inc();
    }
}
