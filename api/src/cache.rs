//! What the tier remembers for some seconds: the user of a token, what [`users`] look
//! like, and [`pages`] as they were rendered. If an entry
//! is lost, it is read again.

pub(crate) mod pages;
pub(crate) mod users;

use std::{hash::Hash, time::Duration};

use moka::sync::Cache;
use weir_connect::Budget;
use weir_discord::token::TokenHash;

use crate::request::caller::Caller;

/// Callers whose tokens were resolved, by the hash of the token.
pub(crate) type Credentials = BoundedCache<TokenHash, Caller>;

/// Bytes of a credential in the cache: a hash, and a user as in [`users`].
pub(crate) const CREDENTIAL_BYTES: usize = 1_100;

/// A cache with a bound in entries and in age. The process's memory budget shows it.
pub(crate) struct BoundedCache<K, V> {
    entries: Cache<K, V>,
    entries_max: u64,
}

impl<K, V> BoundedCache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most `entries_max` entries, each kept for `kept_for`.
    pub(crate) fn new(entries_max: u64, kept_for: Duration) -> Self {
        let entries = Cache::builder().max_capacity(entries_max).time_to_live(kept_for).build();
        Self { entries, entries_max }
    }

    /// Shows the cache in `budget` as `name`, where an entry counts as `entry_bytes` bytes.
    pub(crate) fn watch(&self, budget: &Budget, name: &'static str, entry_bytes: usize) {
        let entries = self.entries.clone();
        budget.watch_entries(name, self.entries_max, entry_bytes, move || entries.entry_count());
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        self.entries.insert(key, value);
    }
}
