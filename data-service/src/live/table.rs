//! All scopes in memory, bounded in number and in bytes, including their content.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moka::{notification::RemovalCause, policy::EvictionPolicy};
use weir_proto::id::{ChannelId, GuildId, ScopeId, Snowflake, UserId};

use super::scope::{Scope, Versions};

/// Shards of the table: enough that threads rarely wait for a shard's lock on machines of up to 64 cores.
pub(crate) const SHARDS: usize = 64;
/// Scopes tried for eviction when a shard is full. If all of them are busy, the new scope is refused.
const EVICTION_LOOKS: usize = 32;

type Shard = Mutex<HashMap<ScopeId, Arc<Scope>>>;

/// Bytes of a scope without content: its state, its place in the table and its entry among the weights.
/// Measured as growth of the resident memory by 200,000 of them with an empty tail: 765 bytes each.
pub(crate) const SCOPE_BYTES: usize = 768;

/// The table. moka decides which scope is evicted when all together exceed their bound. It holds only
/// weights, while the content stays with the scopes, so that a tail changes in one place. Each scope in the
/// table has a weight there.
pub(crate) struct ScopeTable {
    shards: Arc<[Shard]>,
    shard_max: usize,
    versions: Versions,
    weights: moka::sync::Cache<ScopeId, u32>,
}

