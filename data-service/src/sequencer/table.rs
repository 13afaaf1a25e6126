//! All scopes in memory, bounded in number, with the tails bounded in bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moka::notification::RemovalCause;

use super::scope::{Scope, ScopeKind, Versions};

/// Shards of the table: enough that the lock of one is rarely waited for on machines of up to 64 cores.
const SHARDS: usize = 64;
/// Scopes looked at for one that may leave, when a shard is full. If all of them are busy the newcomer is refused.
const EVICTION_LOOKS: usize = 32;

type Shard = Mutex<HashMap<u64, Arc<Scope>>>;

/// The table. moka decides whose tail leaves when all tails together grow above their bound; it holds weights only, the tails stay with
/// their scopes, so that there is one place where a tail changes.
pub(crate) struct ScopeTable {
    shards: Arc<[Shard]>,
    shard_max: usize,
    versions: Versions,
    tails: moka::sync::Cache<u64, u32>,
}

fn shard_of(shards: &[Shard], id: u64) -> MutexGuard<'_, HashMap<u64, Arc<Scope>>> {
    // Snowflakes differ in their middle bits; a multiplication by an odd constant (2^64 / golden ratio) spreads them to the top.
    let index = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS;
    shards[index].lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScopeTable {
    pub(crate) fn new(scopes_max: usize, tails_bytes_max: usize) -> Self {
        let shards: Arc<[Shard]> = (0..SHARDS).map(|_| Shard::default()).collect();
        let for_listener = Arc::clone(&shards);
        let tails = moka::sync::Cache::builder()
            .max_capacity(tails_bytes_max as u64)
            .weigher(|_, bytes: &u32| (*bytes).max(1))
            .eviction_listener(move |id: Arc<u64>, _, cause| {
                if cause != RemovalCause::Size {
                    return;
                }
                let scope = shard_of(&for_listener, *id).get(&*id).cloned();
                if let Some(scope) = scope {
                    let mut state = scope.lock();
                    state.tail = None;
                    state.changed();
                }
            })
            .build();
        let shard_max = scopes_max.div_ceil(SHARDS).max(1);
        Self { shards, shard_max, versions: Versions::default(), tails }
    }

    /// What bytes all tails weigh, to look at.
    pub(crate) fn weight(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let tails = self.tails.clone();
        move || usize::try_from(tails.weighted_size()).unwrap_or(usize::MAX)
    }

    /// The scope, if it is in memory.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Scope>> {
        shard_of(&self.shards, id).get(&id).cloned()
    }

    /// The scope, made if need be; `None` if the table is full of busy ones, or the id is busy as the other kind.
    pub(crate) fn get_or_insert(&self, id: u64, kind: ScopeKind) -> Option<Arc<Scope>> {
        let mut shard = shard_of(&self.shards, id);
        // Only the table holds it and nothing runs or waits: nobody can be about to use it, because finding it takes this lock.
        let leaves = |scope: &Arc<Scope>| Arc::strong_count(scope) == 1 && scope.lock().idle();
        match shard.get(&id) {
            Some(scope) if scope.kind == kind => return Some(Arc::clone(scope)),
            // A read may have asked for a guild's id as a channel: what that left behind makes room.
            Some(other) if leaves(other) => drop(shard.remove(&id)),
            Some(_) => return None,
            None => {}
        }
        if shard.len() >= self.shard_max {
            let id = shard.iter().take(EVICTION_LOOKS).find(|(_, scope)| leaves(scope)).map(|(id, _)| *id)?;
            shard.remove(&id);
        }
        let scope = Arc::new(Scope::new(id, kind, self.versions.clone()));
        shard.insert(id, Arc::clone(&scope));
        Some(scope)
    }

    /// Tells how large a scope's tail is now, and that it was used. Not under the lock of any scope: the eviction of another one's tail
    /// may run inside.
    pub(crate) fn trim(&self, scope: &Scope) {
        let bytes = {
            let state = scope.lock();
            if state.tail.is_none() {
                return;
            }
            u32::try_from(state.tail_bytes()).unwrap_or(u32::MAX)
        };
        self.tails.insert(scope.id, bytes);
    }

    /// Notes a use of the scope's tail.
    pub(crate) fn touch(&self, id: u64) {
        self.tails.get(&id);
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

    #[test]
    fn a_full_table_forgets_idle_scopes_and_never_one_in_use() {
        let table = ScopeTable::new(SHARDS, 1 << 20);
        let held = table.get_or_insert(1, ScopeKind::Channel).expect("room");
        for id in 2..5_000 {
            let _ = table.get_or_insert(id, ScopeKind::Channel);
        }
        assert!(table.all().len() <= SHARDS);
        let again = table.get_or_insert(1, ScopeKind::Channel).expect("still there");
        assert!(Arc::ptr_eq(&held, &again), "a scope in use must not be replaced by a second one");
    }

    #[test]
    fn an_id_has_one_kind() {
        let table = ScopeTable::new(1_000, 1 << 20);
        let guild = table.get_or_insert(7, ScopeKind::Guild);
        assert!(guild.is_some());
        assert!(table.get_or_insert(7, ScopeKind::Channel).is_none());
        drop(guild);
        assert!(table.get_or_insert(7, ScopeKind::Channel).is_some(), "nobody uses it as a guild");
    }
}
