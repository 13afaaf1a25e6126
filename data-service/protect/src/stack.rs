//! The stack: the order in which a read meets the gates, and the only place that knows it.
//!
//! | # | gate | why here | turned away |
//! |--|--|--|--|
//! | 1 | deadline | work that comes too late costs least when it is dropped first | `DeadlineExceeded` at `Arrival` |
//! | – | *priority shed (later)* | an overloaded node spends least on what it sheds | |
//! | 2 | request limit | fairness between channels, before a hot one can occupy shared tables | `RequestLimit` |
//! | 3 | tail, then page cache | a hit costs no database budget | |
//! | 4 | join a flight | many callers, one read; only leaders go further | `FlightsFull` |
//! | 5 | database-read limit | charged once for each flight, so that joining costs no budget | `DatabaseReadLimit` |
//! | 6 | concurrency: partition, then scopes | no partition occupies the store, however few its flights | `Concurrency…` |
//! | – | *adaptive limit of the shard (later)* | | |
//! | 7 | store | | `Store`, `StoreTimeout` |
//!
//! Between 3 and 4 there is a gap in which a flight can end: a leader therefore looks into the cache once more before
//! it goes on. The flight itself, from 6 on, runs in a task of its own ([`flying`]).

mod flying;
mod places;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cache::{NoCache, NoTail, PageCache, Stamped, TailSource},
    clock::{Clock, Nanos, TokioClock},
    concurrency::ConcurrencyGate,
    config::ProtectConfig,
    error::{ReadError, Refusal, RefusalReason, Stage},
    fault::Fault,
    flight::{Entered, FlightTable, Lead, Lost, Waiter, Want},
    gates::{Gate, Gates},
    generation::Generations,
    limit::{LimitKind, Limits, Scope},
    observe::{NoObserver, Observer},
    request::{Explain, GateTimes, Outcome, ReadRequest, Reply},
    store::{Query, Store, Value},
};

/// A finished flight, shared by its waiters.
#[derive(Debug, Clone)]
struct Landed<V> {
    entry: Stamped<V>,
    /// Waiting for a place in the store.
    concurrency: Duration,
    /// In the store.
    store: Duration,
}

type Landing<S> = Result<Landed<<S as Store>::Value>, ReadError<<S as Store>::Error>>;
type Flights<S> = FlightTable<<S as Store>::Key, <S as Store>::Query, Landing<S>>;
type LeadOf<S> = Lead<<S as Store>::Key, <S as Store>::Query, Landing<S>>;
type EnteredOf<S> = Entered<<S as Store>::Key, <S as Store>::Query, Landing<S>, Reply<<S as Store>::Value>>;
type WaiterOf<S> = Waiter<Landing<S>>;
type RequestOf<S> = ReadRequest<<S as Store>::Key, <S as Store>::Query>;
type ReadResult<S> = Result<Reply<<S as Store>::Value>, ReadError<<S as Store>::Error>>;

/// A store behind the gates. Cheap to clone: all clones are one layer.
pub struct Protect<S: Store> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Store> {
    store: S,
    config: ProtectConfig,
    clock: Arc<dyn Clock>,
    cache: Arc<dyn PageCache<S::Key, S::Query, S::Value>>,
    tail: Arc<dyn TailSource<S::Key, S::Query, S::Value>>,
    observer: Arc<dyn Observer<S::Key>>,
    gates: Arc<Gates>,
    generations: Arc<Generations>,
    limits: Arc<Limits>,
    flights: Arc<Flights<S>>,
    partitions: Arc<ConcurrencyGate<S::Key>>,
    scopes: Arc<ConcurrencyGate<Scope>>,
}

/// Puts a [`Protect`] together. Everything but the store has a default.
pub struct Builder<S: Store> {
    store: S,
    config: ProtectConfig,
    clock: Option<Arc<dyn Clock>>,
    cache: Arc<dyn PageCache<S::Key, S::Query, S::Value>>,
    tail: Arc<dyn TailSource<S::Key, S::Query, S::Value>>,
    observer: Arc<dyn Observer<S::Key>>,
    limits: Option<Arc<Limits>>,
    generations: Option<Arc<Generations>>,
}

impl<S: Store> Builder<S> {
    /// Bounds and timeouts.
    #[must_use]
    pub fn config(mut self, config: ProtectConfig) -> Self {
        self.config = config;
        self
    }

    /// The clock that deadlines are expressed in. Default: a [`TokioClock`] made now.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The bounded page store. Default: [`NoCache`].
    #[must_use]
    pub fn cache(mut self, cache: Arc<dyn PageCache<S::Key, S::Query, S::Value>>) -> Self {
        self.cache = cache;
        self
    }

