//! Sessions kept beside the log.

use async_trait::async_trait;
use bytes::Bytes;

/// A gateway session as it is stored. The gateway encodes `state`, which is opaque to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session id that the client has, at most 64 bytes.
    pub id: String,
    /// What the gateway needs to resume the session, at most 20 KiB: 2,500 guilds of 8 bytes, and what was
    /// agreed at identify.
    pub state: Bytes,
}

/// Why a session could not be kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionStoreError {
    /// The store does not answer or refuses writes.
    #[error("sessions cannot be kept: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
}

/// Where sessions are kept.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Stores a session, replacing an older row of the same id. It is durable when this returns, if the store
    /// is durable.
    ///
    /// # Errors
    /// [`SessionStoreError::Unavailable`]
    async fn put(&self, row: SessionRow) -> Result<(), SessionStoreError>;

    /// The stored session of this id, if there is one.
    ///
    /// # Errors
    /// [`SessionStoreError::Unavailable`]
    async fn get(&self, id: &str) -> Result<Option<SessionRow>, SessionStoreError>;

    /// Deletes a session. It is no error if there is none.
    ///
    /// # Errors
    /// [`SessionStoreError::Unavailable`]
    async fn delete(&self, id: &str) -> Result<(), SessionStoreError>;

    /// All stored sessions, at most `max`.
    ///
    /// # Errors
    /// [`SessionStoreError::Unavailable`]
    async fn list(&self, max: usize) -> Result<Vec<SessionRow>, SessionStoreError>;
}
