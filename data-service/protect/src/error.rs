//! Reasons why a read has no answer: one enum, one table of labels.

use std::{sync::Arc, time::Duration};

use crate::{limit::Scope, reason::RefusalReason};

/// A gate's refusal of a request. Nothing was read or charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by {} {}", .reason.label(), .limit)]
pub struct Refusal {
    /// The gate that refused.
    pub reason: RefusalReason,
    /// The scope of the exceeded limit; `None` for the layer's own bounds.
    pub scope: Option<Scope>,
    /// The limit's name, as the operator gave it.
    pub limit: Arc<str>,
    /// Time from now after which the same request can succeed at the earliest; zero for
    /// [`RefusalReason::BeyondBurst`], which never does.
    pub retry_after: Duration,
}

/// The stage at which a deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It passed before any gate: nothing was done for the request.
    Arrival,
    /// It passed while waiting for a flight; the read may still be under way and can be joined.
    Flight,
    /// It passed before the store: every waiter of the flight was gone or late when its turn came.
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

/// Reasons why a read has no answer. `E` is the store's own error, shared with every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The caller's deadline passed.
    #[error("deadline exceeded at {}", .stage.label())]
    DeadlineExceeded {
        /// The stage at which it passed.
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

    /// The refusal, if there is one.
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

    /// True if the store or its protection is at fault, so that a caller that accepts a stale answer should
    /// get one.
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
