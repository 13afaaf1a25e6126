//! What every request shares.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;
use weir_connect::Budget;
use weir_data_client::{CallOptions, DataClient};
use weir_runtime::{LogGate, Strangers};

use crate::{
    auth::Credentials,
    config::ApiConfig,
    envelope::{Arrival, no_room},
    metrics::Metrics,
    ratelimit::RateLimits,
    turns::Turns,
    users::Users,
};

/// How often a fault of one kind is logged.
const FAULT_LOG_EVERY: Duration = Duration::from_secs(10);

/// Most answers that are kept for a while. Each is some KiB with its stream: a few MiB.
const LATE_MAX: usize = 1_024;

/// Shared state of the tier. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: ApiConfig,
    pub(crate) data: DataClient,
    pub(crate) metrics: Metrics,
    /// `None`: switched off.
    pub(crate) rate_limits: Option<RateLimits>,
    pub(crate) credentials: Credentials,
    /// What may be asked about tokens that were not good before.
    pub(crate) strangers: Strangers,
    pub(crate) users: Users,
    /// Places for answers that are kept for a while ([`strangers`](Self::strangers)).
    pub(crate) late: Semaphore,
    /// Of users that are brought into guilds.
    pub(crate) turns: Turns,
    /// A permit for each request under way, until its reply is sent; bounded by `bounds.requests_max`.
    pub(crate) under_way: Arc<Semaphore>,
    pub(crate) fault_log: LogGate,
    /// What is sent instead of an answer for which there is no room.
    pub(crate) no_room: Arc<http::Response<Bytes>>,
}

impl App {
    pub(crate) fn new(config: ApiConfig, data: DataClient, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            rate_limits: config.rate_limits.clone().map(RateLimits::new),
            credentials: Credentials::new(&config),
            strangers: Strangers::default(),
            users: Users::new(&config),
            late: Semaphore::new(LATE_MAX),
            turns: Turns::default(),
            fault_log: LogGate::new(FAULT_LOG_EVERY),
            no_room: Arc::new(no_room()),
            under_way: Arc::new(Semaphore::new(config.bounds.requests_max.min(Semaphore::MAX_PERMITS))),
            config,
            data,
            metrics,
        }))
    }

    /// Shows what the tier remembers as parts of the process's memory.
    pub(crate) fn watch(&self, budget: &Budget) {
        self.users.watch(budget, &self.config);
        self.credentials.watch(budget, &self.config);
        self.strangers.watch(budget, "api_strangers");
        if let Some(limits) = &self.rate_limits {
            limits.watch(budget);
        }
    }

    /// How the data service is called for a request that carries no more than a deadline.
    pub(crate) fn call(&self) -> CallOptions {
        CallOptions::within(self.config.data_timeout)
    }

    /// How it is called for a change whose delivery is measured from the client's request on.
    pub(crate) fn change(&self, arrival: Arrival) -> CallOptions {
        CallOptions { accepted_at_us: Some(arrival.unix_us()), ..self.call() }
    }
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
