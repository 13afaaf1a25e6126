//! Gate 3: answers that need no store, and the conditions under which a cached page is a hit.

use std::{sync::Arc, time::Duration};

use super::{Inner, PageOf};
use crate::{
    cache::Stamped,
    clock::Nanos,
    gates::Gate,
    request::{Explain, GateTimes, Outcome, Reply},
    store::{Store, Value},
};

impl<S: Store> Inner<S> {
    /// Gate 3: the tail, the page itself, a wider page.
    pub(super) fn cached(
        &self,
        request: &PageOf<S>,
        wider: &[S::Query],
        now: Nanos,
    ) -> Option<Reply<S::Value>> {
        self.tail_page(request, now)
            .or_else(|| self.page(request, &request.query, now))
            .or_else(|| wider.iter().find_map(|wide| self.page(request, wide, now)))
    }

    /// True if a cached value may answer.
    fn may_hit(&self, request: &PageOf<S>) -> bool {
        request.allow_cache && (request.index || self.gates.is_on(Gate::Cache))
    }

    /// The page from the tail.
    pub(super) fn tail_page(&self, request: &PageOf<S>, now: Nanos) -> Option<Reply<S::Value>> {
        if !self.may_hit(request) {
            return None;
        }
        let answer = self.tail.serve(&request.key, &request.query)?;
        if !Self::reaches(answer.floor, request) {
            return None;
        }
        let times = GateTimes { admission: self.clock.now().since(now), ..GateTimes::default() };
        let (outcome, age) = (Outcome::Hit, Duration::ZERO);
        let explain = Explain { outcome, age, floor: answer.floor, times, would_refuse: None };
        Some(Reply { value: answer.value, explain })
    }

    /// The cached page of `query`, the request's own or a wider one, if it is a hit.
    pub(super) fn page(&self, request: &PageOf<S>, query: &S::Query, now: Nanos) -> Option<Reply<S::Value>> {
        if !self.may_hit(request) {
            return None;
        }
        let entry = self.cache.get(&request.key, query)?;
        let age_max =
            request.age_max.map_or(self.config.cache_age_max, |max| max.min(self.config.cache_age_max));
        let hit = entry.is_current(&request.key, &self.generations)
            && entry.age(now) <= age_max
            && Self::reaches(entry.floor, request);
        if !hit {
            return None;
        }
        self.served(request, query, &entry, Outcome::Hit, now)
    }

    /// A cached page that may be out of date, for a caller that accepts one; it is never below the caller's
    /// token.
    pub(super) fn stale(&self, request: &PageOf<S>, arrived: Nanos) -> Option<Reply<S::Value>> {
        let stale_max = request.stale_max.filter(|_| self.gates.is_on(Gate::Cache))?;
        let entry = self.cache.get(&request.key, &request.query)?;
        if !Self::reaches(entry.floor, request) || entry.age(self.clock.now()) > stale_max {
            return None;
        }
        self.served(request, &request.query, &entry, Outcome::Stale, arrived)
    }

    /// The reply made of a cached entry, cut if the entry is a wider page's.
    fn served(
        &self,
        request: &PageOf<S>,
        query: &S::Query,
        entry: &Stamped<S::Value>,
        outcome: Outcome,
        arrived: Nanos,
    ) -> Option<Reply<S::Value>> {
        let (outcome, value) = if *query == request.query {
            (outcome, entry.value.clone())
        } else {
            (Outcome::Subsumed, entry.value.cut(query, &request.query)?)
        };
        let now = self.clock.now();
        let times = GateTimes { admission: now.since(arrived), ..GateTimes::default() };
        Some(reply(outcome, value, entry, times, now, None))
    }

    /// True if an answer of this floor contains what the request's token wants.
    fn reaches(floor: u64, request: &PageOf<S>) -> bool {
        request.floor.is_none_or(|wanted| floor >= wanted)
    }
}

/// The reply made of a stamped page.
pub(super) fn reply<V>(
    outcome: Outcome,
    value: V,
    entry: &Stamped<V>,
    times: GateTimes,
    now: Nanos,
    would_refuse: Option<Arc<str>>,
) -> Reply<V> {
    let explain = Explain { outcome, age: entry.age(now), floor: entry.floor, times, would_refuse };
    Reply { value, explain }
}