fn shard_of(shards: &[Shard], id: Snowflake) -> MutexGuard<'_, HashMap<ScopeId, Arc<Scope>>> {
    // Snowflakes differ in their middle bits; multiplying by an odd constant (2^64 / golden ratio) spreads
    // them to the top.
    let index = (id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS;
    shards[index].lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if only the table holds the scope and nothing runs or waits. Nobody can be about to use it, because
/// finding it takes the shard's lock, which the caller holds.
fn leaves(scope: &Arc<Scope>) -> bool {
    Arc::strong_count(scope) == 1 && scope.lock().idle()
}

/// Evicts a scope because all scopes together exceed their bound. A scope in use stays, without its tail; it
/// is weighed again when its use ends.
fn make_room(shards: &[Shard], id: ScopeId) {
    let mut shard = shard_of(shards, id.id());
    let Some(scope) = shard.get(&id) else { return };
    if leaves(scope) {
        shard.remove(&id);
        return;
    }
    let scope = Arc::clone(scope);
    drop(shard);
    let mut state = scope.lock();
    state.tail = None;
    state.changed();
}

impl ScopeTable {
    /// Creates a table of at most `scopes_max` scopes, which cost at most `bytes_max` bytes with their
    /// content.
    pub(crate) fn new(scopes_max: usize, bytes_max: usize) -> Self {
        let shards: Arc<[Shard]> = (0..SHARDS).map(|_| Shard::default()).collect();
        let for_listener = Arc::clone(&shards);
        let weights = moka::sync::Cache::builder()
            .max_capacity(bytes_max as u64)
            // The most recently used scopes stay. With moka's default, frequency, a new scope would leave at
            // once while old ones stay for ever: a use of a scope is reported by its weight, which does not
            // count as a use.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, bytes: &u32| *bytes)
            .eviction_listener(move |id: Arc<ScopeId>, _, cause| {
                if cause == RemovalCause::Size {
                    make_room(&for_listener, *id);
                }
            })
            .build();
        let shard_max = scopes_max.div_ceil(SHARDS).max(1);
        Self { shards, shard_max, versions: Versions::default(), weights }
    }

    /// A function that returns the weight of all scopes in bytes.
    pub(crate) fn weight(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let weights = self.weights.clone();
        move || usize::try_from(weights.weighted_size()).unwrap_or(usize::MAX)
    }

    /// The scope, if it is in memory.
    pub(crate) fn get(&self, id: ScopeId) -> Option<Arc<Scope>> {
        shard_of(&self.shards, id.id()).get(&id).cloned()
    }

    /// The scopes in memory that have this id: one, unless somebody asked for a guild's or user's id as a
    /// channel.
    pub(crate) fn with_id(&self, id: Snowflake) -> Vec<Arc<Scope>> {
        let shard = shard_of(&self.shards, id);
        let kinds = [ScopeId::Channel(ChannelId(id)), ScopeId::Guild(GuildId(id)), ScopeId::User(UserId(id))];
        kinds.iter().filter_map(|id| shard.get(id).cloned()).collect()
    }

    /// The scope, made if need be; `None` if the table is full of busy scopes.
    pub(crate) fn get_or_insert(&self, id: ScopeId) -> Option<Arc<Scope>> {
        let mut shard = shard_of(&self.shards, id.id());
        if let Some(scope) = shard.get(&id) {
            return Some(Arc::clone(scope));
        }
        let mut left = None;
        if shard.len() >= self.shard_max {
            let id = shard.iter().take(EVICTION_LOOKS).find(|(_, scope)| leaves(scope)).map(|(id, _)| *id)?;
            shard.remove(&id);
            left = Some(id);
        }
        let scope = Arc::new(Scope::new(id, self.versions.clone()));
        shard.insert(id, Arc::clone(&scope));
        drop(shard);
        if let Some(left) = left {
            self.unweigh(left);
        }
        self.trim(&scope);
        Some(scope)
    }

    /// Removes a scope without content, unless somebody else holds it.
    pub(crate) fn drop_unused(&self, scope: &Arc<Scope>) {
        let mut shard = shard_of(&self.shards, scope.id.id());
        // The two references are the table's and the caller's. A scope that left the table has only the
        // caller's.
        let unused = Arc::strong_count(scope) == 2 && scope.lock().is_blank();
        if !unused {
            return;
        }
        shard.remove(&scope.id);
        drop(shard);
        self.unweigh(scope.id);
    }

    /// Removes the weight of a scope that has left the table. Never call it under a lock, as [`Self::trim`].
    fn unweigh(&self, id: ScopeId) {
        self.weights.invalidate(&id);
        // The scope may have come back before its weight was removed.
        if let Some(back) = self.get(id) {
            self.trim(&back);
        }
    }

    /// Reports a scope's present weight and that it was used. Never call it under the lock of a scope or a
    /// shard: it may evict others.
    pub(crate) fn trim(&self, scope: &Scope) {
        let bytes = SCOPE_BYTES + scope.lock().bytes();
        self.weights.insert(scope.id, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Notes a use of the scope's tail.
    pub(crate) fn touch(&self, id: ScopeId) {
        self.weights.get(&id);
    }

    /// Number of weights and their sum in bytes, after all due evictions.
    pub(crate) fn weighed(&self) -> (u64, u64) {
        self.weights.run_pending_tasks();
        (self.weights.entry_count(), self.weights.weighted_size())
    }

    /// Ids of the scopes of one shard, of which there are [`SHARDS`].
    pub(crate) fn ids_of_shard(&self, shard: usize) -> Vec<ScopeId> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// All scopes now in memory.
    pub(crate) fn all(&self) -> Vec<Arc<Scope>> {
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: u64) -> ScopeId {
        ScopeId::Channel(ChannelId::try_from(id).expect("not 0"))
    }

    #[test]
    fn a_full_table_forgets_idle_scopes_and_never_one_in_use() {
        let table = ScopeTable::new(SHARDS, 1 << 20);
        let held = table.get_or_insert(channel(1)).expect("room");
        for id in 2..5_000 {
            let _ = table.get_or_insert(channel(id));
        }
        assert!(table.all().len() <= SHARDS);
        let again = table.get_or_insert(channel(1)).expect("still there");
        assert!(Arc::ptr_eq(&held, &again), "a scope in use must not be replaced by a second one");
    }

    /// Does what a read of a made-up id does: it leaves an empty tail, which has no rows.
    fn ask_for(table: &ScopeTable, id: u64) {
        let scope = table.get_or_insert(channel(id)).expect("room");
        let mut tail = weir_protect::tail::Tail::new(BOUNDS);
        tail.seed(Vec::new(), 0, true);
        scope.lock().put_tail(1, tail);
        table.trim(&scope);
    }

    const BOUNDS: weir_protect::tail::TailBounds =
        weir_protect::tail::TailBounds { rows_max: 10, bytes_max: 1 << 10 };

    #[test]
    fn empty_tails_of_any_number_of_ids_stay_within_the_bytes() {
        const BYTES_MAX: usize = 1 << 20;
        let table = ScopeTable::new(1_000_000, BYTES_MAX);
        for id in 1..=50_000 {
            ask_for(&table, id << 22);
        }
        let (weights, bytes) = table.weighed();
        assert!(bytes <= BYTES_MAX as u64, "{bytes} bytes");
        let most = BYTES_MAX / SCOPE_BYTES;
        let scopes = table.all().len();
        assert!(scopes <= most && weights <= most as u64, "{scopes} scopes, {weights} weights, not {most}");
        assert!(scopes > most / 2, "{scopes} scopes: the bound is used");
    }

    #[test]
    fn a_scope_that_leaves_takes_its_weight_along() {
        let table = ScopeTable::new(SHARDS, 1 << 30);
        for id in 1..=10_000 {
            ask_for(&table, id << 22);
        }
        let (weights, bytes) = table.weighed();
        let scopes = table.all().len();
        assert!(scopes <= SHARDS);
        assert_eq!((weights, bytes), (scopes as u64, (scopes * SCOPE_BYTES) as u64));
    }

    #[test]
    fn a_scope_in_use_loses_its_tail_alone() {
        let table = ScopeTable::new(1_000, SCOPE_BYTES * 4);
        ask_for(&table, 1);
        let held = table.get(channel(1)).expect("there");
        for id in 2..200 {
            ask_for(&table, id);
            table.weighed();
        }
        assert!(table.get(channel(1)).is_some_and(|scope| Arc::ptr_eq(&scope, &held)));
        assert!(held.lock().tail.is_none() || table.weighed().1 <= (SCOPE_BYTES * 4) as u64);
        assert!(table.all().len() <= 5, "four, and the one in use");
    }

    #[test]
    fn only_a_blank_scope_that_nobody_else_has_is_dropped() {
        let table = ScopeTable::new(1_000, 1 << 20);
        let scope = table.get_or_insert(channel(7)).expect("room");
        let other = Arc::clone(&scope);
        table.drop_unused(&scope);
        assert!(table.get(channel(7)).is_some(), "somebody else has it");
        drop(other);
        table.drop_unused(&scope);
        assert!(table.get(channel(7)).is_none());
        assert_eq!(table.weighed(), (0, 0));
        table.drop_unused(&scope);
        ask_for(&table, 7);
        let scope = table.get(channel(7)).expect("there");
        table.drop_unused(&scope);
        assert!(table.get(channel(7)).is_some(), "it has a tail");
    }

    #[test]
    fn a_guild_and_a_channel_of_one_number_are_two_scopes() {
        let table = ScopeTable::new(1_000, 1 << 20);
        let number = Snowflake::try_from(7).expect("not 0");
        let guild = table.get_or_insert(ScopeId::Guild(GuildId(number))).expect("room");
        let made_up = table.get_or_insert(channel(7)).expect("room");
        assert!(!Arc::ptr_eq(&guild, &made_up));
        let ids: Vec<ScopeId> = table.with_id(number).iter().map(|scope| scope.id).collect();
        assert_eq!(ids, [channel(7), guild.id]);
    }
}
