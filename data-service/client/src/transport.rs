//! How a call's bytes travel.

use std::sync::Arc;

use async_trait::async_trait;
use weir_connect::{
    client::{ClientError, HttpClient, Lost},
    dispatch::{Dispatch, UnaryRequest, UnaryResponse},
    error::ConnectError,
};

/// Why a call has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The call never reached the service: repeating it is always safe.
    #[error("the call was not sent: {reason}")]
    NotSent {
        /// What the transport said.
        reason: String,
    },
    /// The call may have reached the service.
    #[error("the call's fate is not known: {reason}")]
    Unknown {
        /// What the transport said.
        reason: String,
    },
    /// The service answered with an error.
    #[error(transparent)]
    Answered(#[from] ConnectError),
}

/// Carries one unary call.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a call and waits for its reply, no longer than `request.timeout`.
    ///
    /// # Errors
    /// The variants of [`TransportError`] say how far the call got.
    ///
    /// # Cancel safety
    /// A dropped call may still be carried out by the service.
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError>;
}

/// Calls a service in the same process, with the same bytes and no socket.
pub struct InProcess {
    dispatch: Arc<dyn Dispatch>,
}

impl InProcess {
    /// Makes a transport whose calls go to `dispatch`.
    #[must_use]
    pub fn new(dispatch: Arc<dyn Dispatch>) -> Self {
        Self { dispatch }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        let timeout = request.timeout;
        let call = self.dispatch.call(request);
        // The HTTP server drops a call at its deadline. This transport must do so too, or a caller in the
        // same process would wait longer than one outside.
        let answer = match timeout {
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .unwrap_or_else(|_| Err(ConnectError::deadline_exceeded("the deadline passed"))),
            None => call.await,
        };
        Ok(answer?)
    }
}

/// Calls a service over HTTP/2.
pub struct Http {
    client: HttpClient,
}

impl Http {
    /// Makes a transport whose calls go through `client`.
    #[must_use]
    pub fn new(client: HttpClient) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Transport for Http {
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        let UnaryRequest { path, headers, timeout, body, .. } = request;
        self.client.unary(&path, headers, timeout, body).await.map_err(|error| match error {
            ClientError::NotSent(reason) => TransportError::NotSent { reason: reason.to_string() },
            // The error is what the service itself would answer. Whether anything was changed is decided by
            // the reader of the error, not by the transport.
            ClientError::Unknown(Lost::TimedOut) => TransportError::Answered(
                ConnectError::deadline_exceeded("the deadline passed before the reply came"),
            ),
            ClientError::Unknown(reason) => TransportError::Unknown { reason: reason.to_string() },
            ClientError::Connect(error) => TransportError::Answered(error),
        })
    }
}
