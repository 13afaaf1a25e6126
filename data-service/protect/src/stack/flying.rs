//! One flight, from its place in the store to its result. It runs in a task of its own: nothing here depends
//! on a caller.

use std::{sync::Arc, time::Duration};

use super::{Inner, Landed, Landing, LeadOf, places};
use crate::{
    cache::Stamped,
    clock::Nanos,
    error::{ReadError, Stage},
    flight::table::Begun,
    gates::Gate,
    generation::Dependence,
    request::Scopes,
    store::{ReadContext, Store, Value},
};

/// Takes the places, reads the store, fills the cache, and only then publishes the result.
///
/// Every way out finishes `lead`: a panic and a stopping runtime do so through its `Drop`. Places are freed
/// the same way.
pub(super) async fn fly<S: Store>(
    inner: Arc<Inner<S>>,
    lead: LeadOf<S>,
    scopes: Scopes,
    (dependence, index, store_timeout): (Dependence, bool, Option<Duration>),
) {
    let queued_at = inner.clock.now();
    let places = match places::take(&inner, &lead, &scopes).await {
        Ok(places) => places,
        Err(error) => return lead.finish(Err(error)),
    };
    let read_at = inner.clock.now();
    // Both are captured before the read is sent, so that they can only understate its freshness.
    let floor = inner.store.floor(lead.key());
    let begun = Begun { generation: inner.generations.snapshot(lead.key()), floor };
    let Some(begun) = lead.begin(read_at, begun, S::QUORUM) else {
        return lead.finish(Err(ReadError::DeadlineExceeded { stage: Stage::Queue }));
    };
    let store_timeout = store_timeout.unwrap_or(inner.config.store_timeout);
    let result = read(&inner, &lead, read_at, store_timeout).await;
    // The database has answered, or is given up: its place goes to the next flight before this one's waiters
    // wake.
    drop(places);
    let landed = result.map(|value| {
        let dependence = value.dependence(lead.query(), dependence);
        // The present generation would make an old answer look new.
        let Begun { generation, floor } = begun;
        let entry = Stamped { value, generation, dependence, floor, read_at };
        let store = inner.clock.now().since(read_at);
        Landed { entry, concurrency: read_at.since(queued_at), store }
    });
    let fill = fill(&inner, &lead, &landed, index);
    lead.land(landed, fill);
}

async fn read<S: Store>(
    inner: &Inner<S>,
    lead: &LeadOf<S>,
    read_at: Nanos,
    store_timeout: Duration,
) -> Result<S::Value, ReadError<S::Error>> {
    let flight = lead.flight();
    let deadline = read_at.after(store_timeout);
    let context = ReadContext { deadline, floor: flight.floor(), priority: flight.priority() };
    let read = inner.store.read(lead.key(), lead.query(), context);
    let result = match tokio::time::timeout(store_timeout, read).await {
        Ok(result) => result.map_err(ReadError::Store),
        Err(_) => Err(ReadError::StoreTimeout { after: store_timeout }),
    };
    let elapsed = inner.clock.now().since(read_at);
    inner.observer.on_db_read(lead.key(), elapsed, result.is_ok(), flight.waiters());
    result
}

/// Puts the page into the cache before the flight's entry is removed and before any caller sees the page. So
/// a caller that finds no flight finds the page, and one that has seen the page finds no older one in the
/// cache.
fn fill<'a, S: Store>(
    inner: &'a Inner<S>,
    lead: &LeadOf<S>,
    landed: &Landing<S>,
    index: bool,
) -> impl FnOnce() + use<'a, S> {
    let page =
        landed.as_ref().ok().map(|landed| (lead.key().clone(), lead.query().clone(), landed.entry.clone()));
    move || {
        let Some((key, query, entry)) = page.filter(|_| index || inner.gates.is_on(Gate::Cache)) else {
            return;
        };
        if entry.is_worth_keeping(&key, &inner.generations) {
            inner.cache.put(&key, &query, entry);
        }
    }
}
