//! Listeners that answer before the service is ready: a data service that opens its store, or waits for
//! another node's lease.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use weir_connect::{Codec, ConnectError, Dispatch, UnaryRequest, UnaryResponse};

use crate::rpc::error;

/// Methods that are refused as `unavailable` until they are ready.
#[derive(Default)]
pub struct Standby {
    methods: OnceLock<Arc<dyn Dispatch>>,
}

impl Standby {
    /// Creates the listener without methods.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves these methods from now on. Only the first call counts.
    pub fn begin(&self, methods: Arc<dyn Dispatch>) {
        // A second call would be its caller's mistake, and the first methods stay.
        let _ = self.methods.set(methods);
    }
}

#[async_trait]
impl Dispatch for Standby {
    fn serves(&self, path: &str) -> bool {
        // The paths are not known yet, and callers would take "not found" as final.
        self.methods.get().is_none_or(|methods| methods.serves(path))
    }

    fn decoded_bytes(&self, path: &str, codec: Codec, body: &[u8]) -> usize {
        // Nothing is decoded before the methods are set.
        self.methods.get().map_or(0, |methods| methods.decoded_bytes(path, codec, body))
    }

    async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError> {
        match self.methods.get() {
            Some(methods) => methods.call(request).await,
            None => Err(error::standing_by()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use weir_connect::Code;
    use weir_data_client::error::REFUSAL_TYPE;
    use weir_proto::data::{Refusal, RefusalReason};

    struct Echo;

    #[async_trait]
    impl Dispatch for Echo {
        fn serves(&self, path: &str) -> bool {
            path == "/a/B"
        }

        async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError> {
            Ok(UnaryResponse { headers: request.headers, body: request.body })
        }
    }

    fn request() -> UnaryRequest {
        UnaryRequest {
            path: "/a/B".into(),
            codec: Codec::Proto,
            headers: http::HeaderMap::new(),
            timeout: None,
            body: Bytes::from_static(b"x"),
        }
    }

    #[tokio::test]
    async fn calls_are_refused_with_a_reason_until_the_methods_are_there() {
        let standby = Standby::new();
        assert!(standby.serves("/any/Thing"));
        let refused = standby.call(request()).await.expect_err("nothing is there");
        assert_eq!(refused.code, Code::Unavailable);
        let detail: Refusal = refused.detail(REFUSAL_TYPE).expect("typed");
        assert_eq!(detail.reason(), RefusalReason::NotOwner);
        assert!(detail.retry_after_ms > 0);
        standby.begin(Arc::new(Echo));
        assert!(standby.serves("/a/B") && !standby.serves("/any/Thing"));
        assert_eq!(standby.call(request()).await.expect("answered").body, "x");
    }
}