    /// The live tails. Default: [`NoTail`].
    #[must_use]
    pub fn tail(mut self, tail: Arc<dyn TailSource<S::Key, S::Query, S::Value>>) -> Self {
        self.tail = tail;
        self
    }

    /// Metrics. Default: [`NoObserver`].
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer<S::Key>>) -> Self {
        self.observer = observer;
        self
    }

    /// Limits shared with a write path or with another layer on the same clock. Default: its own, without rules.
    #[must_use]
    pub fn limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Generations shared with another layer over the same partitions. Default: its own.
    #[must_use]
    pub fn generations(mut self, generations: Arc<Generations>) -> Self {
        self.generations = Some(generations);
        self
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> Protect<S> {
        let config = self.config;
        let faults = config.faults;
        let clock = self.clock.unwrap_or_else(|| Arc::new(TokioClock::new()));
        let limits = self
            .limits
            .unwrap_or_else(|| Arc::new(Limits::with_faults(config.limit_slots, Arc::clone(&clock), faults)));
        let generations = self
            .generations
            .unwrap_or_else(|| Arc::new(Generations::with_faults(config.generation_cells, faults)));
        let gate_shards = 64;
        let inner = Inner {
            store: self.store,
            cache: self.cache,
            tail: self.tail,
            observer: self.observer,
            gates: Arc::new(Gates::default()),
            flights: FlightTable::with_faults(gate_shards, config.flights_max, lost::<S>, faults),
            partitions: Arc::new(ConcurrencyGate::with_faults(gate_shards, config.queue_len_max, faults)),
            scopes: Arc::new(ConcurrencyGate::with_faults(gate_shards, config.queue_len_max, faults)),
            config,
            clock,
            generations,
            limits,
        };
        Protect { inner: Arc::new(inner) }
    }
}

fn lost<S: Store>(lost: Lost) -> Landing<S> {
    Err(match lost {
        Lost::Panicked => ReadError::Panicked,
        Lost::Dropped => ReadError::Stopped,
    })
}

impl<S: Store> Protect<S> {
    /// Starts putting a layer over `store` together.
    #[must_use]
    pub fn builder(store: S) -> Builder<S> {
        Builder {
            store,
            config: ProtectConfig::default(),
            clock: None,
            cache: Arc::new(NoCache),
            tail: Arc::new(NoTail),
            observer: Arc::new(NoObserver),
            limits: None,
            generations: None,
        }
    }

