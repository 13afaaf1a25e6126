//! What all requests share. This file imports only what it holds. The endpoints and the layers before them
//! import it, and [`crate::router`] puts them together.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use weir_connect::Budget;
use weir_data_client::DataClient;
use weir_runtime::Strangers;

use crate::{
    bounds::ApiBounds,
    cache::{CREDENTIAL_BYTES, Credentials},
    config::ApiConfig,
    data::Data,
    ratelimit::RateLimits,
    turns::Turns,
};

/// The tier's shared state. Clones share it.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: ApiConfig,
    pub(crate) data: Data,
    /// `None` if rate limits are switched off.
    pub(crate) rate_limits: Option<RateLimits>,
    pub(crate) credentials: Credentials,
    /// Bounds how often clients may ask the data service about tokens that were not good before.
    pub(crate) strangers: Strangers,
    /// Turns of the users that are brought into guilds.
    pub(crate) turns: Turns,
}

impl App {
    pub(crate) fn new(config: ApiConfig, data: DataClient) -> Self {
        Self(Arc::new(Shared {
            data: Data::new(data, &config),
            rate_limits: config.rate_limits.clone().map(RateLimits::new),
            credentials: Credentials::new(config.credentials_cached_max, config.credentials_cached_for),
            strangers: Strangers::default(),
            turns: Turns::default(),
            config,
        }))
    }

    /// Shows the tier's caches and tables as parts of the process's memory.
    pub(crate) fn watch(&self, budget: &Budget) {
        self.data.watch(budget);
        self.credentials.watch(budget, "api_credentials", CREDENTIAL_BYTES);
        self.strangers.watch(budget, "api_strangers");
        if let Some(limits) = &self.rate_limits {
            limits.watch(budget);
        }
    }
}

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Endpoints that only ask the data service take this instead of the whole state.
impl FromRef<App> for Data {
    fn from_ref(app: &App) -> Self {
        app.data.clone()
    }
}

/// Extractors that read a body take this instead of the whole state.
impl FromRef<App> for ApiBounds {
    fn from_ref(app: &App) -> Self {
        app.config.bounds.clone()
    }
}
