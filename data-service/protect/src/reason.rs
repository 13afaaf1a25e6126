//! Reasons of refusals: one enum, one table of labels.

/// The gate that refused, in the vocabulary of metrics, replies and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The request rate of a scope is used up.
    RequestLimit,
    /// The database-read rate of a scope is used up.
    DatabaseReadLimit,
    /// The write rate of a scope is used up.
    WriteLimit,
    /// The amount exceeds a limit's burst: it never fits.
    BeyondBurst,
    /// The maximum number of reads is in the store, and the maximum number waits.
    ConcurrencyQueueFull,
    /// A place in the store did not become free within the longest wait.
    ConcurrencyWait,
    /// The maximum number of flights is under way.
    FlightsFull,
}

impl RefusalReason {
    /// The stable metric label and wire word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestLimit => "request_limit",
            Self::DatabaseReadLimit => "database_read_limit",
            Self::WriteLimit => "write_limit",
            Self::BeyondBurst => "beyond_burst",
            Self::ConcurrencyQueueFull => "concurrency_queue_full",
            Self::ConcurrencyWait => "concurrency_wait",
            Self::FlightsFull => "flights_full",
        }
    }
}