    /// The store behind the gates, for writes and for reads that must not be shared.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.store
    }

    /// The clock that deadlines are expressed in.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The barrier: a writer commits, bumps, then acknowledges.
    #[must_use]
    pub fn generations(&self) -> &Arc<Generations> {
        &self.inner.generations
    }

    /// The limits, to be tuned live, and charged by the write path.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.inner.limits
    }

    /// The off switches.
    #[must_use]
    pub fn gates(&self) -> &Arc<Gates> {
        &self.inner.gates
    }

    /// Flights under way, those that wait for a place included.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.inner.flights.live()
    }

    /// Reads of one partition that are in the store now, and flights that wait for a place.
    #[must_use]
    pub fn partition_load(&self, key: &S::Key) -> (u32, usize) {
        (self.inner.partitions.in_flight(key), self.inner.partitions.queued(key))
    }

    /// Reads one page through the gates.
    ///
    /// # Errors
    /// [`ReadError`]: by the deadline at the latest. A refusal has charged nothing and has not touched the store.
    ///
    /// # Cancel safety
    /// Dropping the future detaches this caller and nothing else: a flight that it started goes on for the others,
    /// and to fill the cache.
    pub async fn read(&self, request: RequestOf<S>) -> ReadResult<S> {
        let arrived = self.inner.clock.now();
        let result = self.through_the_gates(&request, arrived).await;
        let elapsed = self.inner.clock.now().since(arrived);
        let observer = &self.inner.observer;
        match &result {
            Ok(reply) => observer.on_read(&request.key, reply.explain.outcome, elapsed),
            Err(error) => {
                if let Some(refusal) = error.refusal() {
                    observer.on_refused(&request.key, refusal.reason);
                }
                observer.on_error(&request.key, error.label(), elapsed);
            }
        }
        result
    }

    async fn through_the_gates(&self, request: &RequestOf<S>, arrived: Nanos) -> ReadResult<S> {
        let inner = &self.inner;
        if request.deadline <= arrived {
            return Err(ReadError::DeadlineExceeded { stage: Stage::Arrival });
        }
        let would_refuse = if request.request_charged {
            None
        } else {
            inner.charge(request, Gate::RequestLimit, LimitKind::Requests, arrived)?
        };
        let wider = if inner.gates.is_on(Gate::Coalesce) { request.query.wider() } else { Vec::new() };
        if let Some(mut reply) = inner.cached(request, &wider, arrived) {
            reply.explain.would_refuse = would_refuse;
            return Ok(reply);
        }
        let mut answer = self.fly(request, wider, arrived).await;
        if answer.as_ref().is_err_and(ReadError::is_store_side) {
            answer = inner.stale(request, arrived).map_or(answer, Ok);
        }
        answer.map(|mut reply| {
            reply.explain.would_refuse = reply.explain.would_refuse.or(would_refuse);
            reply
        })
    }

    /// Gates 4 to 7: joins a flight or leads one, and waits for its result.
    async fn fly(&self, request: &RequestOf<S>, mut wider: Vec<S::Query>, arrived: Nanos) -> ReadResult<S> {
        let inner = &self.inner;
        let admitted = inner.clock.now();
        let mut lost_leader = false;
        // A second round only when a wider page turned out not to hold the answer; then none is looked for.
        loop {
            let mut would_refuse = None;
            let (waiter, outcome, wide) = match inner.enter(request, &wider, lost_leader) {
                Entered::Found(reply) => return Ok(reply),
                Entered::Joined(waiter) => (waiter, Outcome::Joined, None),
                Entered::Subsumed(waiter, wide) => (waiter, Outcome::Subsumed, Some(wide)),
                Entered::Full => {
                    return Err(inner.refused_by_bound(RefusalReason::FlightsFull, "flights_max"));
                }
                Entered::Led(lead, waiter) => {
                    would_refuse = self.launch(lead, request).await;
                    (waiter, Outcome::Led, None)
                }
            };
            let landed = match self.wait(waiter, request).await {
                Err(ReadError::Panicked) if inner.faulty(Fault::FollowersRetry) && !lost_leader => {
                    lost_leader = true;
                    continue;
                }
                Err(ReadError::Store(_)) if inner.faulty(Fault::RetryInTurn) && outcome != Outcome::Led => {
                    continue;
                }
                landed => landed?,
            };
            let value = match wide {
                None => landed.entry.value.clone(),
                Some(wide) => match inner.cut(&landed.entry.value, &wide, &request.query) {
                    Some(value) => value,
                    None => {
                        wider.clear();
                        continue;
                    }
                },
            };
            let now = inner.clock.now();
            let times = GateTimes {
                admission: admitted.since(arrived),
                flight: now.since(admitted),
                concurrency: landed.concurrency,
                store: landed.store,
            };
            return Ok(reply(outcome, value, &landed.entry, times, now, would_refuse));
        }
    }

    /// Gate 5 and the start of the flight. A refusal reaches the leader and whoever joined through the flight.
    ///
    /// Returns a dry-run limit that would have refused. Does not wait, except under [`Fault::LeadInline`].
    async fn launch(&self, lead: LeadOf<S>, request: &RequestOf<S>) -> Option<Arc<str>> {
        let inner = &self.inner;
        let now = inner.clock.now();
        match inner.charge(request, Gate::DatabaseReadLimit, LimitKind::DatabaseReads, now) {
            Err(refused) => {
                lead.finish(Err(refused));
                None
            }
            Ok(would_refuse) => {
                let flight = flying::fly(Arc::clone(inner), lead, request.scopes, request.dependence);
                if inner.faulty(Fault::LeadInline) {
                    Box::pin(flight).await;
                } else {
                    tokio::spawn(flight);
                }
                would_refuse
            }
        }
    }

    async fn wait(&self, waiter: WaiterOf<S>, request: &RequestOf<S>) -> Landing<S> {
        let left = request.deadline.since(self.inner.clock.now());
        match tokio::time::timeout(left, waiter).await {
            Ok(landing) => landing,
            Err(_) => Err(ReadError::DeadlineExceeded { stage: Stage::Flight }),
        }
    }
}

impl<S: Store> Inner<S> {
    fn faulty(&self, fault: Fault) -> bool {
        self.config.faults.armed(fault)
    }

    /// Charges the request's scopes, unless the gate is off.
    fn charge(
        &self,
        request: &RequestOf<S>,
        gate: Gate,
        kind: LimitKind,
        now: Nanos,
    ) -> Result<Option<Arc<str>>, ReadError<S::Error>> {
        if !self.gates.is_on(gate) {
            return Ok(None);
        }
        let charged = self.limits.charge(request.scopes.as_slice(), kind, now);
        charged.map(|admitted| admitted.would_refuse).map_err(ReadError::Refused)
    }

    fn refused_by_bound(&self, reason: RefusalReason, limit: &str) -> ReadError<S::Error> {
        let retry_after = self.config.queue_wait_max;
        ReadError::Refused(Refusal { reason, scope: None, limit: Arc::from(limit), retry_after })
    }

