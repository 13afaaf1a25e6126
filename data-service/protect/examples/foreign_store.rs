//! Puts the layer in front of an existing table: user profiles in memory, 20 ms a read.
//!
//! `cargo run -p weir-protect --example foreign_store`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use weir_protect::{
    Bound, Change, LimitKind, PageCache, Protect, Query, Quota, ReadContext, ReadError, ReadRequest, Rule,
    Scope, Scopes, Selector, Stamped, Store, Value,
};

/// The existing table. Nothing in it depends on the layer.
#[derive(Clone, Default)]
struct Profiles {
    rows: Arc<Mutex<HashMap<u64, String>>>,
    reads: Arc<AtomicU32>,
}

impl Profiles {
    async fn select(&self, user: u64) -> Result<Option<String>, Unreachable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(self.lock().get(&user).cloned())
    }

    async fn update(&self, user: u64, name: &str) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.lock().insert(user, name.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, String>> {
        self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the table cannot be reached")]
struct Unreachable;

// ---- what the layer needs: a query, a value, a store, and a cache of pages -------------------------------

/// A profile is read whole, so there is one query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whole;
impl Query for Whole {}

#[derive(Debug, Clone)]
struct Profile(Option<Arc<str>>);
impl Value<Whole> for Profile {}

impl Store for Profiles {
    type Key = u64;
    type Query = Whole;
    type Value = Profile;
    type Error = Unreachable;

    async fn read(&self, user: &u64, _: &Whole, _: ReadContext) -> Result<Profile, Unreachable> {
        Ok(Profile(self.select(*user).await?.map(Arc::from)))
    }
}

/// A real service would put a bounded cache here.
#[derive(Default)]
struct Pages(Mutex<HashMap<u64, Stamped<Profile>>>);

impl PageCache<u64, Whole, Profile> for Pages {
    fn get(&self, user: &u64, _: &Whole) -> Option<Stamped<Profile>> {
        self.0.lock().ok()?.get(user).cloned()
    }

    fn put(&self, user: &u64, _: &Whole, page: Stamped<Profile>) {
        if let Ok(mut pages) = self.0.lock() {
            pages.insert(*user, page);
        }
    }
}

// ---- its use -----------------------------------------------------------------------------------------

async fn profile(
    layer: &Protect<Profiles>,
    user: u64,
) -> Result<(&'static str, Profile), ReadError<Unreachable>> {
    let deadline = layer.clock().now().after(Duration::from_secs(1));
    let scopes = Scopes::new(&[Scope::Key(user)]);
    let reply = layer.read(ReadRequest { scopes, ..ReadRequest::new(user, Whole, deadline) }).await?;
    Ok((reply.outcome().label(), reply.value))
}

/// Commits, bumps, then acknowledges; the guard bumps even if this future is dropped in between.
async fn rename(layer: &Protect<Profiles>, user: u64, name: &str) {
    let pending = layer.generations().write(&user, Change::Mutate);
    layer.store().update(user, name).await;
    pending.settle();
}

async fn crowd(layer: &Protect<Profiles>, callers: u32) -> HashMap<&'static str, u32> {
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let layer = layer.clone();
        crowd.spawn(async move { profile(&layer, 1).await.map_or("refused", |(outcome, _)| outcome) });
    }
    let mut outcomes = HashMap::new();
    while let Some(Ok(outcome)) = crowd.join_next().await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = Profiles::default();
    table.update(1, "ada").await;
    let layer = Protect::builder(table.clone()).cache(Arc::new(Pages::default())).build();
    let reads = || table.reads.swap(0, Ordering::Relaxed);

    println!("10,000 callers at once:   {:?}, {} read of the table", crowd(&layer, 10_000).await, reads());
    println!("10,000 more:              {:?}, {} reads", crowd(&layer, 10_000).await, reads());
    rename(&layer, 1, "grace").await;
    let (outcome, renamed) = profile(&layer, 1).await?;
    println!("after a rename:           {outcome} {:?}, {} read", renamed.0, reads());

    let bound = Bound::Rate(Quota::per_second(100.0, 50)?);
    let (name, selector, kind) = (Arc::from("profiles"), Selector::EachKey, LimitKind::Requests);
    layer.limits().set(Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false })?;
    println!("limited to 50 at once:    {:?}, {} reads", crowd(&layer, 1_000).await, reads());
    Ok(())
}
