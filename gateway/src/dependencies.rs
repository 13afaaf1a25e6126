//! Readiness of the services that a gateway depends on: the event bus and the data service. Both are checked
//! for as long as the gateway runs. Its readiness falls when one of them is away and rises when it is back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::data::{GetUsersRequest, RefusalReason};
use weir_runtime::Check;

/// Time between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Failed checks in a row before the readiness falls. Sessions do not notice a shorter outage, such as a
/// restart of Redis or a takeover of the data service.
const FAILURES: u32 = 3;
/// Time limit for the data service's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// One dependency. Its check fails after [`FAILURES`] failures in a row, and succeeds at the first success.
#[derive(Debug)]
struct Dependency {
    check: Check,
    failures: u32,
}

impl Dependency {
    fn new(check: Check) -> Self {
        // It is not ready until the first check succeeds.
        Self { check, failures: FAILURES }
    }

    fn found(&mut self, found: Result<(), String>) {
        match found {
            Ok(()) => {
                if self.failures >= FAILURES {
                    self.check.ready();
                }
                self.failures = 0;
            }
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES {
                    self.check.not_ready(reason);
                }
            }
        }
    }
}

/// Keeps the checks `bus` and `data_service` up to date until `stop`. `bus_reached` returns whether the bus
/// answers now.
///
/// # Cancel safety
/// Safe.
pub async fn watch(
    bus_reached: impl Fn() -> bool + Send,
    data: DataClient,
    bus: Check,
    data_service: Check,
    stop: CancellationToken,
) {
    let (mut bus, mut data_service) = (Dependency::new(bus), Dependency::new(data_service));
    loop {
        bus.found(reached(&bus_reached));
        data_service.found(answers(&data).await);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Keeps only the check `bus` up to date until `stop`, for a gateway in one process with its data service.
///
/// # Cancel safety
/// Safe.
pub async fn watch_bus(bus_reached: impl Fn() -> bool + Send, bus: Check, stop: CancellationToken) {
    let mut bus = Dependency::new(bus);
    loop {
        bus.found(reached(&bus_reached));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn reached(bus_reached: &impl Fn() -> bool) -> Result<(), String> {
    if bus_reached() { Ok(()) } else { Err("the event bus is not reached".to_owned()) }
}

/// Asks the data service for no users, which costs it no read.
async fn answers(data: &DataClient) -> Result<(), String> {
    let nobody = GetUsersRequest { ids: Vec::new() };
    match data.get_users(&nobody, &CallOptions::within(ANSWER_WITHIN)).await {
        Ok(_) | Err(DataError::NotFound { .. } | DataError::Invalid { .. }) => Ok(()),
        // A limit refused the call, so the data service answers.
        Err(DataError::Refused {
            reason:
                RefusalReason::RequestLimit
                | RefusalReason::DatabaseReadLimit
                | RefusalReason::WriteLimit
                | RefusalReason::Concurrency,
            ..
        }) => Ok(()),
        Err(
            error @ (DataError::Refused { .. }
            | DataError::OutcomeUnknown { .. }
            | DataError::DeadlineExceeded
            | DataError::Unavailable { .. }
            | DataError::Failed { .. }),
        ) => Err(format!("the data service: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use async_trait::async_trait;
    use http::HeaderMap;
    use weir_connect::{ConnectError, Dispatch, UnaryRequest, UnaryResponse};
    use weir_data_client::transport::InProcess;
    use weir_runtime::Readiness;

    struct Service(Arc<AtomicBool>);

    #[async_trait]
    impl Dispatch for Service {
        fn serves(&self, _: &str) -> bool {
            true
        }

        async fn call(&self, _: UnaryRequest) -> Result<UnaryResponse, ConnectError> {
            if self.0.load(SeqCst) {
                return Ok(UnaryResponse { headers: HeaderMap::new(), body: bytes::Bytes::new() });
            }
            Err(ConnectError::unavailable("away"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_readiness_follows_bus_and_data_service_both_ways() {
        let (bus_there, service_there) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let readiness = Readiness::new();
        let data = DataClient::new(Arc::new(InProcess::new(Arc::new(Service(Arc::clone(&service_there))))));
        let (seen, stop) = (Arc::clone(&bus_there), CancellationToken::new());
        let (bus, service) = (readiness.register("bus"), readiness.register("data_service"));
        let watching = tokio::spawn(watch(move || seen.load(SeqCst), data, bus, service, stop.clone()));
        let missing = || readiness.reasons().into_iter().map(|found| found.check).collect::<Vec<_>>();
        let looks = async |count: u32| tokio::time::sleep(LOOK_EVERY * count).await;
        looks(1).await;
        assert_eq!(missing(), ["bus"], "not there yet");
        bus_there.store(true, SeqCst);
        looks(2).await;
        assert!(missing().is_empty());
        bus_there.store(false, SeqCst);
        looks(1).await;
        assert!(missing().is_empty(), "a moment is not told");
        looks(FAILURES).await;
        assert_eq!(missing(), ["bus"]);
        service_there.store(false, SeqCst);
        looks(FAILURES + 1).await;
        assert_eq!(missing(), ["bus", "data_service"]);
        assert!(readiness.reasons()[1].reason.contains("away"));
        bus_there.store(true, SeqCst);
        service_there.store(true, SeqCst);
        looks(2).await;
        assert!(missing().is_empty(), "they are back");
        stop.cancel();
        watching.await.expect("ends");
    }
}
