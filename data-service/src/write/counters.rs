//! Metrics of the turns, for operators.

use weir_runtime::{Registry, metrics::Counter};

/// Counts of the turns of all scopes.
#[derive(Debug)]
pub(super) struct TurnCounters {
    /// Commits sent, without repetitions.
    pub(super) commits: Counter,
    /// Commits whose outcome was first unknown.
    pub(super) in_doubt: Counter,
    /// Turns that panicked; each is a defect.
    pub(super) panicked: Counter,
}

impl TurnCounters {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            commits: registry.counter("weir_data_commits_total", "Commits sent, without repetitions."),
            in_doubt: registry.counter(
                "weir_data_commits_in_doubt_total",
                "Commits whose outcome the database did not tell at first, and that were sent again until it was known.",
            ),
            panicked: registry
                .counter("weir_data_turns_panicked_total", "Turns that ended in a panic; each is a defect."),
        }
    }
}
