//! Floors of a store whose every read sees everything that is resolved.

use std::sync::Arc;

use weir_protect::{Outcome, Protect, ReadContext, ReadRequest, Store};

use crate::fake::{Broken, FakeStore, LATEST, MS, MapCache, Page, Rows};

/// Asks two replicas whatever the context says.
struct AlwaysQuorum(FakeStore);

impl Store for AlwaysQuorum {
    type Key = u64;
    type Query = Page;
    type Value = Rows;
    type Error = Broken;

    const QUORUM: bool = true;

    async fn read(&self, key: &u64, query: &Page, context: ReadContext) -> Result<Rows, Broken> {
        self.0.read(key, query, ReadContext { floor: context.floor.max(1), ..context }).await
    }

    fn floor(&self, key: &u64) -> u64 {
        self.0.floor(key)
    }
}

/// A page that was read without a token has its floor all the same: who holds a token hits it.
#[tokio::test(start_paused = true)]
async fn pages_of_a_store_that_always_asks_a_quorum_have_their_floor() {
    let store = FakeStore::new(100 * MS);
    let cache = Arc::new(MapCache::<Page, Rows>::default());
    let layer = Protect::builder(AlwaysQuorum(store.clone())).cache(cache).build();
    store.append_at(&[1, 2], 1, 3);
    store.resolve(1, 3);
    layer.generations().bump_append(&1_u64);
    let request = |floor| {
        let deadline = layer.clock().now().after(1_000 * MS);
        crate::fake::but(ReadRequest::new(1, LATEST, deadline), |page| page.floor = floor)
    };
    let led = layer.read(request(None)).await.unwrap();
    assert_eq!((led.outcome(), led.value.newest(), led.explain.floor), (Outcome::Led, 3, 3));
    let held = layer.read(request(Some(3))).await.unwrap();
    assert_eq!((held.outcome(), held.value.newest(), held.explain.floor), (Outcome::Hit, 3, 3));
}
