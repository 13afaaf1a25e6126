//! The off switches: each gate can be disabled live, so that one run can show its effect.

use crate::sync::{AtomicBool, Ordering};

/// A gate that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The request limit.
    RequestLimit,
    /// The tail and the page cache, both for hits and for fills.
    Cache,
    /// Joining flights. If it is off, each read is a flight of its own, still detached.
    Coalesce,
    /// The database-read limit.
    DatabaseReadLimit,
    /// The places in the store, for each partition and for each scope.
    Concurrency,
}

impl Gate {
    /// Every gate, in the order of the path.
    pub const ALL: [Self; 5] =
        [Self::RequestLimit, Self::Cache, Self::Coalesce, Self::DatabaseReadLimit, Self::Concurrency];

    /// The gate's stable name in the operator's command.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestLimit => "request_limit",
            Self::Cache => "cache",
            Self::Coalesce => "coalesce",
            Self::DatabaseReadLimit => "database_read_limit",
            Self::Concurrency => "concurrency",
        }
    }
}

/// State of every gate's switch; all are on at first. A change acts on the next read that reaches the gate.
#[derive(Debug)]
pub struct Gates {
    on: [AtomicBool; Gate::ALL.len()],
}

impl Default for Gates {
    fn default() -> Self {
        Self { on: std::array::from_fn(|_| AtomicBool::new(true)) }
    }
}

impl Gates {
    /// True if `gate` is in the path.
    #[must_use]
    pub fn is_on(&self, gate: Gate) -> bool {
        // Relaxed: a switch orders nothing but itself.
        self.on[gate as usize].load(Ordering::Relaxed)
    }

    /// Enables or disables `gate`.
    pub fn set(&self, gate: Gate, on: bool) {
        self.on[gate as usize].store(on, Ordering::Relaxed);
    }
}