    /// Gate 4. A caller that would lead looks into the page cache once more, in the same step.
    fn enter(&self, request: &RequestOf<S>, wider: &[S::Query], lost_leader: bool) -> EnteredOf<S> {
        let ReadRequest { key, query, dependence, floor, deadline, priority, .. } = request;
        let (dependence, floor, deadline, priority) = (*dependence, *floor, *deadline, *priority);
        let want = Want { dependence, floor, deadline, priority };
        if !self.gates.is_on(Gate::Coalesce) || lost_leader {
            let alone = self.flights.alone(key, query, &want);
            return alone.map_or(Entered::Full, |(lead, waiter)| Entered::Led(lead, waiter));
        }
        let look = || self.page(request, query, self.clock.now());
        self.flights.enter(key, query, wider, &want, || self.generations.snapshot(key), look)
    }

    /// Gate 3: the tail, the page itself, a wider page.
    fn cached(&self, request: &RequestOf<S>, wider: &[S::Query], now: Nanos) -> Option<Reply<S::Value>> {
        if !request.allow_cache || !self.gates.is_on(Gate::Cache) {
            return None;
        }
        self.tail_page(request, now)
            .or_else(|| self.page(request, &request.query, now))
            .or_else(|| wider.iter().find_map(|wide| self.page(request, wide, now)))
    }

    fn tail_page(&self, request: &RequestOf<S>, now: Nanos) -> Option<Reply<S::Value>> {
        let answer = self.tail.serve(&request.key, &request.query)?;
        if !self.reaches(answer.floor, request) {
            return None;
        }
        let times = GateTimes { admission: self.clock.now().since(now), ..GateTimes::default() };
        let (outcome, age) = (Outcome::Hit, Duration::ZERO);
        let explain = Explain { outcome, age, floor: answer.floor, times, would_refuse: None };
        Some(Reply { value: answer.value, explain })
    }

    /// The cached page of `query`, the request's own or a wider one, if it is a hit.
    fn page(&self, request: &RequestOf<S>, query: &S::Query, now: Nanos) -> Option<Reply<S::Value>> {
        if !request.allow_cache || !self.gates.is_on(Gate::Cache) {
            return None;
        }
        let entry = self.cache.get(&request.key, query)?;
        let age_max =
            request.age_max.map_or(self.config.cache_age_max, |max| max.min(self.config.cache_age_max));
        let fresh = self.generations.is_servable(&request.key, entry.generation, entry.dependence);
        let hit = (fresh || self.faulty(Fault::HitIgnoresStamp))
            && entry.age(now) <= age_max
            && self.reaches(entry.floor, request);
        if !hit {
            return None;
        }
        self.served(request, query, &entry, Outcome::Hit, now)
    }

    /// A cached page that may be out of date, for a caller that accepts it; never one below its token.
    fn stale(&self, request: &RequestOf<S>, arrived: Nanos) -> Option<Reply<S::Value>> {
        let stale_max = request.stale_max.filter(|_| self.gates.is_on(Gate::Cache))?;
        let entry = self.cache.get(&request.key, &request.query)?;
        let reaches = self.reaches(entry.floor, request) || self.faulty(Fault::StaleIgnoresFloor);
        if !reaches || entry.age(self.clock.now()) > stale_max {
            return None;
        }
        self.served(request, &request.query, &entry, Outcome::Stale, arrived)
    }

    /// The reply made of a cached entry, cut if it is a wider page's.
    fn served(
        &self,
        request: &RequestOf<S>,
        query: &S::Query,
        entry: &Stamped<S::Value>,
        outcome: Outcome,
        arrived: Nanos,
    ) -> Option<Reply<S::Value>> {
        let (outcome, value) = if *query == request.query {
            (outcome, entry.value.clone())
        } else {
            (Outcome::Subsumed, self.cut(&entry.value, query, &request.query)?)
        };
        let now = self.clock.now();
        let times = GateTimes { admission: now.since(arrived), ..GateTimes::default() };
        Some(reply(outcome, value, entry, times, now, None))
    }

    fn cut(&self, value: &S::Value, from: &S::Query, to: &S::Query) -> Option<S::Value> {
        if self.faulty(Fault::SubsumeUncut) { Some(value.clone()) } else { value.cut(from, to) }
    }

    fn reaches(&self, floor: u64, request: &RequestOf<S>) -> bool {
        request.floor.is_none_or(|wanted| floor >= wanted) || self.faulty(Fault::IgnoreFloor)
    }
}

fn reply<V>(
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

impl<S: Store> Clone for Protect<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: Store> fmt::Debug for Protect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protect")
            .field("config", &self.inner.config)
            .field("flights", &self.inner.flights)
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}

impl<S: Store> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
