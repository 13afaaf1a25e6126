//! Negative controls: the checker must flag the coalescing of known caches, or it would prove nothing about
//! ours.

use foyer_memory::{Cache, CacheBuilder};
use weir_protect::{Nanos, Priority, ReadContext, Store};

use crate::{
    checker::{atomic, regular},
    fake::{Broken, FakeStore, LATEST, MS, Seeded, pause},
    simulation::{Subject, violation},
};

fn store(seed: u64) -> FakeStore {
    let store = FakeStore::new(10 * MS);
    store.random(seed, true);
    store
}

async fn read(store: FakeStore) -> Result<u64, Broken> {
    let context = ReadContext { deadline: Nanos::NEVER, floor: 0, priority: Priority::Interactive };
    store.read(&1, &LATEST, context).await.map(|rows| rows.newest())
}

/// Commit, then invalidate, then acknowledge: all that the interface of either cache allows a writer to do.
async fn commit(store: &FakeStore, value: u64, random: &mut Seeded) {
    pause(random.up_to(10)).await;
    store.append(1, value);
    pause(random.up_to(10)).await;
}

/// moka's `try_get_with`.
#[derive(Clone)]
struct Moka(FakeStore, moka::future::Cache<u64, u64>);

impl Subject for Moka {
    async fn read(&self, _: bool) -> Option<u64> {
        self.1.try_get_with(1, read(self.0.clone())).await.ok()
    }

    async fn write(&self, value: u64, random: &mut Seeded) -> bool {
        commit(&self.0, value, random).await;
        self.1.invalidate(&1).await;
        true
    }
}

/// foyer's fetch.
#[derive(Clone)]
struct Foyer(FakeStore, Cache<u64, u64>);

impl Subject for Foyer {
    async fn read(&self, _: bool) -> Option<u64> {
        let store = self.0.clone();
        self.1.get_or_fetch(&1, || read(store)).await.ok().map(|entry| *entry.value())
    }

    async fn write(&self, value: u64, random: &mut Seeded) -> bool {
        commit(&self.0, value, random).await;
        self.1.remove(&1);
        true
    }
}

/// No cache at all: the plain store, which the checker must pass.
#[derive(Clone)]
struct Plain(FakeStore);

impl Subject for Plain {
    async fn read(&self, _: bool) -> Option<u64> {
        read(self.0.clone()).await.ok()
    }

    async fn write(&self, value: u64, random: &mut Seeded) -> bool {
        commit(&self.0, value, random).await;
        true
    }
}

#[test]
fn moka_try_get_with_is_flagged() {
    let flagged = violation(50, regular, |seed| Moka(store(seed), moka::future::Cache::new(10))).unwrap_err();
    assert!(flagged.contains("misses"), "{flagged}");
}

#[test]
fn foyer_fetch_is_flagged() {
    let flagged =
        violation(50, regular, |seed| Foyer(store(seed), CacheBuilder::new(10).build())).unwrap_err();
    assert!(flagged.contains("misses"), "{flagged}");
}

#[test]
fn the_plain_store_passes() {
    violation(50, atomic, |seed| Plain(store(seed))).unwrap();
}
