//! Metrics and logs of the errors that callers get. They are counted by the names of the one error table
//! ([`crate::rpc::error`]). Faults of the service or the database are logged, each kind once in a while. A
//! caller over a limit is not logged.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::time::Instant;
use weir_connect::{Codec, ConnectError, Dispatch, LogGate, UnaryRequest, UnaryResponse};
use weir_runtime::Registry;

use crate::rpc::error::{Fault, fault_of};

/// Interval between logs of one kind of fault: short enough to see that it lasts, long enough to leave room
/// for its cause.
const LOG_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    error: &'static str,
}

/// Counts and logs errors. A service has one.
pub struct Faults {
    errors: Family<Labels, Counter>,
    log: LogGate,
}

impl Faults {
    /// Registers the metric.
    #[must_use]
    pub fn new(registry: &Registry) -> Arc<Self> {
        let errors =
            registry.counters("weir_data_errors_total", "Calls answered with an error, by what it was");
        Arc::new(Self { errors, log: LogGate::new(LOG_EVERY) })
    }

    /// Notes an error on its way to the caller.
    pub(crate) fn note(&self, error: &ConnectError) {
        let (label, fault) = fault_of(error);
        self.errors.get_or_create_owned(&Labels { error: label }).inc();
        if fault == Fault::Callers {
            return;
        }
        let Some(held_back) = self.log.pass(label, Instant::now()) else { return };
        match fault {
            Fault::Damage => {
                tracing::error!(error = %error.message, held_back, "stored data is damaged");
            }
            Fault::Database | Fault::Callers => {
                tracing::warn!(error = %error.message, kind = label, held_back, "calls are not served");
            }
        }
    }
}

/// Wraps methods so that their errors are counted.
pub(crate) struct Noted<D> {
    pub(crate) methods: D,
    pub(crate) faults: Arc<Faults>,
}

#[async_trait]
impl<D: Dispatch> Dispatch for Noted<D> {
    fn serves(&self, path: &str) -> bool {
        self.methods.serves(path)
    }

    fn decoded_bytes(&self, path: &str, codec: Codec, body: &[u8]) -> usize {
        self.methods.decoded_bytes(path, codec, body)
    }

    async fn call(&self, request: UnaryRequest) -> Result<UnaryResponse, ConnectError> {
        let answer = self.methods.call(request).await;
        answer.inspect_err(|error| self.faults.note(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_connect::Code;

    use crate::rpc::error::{of_change, of_read};
    use crate::write::error::{ChangeError, Refused};

    #[test]
    fn every_error_is_counted_by_its_word() {
        let registry = Registry::new();
        let faults = Faults::new(&registry);
        let damaged = weir_store::ReadError::Corrupt { reason: "a checksum".into() };
        let damaged = of_read(weir_protect::ReadError::Store(damaged));
        assert_eq!((damaged.code, fault_of(&damaged)), (Code::DataLoss, ("data_loss", Fault::Damage)));
        let down = of_change(&ChangeError::Refused(Refused::Database("down".into())));
        assert_eq!(fault_of(&down), ("database_unavailable", Fault::Database));
        assert_eq!(fault_of(&ConnectError::not_found("x")), ("not_found", Fault::Callers));
        for error in [&damaged, &down, &down] {
            faults.note(error);
        }
        let shown = registry.encode();
        assert!(shown.contains("weir_data_errors_total{error=\"data_loss\"} 1"), "{shown}");
        assert!(shown.contains("weir_data_errors_total{error=\"database_unavailable\"} 2"), "{shown}");
    }
}
