//! Why a read has no answer: one enum, one table of labels.

use std::{sync::Arc, time::Duration};

use crate::{limit::Scope, reason::RefusalReason};

/// A gate's answer to a request that it did not let through. Nothing was read or charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by {} {}", .reason.label(), .limit)]
pub struct Refusal {
    /// Which gate.
    pub reason: RefusalReason,
    /// The scope whose limit was hit; `None` for the layer's own bounds.
    pub scope: Option<Scope>,
    /// The limit's name, as the operator gave it.
    pub limit: Arc<str>,
    /// When the same request can succeed at the earliest, from now; zero for [`RefusalReason::BeyondBurst`], which never does.
    pub retry_after: Duration,
}

/// Where a deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before any gate: nothing was done for the request.
    Arrival,
    /// While waiting for a flight; the read may still be under way and can be joined.
    Flight,
    /// Before the store: every waiter of the flight was gone or late when its turn came.
    Queue,
}

impl Stage {
    /// The stable metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Flight => "flight",
            Self::Queue => "queue",
        }
    }
}

/// Why a read has no answer. `E` is the store's own error, shared with every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The caller's deadline passed.
    #[error("deadline exceeded at {}", .stage.label())]
    DeadlineExceeded {
        /// Where.
        stage: Stage,
    },
    /// A gate refused.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] E),
    /// The store did not answer within the store timeout; its permit has been freed.
    #[error("the store did not answer within {after:?}")]
    StoreTimeout {
        /// The timeout.
        after: Duration,
    },
    /// The store read, or a method of the value, panicked.
    #[error("the read panicked")]
    Panicked,
    /// The runtime dropped the read: the process is stopping.
    #[error("the read was dropped by a stopping runtime")]
    Stopped,
}

impl<E> ReadError<E> {
    /// The stable metric label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Refused(refusal) => refusal.reason.label(),
            Self::Store(_) => "store",
            Self::StoreTimeout { .. } => "store_timeout",
            Self::Panicked => "panicked",
            Self::Stopped => "stopped",
        }
    }

    /// The refusal, if a gate refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::DeadlineExceeded { .. }
            | Self::Store(_)
            | Self::StoreTimeout { .. }
            | Self::Panicked
            | Self::Stopped => None,
        }
    }

    /// Whether a caller that accepts a stale answer should get one instead: the store, or what guards it, is at fault.
    #[must_use]
    pub const fn is_store_side(&self) -> bool {
        match self {
            Self::Store(_) | Self::StoreTimeout { .. } | Self::Panicked => true,
            Self::DeadlineExceeded { .. } | Self::Stopped => false,
            Self::Refused(refusal) => match refusal.reason {
                RefusalReason::DatabaseReadLimit
                | RefusalReason::ConcurrencyQueueFull
                | RefusalReason::ConcurrencyWait
                | RefusalReason::FlightsFull => true,
                RefusalReason::RequestLimit | RefusalReason::WriteLimit | RefusalReason::BeyondBurst => false,
            },
        }
    }
}
