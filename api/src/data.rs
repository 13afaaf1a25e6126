//! The data service as the endpoints ask it: the typed client, the time that a call may take, and the users
//! and pages that were read lately.

use std::{collections::BTreeSet, ops::Deref, sync::Arc, time::Duration};

use weir_connect::Budget;
use weir_data_client::{CallOptions, DataClient};
use weir_discord::error::ApiError;
use weir_proto::data::User;

use crate::{
    answer::error::Refused,
    cache::{
        pages::Pages,
        users::{USER_BYTES, Users, UsersById},
    },
    config::ApiConfig,
    request::arrival::Arrival,
};

/// The data service. Clones share the cache of users.
#[derive(Clone)]
pub(crate) struct Data(Arc<Parts>);

struct Parts {
    client: DataClient,
    timeout: Duration,
    users: Users,
    pages: Pages,
}

impl Data {
    pub(crate) fn new(client: DataClient, config: &ApiConfig) -> Self {
        // A name that is shown may be as old as both together.
        let kept_for = config.users_cached_for / 2;
        let users = Users::new(config.users_cached_max, kept_for);
        let pages = Pages::new(config.pages_cached_bytes, kept_for);
        Self(Arc::new(Parts { client, timeout: config.data_timeout, users, pages }))
    }

    /// Shows the caches in the memory budget.
    pub(crate) fn watch(&self, budget: &Budget) {
        self.0.users.watch(budget, "api_users", USER_BYTES);
        self.0.pages.watch(budget);
    }

    /// Pages as they were rendered lately.
    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// Options of a call that needs no more than a deadline.
    pub(crate) fn call(&self) -> CallOptions {
        CallOptions::within(self.0.timeout)
    }

    /// Options of a call for a change. The time from `arrival` on is measured until the change is delivered.
    pub(crate) fn change(&self, arrival: Arrival) -> CallOptions {
        CallOptions { accepted_at_us: Some(arrival.unix_us()), ..self.call() }
    }

    /// Returns those of `ids` that exist. Makes no call if all of them were read lately.
    ///
    /// # Errors
    /// Those of the calls.
    pub(crate) async fn users(&self, ids: BTreeSet<u64>) -> Result<UsersById, Refused> {
        let found = self.0.users.find(ids, &self.0.client, &self.call()).await;
        found.map_err(|error| Refused::from_data(error, ApiError::UnknownUser))
    }

    /// Keeps users that another answer contained.
    pub(crate) fn learn<'a>(&self, users: impl IntoIterator<Item = &'a User>) {
        self.0.users.learn(users);
    }
}

impl Deref for Data {
    type Target = DataClient;
    fn deref(&self) -> &DataClient {
        &self.0.client
    }
}
