//! Users whose tokens were resolved: a bounded, short-lived cache by the hashes of the tokens.

use std::time::Duration;

use moka::sync::Cache;
use weir_connect::Budget;
use weir_discord::token::TokenHash;

use crate::request::caller::Caller;

/// Bytes of a credential in the cache: a hash, and a user as in [`crate::cache::users`].
pub(crate) const CREDENTIAL_BYTES: usize = 1_100;

/// Resolved credentials by the hash of their token.
pub(crate) struct Credentials {
    resolved: Cache<TokenHash, Caller>,
}

impl Credentials {
    /// Room for `entries_max`, each kept for so long.
    pub(crate) fn new(entries_max: u64, kept_for: Duration) -> Self {
        Self { resolved: Cache::builder().max_capacity(entries_max).time_to_live(kept_for).build() }
    }

    /// Shows what the cache holds.
    pub(crate) fn watch(&self, budget: &Budget, entries_max: u64) {
        let cache = self.resolved.clone();
        budget.watch_entries("api_credentials", entries_max, CREDENTIAL_BYTES, move || cache.entry_count());
    }

    /// Whose token has this hash, if it was resolved lately.
    pub(crate) fn get(&self, hash: &TokenHash) -> Option<Caller> {
        self.resolved.get(hash)
    }

    /// Keeps what was resolved.
    pub(crate) fn insert(&self, hash: TokenHash, caller: Caller) {
        self.resolved.insert(hash, caller);
    }
}
