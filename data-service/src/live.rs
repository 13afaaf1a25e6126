//! State in memory of the channels, guilds and users in use: heads, tails, nonces and guilds. It has one
//! owner, [`Live`].
//!
//! Reading, writing and the outbox meet here and do not import each other. A read is served from this state
//! and may seed it. A turn loads it, changes it together with the barrier, and puts it in doubt. The owner of
//! a channel drops this state when it gives the channel up ([`Live::drop_ended`]).
//!
//! - [`scope`]: the state of one channel, guild or user.
//! - [`table`]: all scopes, bounded.
//! - [`nonce`]: five minutes of (author, nonce) of one channel.
//! - `load`: the state is read before the first change under a tenure.
//! - `serve`: reads are answered from the state.
//! - `change`: a commit changes the state, in one step with the barrier.
//! - `page`: a page as it is sent, which a tail keeps.
//! - `weight`: bytes of a row in memory.

mod change;
mod load;
pub mod nonce;
mod page;
pub mod scope;
mod serve;
pub mod table;
pub(crate) mod weight;

pub(crate) use self::{
    change::{Effect, Known},
    load::read_guild,
    page::{EncodedPage, encode_page},
};

use std::sync::Arc;

use weir_protect::{Generations, tail::TailBounds};
use weir_proto::id::ScopeId;
use weir_runtime::{Registry, metrics::Counter};
use weir_store::Store;

use self::{scope::Scope, table::ScopeTable};
use crate::ownership::Ownership;

/// Bounds of the state in memory.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// Scopes in memory at once: each holds its head, nonces and perhaps a tail. Above this bound idle scopes
    /// are evicted and read again.
    pub scopes_max: usize,
    /// Rows of a channel's tail.
    pub tail_rows_max: usize,
    /// Bytes of a channel's tail.
    pub tail_bytes_max: usize,
    /// Bytes of all scopes together, including their content. Above this bound idle scopes are evicted and
    /// read again, and the tails of busy scopes are dropped.
    pub tails_bytes_max: usize,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            scopes_max: 100_000,
            // Four pages of the largest size, so that a page and its neighbours come from the tail.
            tail_rows_max: 400,
            tail_bytes_max: 1 << 20,
            tails_bytes_max: 128 << 20,
        }
    }
}

/// The state in memory of one node's channels, guilds and users.
pub struct Live {
    store: Arc<dyn Store>,
    ownership: Arc<dyn Ownership>,
    generations: Arc<Generations>,
    scopes: ScopeTable,
    tail_bounds: TailBounds,
    /// Counts the tails that were read from the store.
    tails_read: Counter,
}

impl Live {
    /// Creates the empty state and registers its metrics.
    #[must_use]
    pub fn new(
        config: &LiveConfig,
        store: Arc<dyn Store>,
        ownership: Arc<dyn Ownership>,
        generations: Arc<Generations>,
        registry: &Registry,
    ) -> Arc<Self> {
        let scopes = ScopeTable::new(config.scopes_max, config.tails_bytes_max);
        registry.budget().watch("data_tails", config.tails_bytes_max, scopes.weight());
        let tail_bounds = TailBounds { rows_max: config.tail_rows_max, bytes_max: config.tail_bytes_max };
        let tails_read = registry.counter(
            "weir_data_tails_read_total",
            "Ends of channels that were read for a write: the channel was not in memory, or readers missed its newest messages there.",
        );
        Arc::new(Self { store, ownership, generations, scopes, tail_bounds, tails_read })
    }

    /// The scope for a turn, made if need be; `None` if the table is full of busy scopes.
    pub(crate) fn scope(&self, id: ScopeId) -> Option<Arc<Scope>> {
        self.scopes.get_or_insert(id)
    }

    /// Weighs a scope at the end of its turns.
    pub(crate) fn weigh(&self, scope: &Scope) {
        self.scopes.trim(scope);
    }

    /// Number of scopes in memory, and their weight in bytes with their content, after all due evictions.
    pub(crate) fn held(&self) -> (usize, u64) {
        let (_, bytes) = self.scopes.weighed();
        (self.scopes.all().len(), bytes)
    }

    /// Drops all state that belongs to an ended tenure, as when this node gives a slot up: all of a scope's
    /// state in one call. A scope with a turn under way keeps it until its next turn finds the tenure ended.
    /// A commit in doubt stays in doubt.
    ///
    /// # Cancel safety
    /// What was not looked at yet stays, unserved, and is dropped by the next call or read again by its next
    /// turn.
    pub async fn drop_ended(&self) {
        for shard in 0..table::SHARDS {
            // One at a time, so that the others may leave the table meanwhile.
            for id in self.scopes.ids_of_shard(shard) {
                let Some(scope) = self.scopes.get(id) else { continue };
                let epoch = self.ownership.tenure(Some(id)).ok().map(|tenure| tenure.epoch);
                if scope.lock().forget_other_than(epoch) {
                    self.scopes.trim(&scope);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
