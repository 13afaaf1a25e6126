//! The gateway's metrics.

use prometheus_client::encoding::EncodeLabelSet;
use weir_runtime::{
    Registry, label_values,
    metrics::{Counter, Family, Gauge, Histogram, LATENCY_SECONDS},
};

/// Label set of [`GatewayMetrics::closes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabels {
    /// The close code's number.
    code: u32,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// There were too many connections.
    Full,
    /// It had begun no session when all places were taken. Its address had the most such connections, and
    /// this one made room for another.
    Displaced,
    /// The handshake was no WebSocket handshake, or asked for something that is not served.
    Handshake,
    /// The handshake took too long.
    Slow,
}

label_values!(Refusal { Full => "full", Displaced => "displaced", Handshake => "handshake", Slow => "slow" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusalLabels {
    reason: Refusal,
}

/// How an attempt to resume ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ResumeOutcome {
    /// The session was replayed and continued.
    Resumed,
    /// The session is unknown, another token's or expired, or its records are no longer in the log.
    Invalid,
    /// It was refused for now: the user's sessions resume too often.
    Later,
    /// The connection was closed with a close code.
    Closed,
}

label_values!(ResumeOutcome { Resumed => "resumed", Invalid => "invalid", Later => "later", Closed => "closed" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResumeLabels {
    outcome: ResumeOutcome,
}

/// What the consumer found wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Anomaly {
    /// The bus delivered it again.
    Repeated,
    /// The bus had lost it; it was fetched from the outbox.
    Recovered,
    /// It could not be recovered, so sessions were invalidated.
    Lost,
    /// It could not be decoded.
    Undecodable,
}

label_values!(Anomaly { Repeated => "repeated", Recovered => "recovered", Lost => "lost", Undecodable => "undecodable" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AnomalyLabels {
    kind: Anomaly,
}

/// The gateway's metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) queue_bytes: Gauge,
    pub(crate) introduction_bytes: Gauge,
    pub(crate) delivery: Histogram,
    pub(crate) dispatches: Counter,
    pub(crate) identifies: Counter,
    closes: Family<CloseLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    resumptions: Family<ResumeLabels, Counter>,
    anomalies: Family<AnomalyLabels, Counter>,
}

impl GatewayMetrics {
    /// Registers the gateway's metrics.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            connections: registry.gauge("weir_gateway_connections", "Open WebSocket connections"),
            sessions: registry.gauge("weir_gateway_sessions", "Sessions, with and without a connection"),
            queue_bytes: registry
                .gauge("weir_gateway_queue_bytes", "Bytes of the ring from which sessions are served"),
            introduction_bytes: registry.gauge(
                "weir_gateway_introduction_bytes",
                "Bytes rendered for sessions being introduced that their clients have not read",
            ),
            delivery: registry.histogram(
                "weir_gateway_delivery_seconds",
                "From the acceptance of a change to its last byte handed to a session's socket",
                LATENCY_SECONDS,
            ),
            dispatches: registry.counter("weir_gateway_dispatches_total", "Dispatches written to sockets"),
            identifies: registry.counter("weir_gateway_identifies_total", "Sessions begun"),
            closes: registry
                .counters("weir_gateway_closes_total", "Connections closed by the gateway, by code"),
            refusals: registry
                .counters("weir_gateway_refusals_total", "Connections refused before the first payload"),
            resumptions: registry.counters("weir_gateway_resumes_total", "Attempts to resume, by outcome"),
            anomalies: registry
                .counters("weir_gateway_record_anomalies_total", "Records that the bus repeated or lost"),
        }
    }

    pub(crate) fn closed(&self, code: crate::CloseCode) {
        self.closes.get_or_create_owned(&CloseLabels { code: code.number().into() }).inc();
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refusals.get_or_create_owned(&RefusalLabels { reason }).inc();
    }

    pub(crate) fn resumption(&self, outcome: ResumeOutcome) {
        self.resumptions.get_or_create_owned(&ResumeLabels { outcome }).inc();
    }

    pub(crate) fn anomaly(&self, kind: Anomaly) {
        self.anomalies.get_or_create_owned(&AnomalyLabels { kind }).inc();
    }
}
