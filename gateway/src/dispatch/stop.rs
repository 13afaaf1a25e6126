//! How sending READY, a replay or a delivery ends early.

use crate::{Close, socket::stream::SocketError};

/// Why delivery stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The session cannot go on without a gap: its client must identify again.
    #[error("records that the session needs are gone")]
    Invalid,
    /// The connection cannot go on.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl From<Close> for Stop {
    fn from(close: Close) -> Self {
        Self::Socket(close.into())
    }
}
