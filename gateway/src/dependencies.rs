//! Whether what a gateway stands on is there: the event bus and the data service. Both are looked at for as long as the gateway runs, so
//! that its readiness falls when one of them is away and rises when it is back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::data::{GetUsersRequest, RefusalReason};
use weir_runtime::Check;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that fail before the readiness falls: what passes in less (a restart of Redis, a takeover) sessions do not notice.
const FAILURES: u32 = 3;
/// Time for the data service's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A peer's say in the readiness: it falls after [`FAILURES`] looks, and rises at the first that finds the peer there.
#[derive(Debug)]
struct Dependency {
    check: Check,
    failures: u32,
}

impl Dependency {
    fn new(check: Check) -> Self {
        // Not ready until it was found once.
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

/// Keeps `bus` and `data_service` up to date until `stop`. `bus_reached` says whether the bus answers now.
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

/// Keeps `bus` alone up to date until `stop`: for a gateway beside its data service in one process.
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

/// Asks the data service for nobody, which costs it no read.
async fn answers(data: &DataClient) -> Result<(), String> {
    let nobody = GetUsersRequest { ids: Vec::new() };
    match data.get_users(&nobody, &CallOptions::within(ANSWER_WITHIN)).await {
        Ok(_) | Err(DataError::NotFound { .. } | DataError::Invalid { .. }) => Ok(()),
        // A limit is in force: it answers.
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
