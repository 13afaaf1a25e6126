//! The stack: the only definition of the order in which a read meets the gates. [`Protect::admit`] is the
//! first two gates, and its result is a parameter of [`Protect::page`], so nothing is read without admission.
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
//! Between 3 and 4 there is a gap in which a flight can end. Therefore a caller that would lead checks the
//! page cache once more, under the flight table's lock, and a flight fills the cache under the same lock when
//! its entry is removed. The flight itself, from 6 on, runs in a task of its own (`stack/flying.rs`).

mod builder;
mod flying;
mod hits;
mod places;

pub use builder::Builder;
use hits::reply;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    cache::{NoCache, NoTail, PageCache, Stamped, TailSource},
    clock::{Clock, Nanos},
    concurrency::ConcurrencyGate,
    config::ProtectConfig,
    error::{ReadError, Refusal, Stage},
    flight::{Entered, FlightTable, Lead, LostLead, Waiter, Want},
    gates::{Gate, Gates},
    generation::Generations,
    limit::{LimitKind, Limits, Scope},
    observe::{NoObserver, Observer},
    reason::RefusalReason,
    request::{Admitted, GateTimes, Outcome, PageRequest, ReadRequest, Reply, Scopes},
    store::{Query, Store, Value},
};

/// A finished flight, shared by its waiters.
#[derive(Debug, Clone)]
struct Landed<V> {
    entry: Stamped<V>,
    /// Time of waiting for a place in the store.
    concurrency: Duration,
    /// Time in the store.
    store: Duration,
}

type Landing<S> = Result<Landed<<S as Store>::Value>, ReadError<<S as Store>::Error>>;
type Flights<S> = FlightTable<<S as Store>::Key, <S as Store>::Query, Landing<S>>;
type LeadOf<S> = Lead<<S as Store>::Key, <S as Store>::Query, Landing<S>>;
type EnteredOf<S> = Entered<<S as Store>::Key, <S as Store>::Query, Landing<S>, Reply<<S as Store>::Value>>;
type WaiterOf<S> = Waiter<Landing<S>>;
type PageOf<S> = PageRequest<<S as Store>::Key, <S as Store>::Query>;
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
    /// Runtime of the flights: that of the code that built the layer, so that nobody waits for a leader whose
    /// threads step back.
    home: Option<Handle>,
}

fn lost<S: Store>(lost: LostLead) -> Landing<S> {
    Err(match lost {
        LostLead::Panicked => ReadError::Panicked,
        LostLead::Dropped => ReadError::Stopped,
    })
}

impl<S: Store> Protect<S> {
    /// Starts building a layer over `store`.
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

    /// The clock of the deadlines.
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

    /// Flights under way, including those that wait for a place.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.inner.flights.live()
    }

    /// Reads of one partition that are in the store now, and flights that wait for a place.
    #[must_use]
    pub fn partition_load(&self, key: &S::Key) -> (u32, usize) {
        (self.inner.partitions.in_flight(key), self.inner.partitions.queued(key))
    }

    /// Reads in the store now that count for one scope, and flights that wait for a place of it; zero while
    /// no rule bounds their number.
    #[must_use]
    pub fn scope_load(&self, scope: Scope) -> (u32, usize) {
        (self.inner.scopes.in_flight(&scope), self.inner.scopes.queued(&scope))
    }

    /// Gates 1 and 2: admits a request, or refuses it before anything is read for it. `subject` is the
    /// partition that it chiefly concerns, for the observer.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`] at [`Stage::Arrival`], or [`ReadError::Refused`]: nothing was charged.
    pub fn admit(
        &self,
        subject: &S::Key,
        scopes: Scopes,
        deadline: Nanos,
    ) -> Result<Admitted, ReadError<S::Error>> {
        self.admit_at(self.inner.clock.now(), subject, scopes, deadline)
    }

    fn admit_at(
        &self,
        arrived: Nanos,
        subject: &S::Key,
        scopes: Scopes,
        deadline: Nanos,
    ) -> Result<Admitted, ReadError<S::Error>> {
        let admitted = self.inner.admit(scopes, deadline, arrived);
        admitted.inspect_err(|error| self.inner.observe_error(subject, error, arrived))
    }

    /// Admits a part of a request that was charged already, or a read that the caller itself needs. It passes
    /// the deadline and its reads of the store are charged to `scopes`, but it is not charged as a request.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`] at [`Stage::Arrival`].
    pub fn admit_part(&self, scopes: Scopes, deadline: Nanos) -> Result<Admitted, ReadError<S::Error>> {
        self.inner.in_time(deadline, self.inner.clock.now())?;
        Ok(Admitted { scopes, deadline, would_refuse: None })
    }

    /// Charges an admitted request to one more scope, which was known only after a read; it counts for the
    /// pages that are read from now on.
    ///
    /// # Errors
    /// [`ReadError::Refused`]: the request was charged to its other scopes and not to this one.
    pub fn admit_to(
        &self,
        subject: &S::Key,
        admitted: Admitted,
        scope: Scope,
    ) -> Result<Admitted, ReadError<S::Error>> {
        let now = self.inner.clock.now();
        let also = self.inner.charge(&[scope], Gate::RequestLimit, LimitKind::Requests, now);
        let also = also.inspect_err(|error| self.inner.observe_error(subject, error, now))?;
        let scopes = admitted.scopes.with(scope);
        Ok(Admitted { scopes, would_refuse: admitted.would_refuse.or(also), ..admitted })
    }

    /// Checks whether the gate of `kind` would refuse a request of these scopes now. Nothing is charged.
    ///
    /// # Errors
    /// [`ReadError::Refused`]
    pub fn would_pass(&self, scopes: Scopes, kind: LimitKind) -> Result<(), ReadError<S::Error>> {
        let gate = match kind {
            LimitKind::Requests => Gate::RequestLimit,
            LimitKind::DatabaseReads => Gate::DatabaseReadLimit,
            LimitKind::Concurrency => Gate::Concurrency,
            // Writes do not pass these gates.
            LimitKind::Writes => return Ok(()),
        };
        let refusal = self.inner.limits.peek(scopes.as_slice(), kind, self.inner.clock.now());
        let refusal = refusal.filter(|_| self.inner.gates.is_on(gate));
        refusal.map_or(Ok(()), |refusal| Err(ReadError::Refused(refusal)))
    }

    /// Reads one page: [`Self::admit`] and [`Self::page`].
    ///
    /// # Errors
    /// [`ReadError`], by the deadline at the latest. A refusal has charged nothing and has not touched the
    /// store.
    ///
    /// # Cancel safety
    /// As [`Self::page`].
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function holds its argument twice: a waiter is to cost 1 KiB"
    )]
    pub fn read(&self, request: RequestOf<S>) -> impl Future<Output = ReadResult<S>> + Send {
        async move {
            // One look at the clock serves both: a hit costs about ten of them.
            let arrived = self.inner.clock.now();
            let admitted = self.admit_at(arrived, &request.page.key, request.scopes, request.deadline)?;
            self.page_at(arrived, &admitted, &request.page).await
        }
    }

    /// Gates 3 to 7: reads one page of an admitted request.
    ///
    /// # Errors
    /// [`ReadError`], by the deadline at the latest. A refusal has charged nothing and has not touched the
    /// store.
    ///
    /// # Cancel safety
    /// Dropping the future detaches this caller and nothing else: a flight that it started goes on for the
    /// others, and to fill the cache.
    pub async fn page(&self, admitted: &Admitted, page: &PageOf<S>) -> ReadResult<S> {
        self.page_at(self.inner.clock.now(), admitted, page).await
    }

    async fn page_at(&self, arrived: Nanos, admitted: &Admitted, page: &PageOf<S>) -> ReadResult<S> {
        let result = self.through_the_gates(admitted, page, arrived).await;
        match &result {
            Ok(reply) => {
                let elapsed = self.inner.clock.now().since(arrived);
                self.inner.observer.on_read(&page.key, reply.explain.outcome, elapsed);
            }
            Err(error) => self.inner.observe_error(&page.key, error, arrived),
        }
        result
    }

    /// The first half of gate 3 alone: the page if the tail has it. It serves pages that are otherwise put
    /// together from several partitions.
    pub fn tail(&self, admitted: &Admitted, page: &PageOf<S>) -> Option<Reply<S::Value>> {
        let arrived = self.inner.clock.now();
        let mut reply = self.inner.tail_page(page, arrived)?;
        reply.explain.would_refuse.clone_from(&admitted.would_refuse);
        let elapsed = self.inner.clock.now().since(arrived);
        self.inner.observer.on_read(&page.key, reply.explain.outcome, elapsed);
        Some(reply)
    }

    /// The cached value of a page, for deciding which request is charged for it; it is not counted as a read.
    pub fn remembered(&self, page: &PageOf<S>) -> Option<S::Value> {
        self.inner.cached(page, &[], self.inner.clock.now()).map(|reply| reply.value)
    }

    async fn through_the_gates(
        &self,
        admitted: &Admitted,
        page: &PageOf<S>,
        arrived: Nanos,
    ) -> ReadResult<S> {
        let inner = &self.inner;
        inner.in_time(admitted.deadline, arrived)?;
        let wider = if inner.gates.is_on(Gate::Coalesce) { page.query.wider() } else { Vec::new() };
        if let Some(mut reply) = inner.cached(page, &wider, arrived) {
            reply.explain.would_refuse.clone_from(&admitted.would_refuse);
            return Ok(reply);
        }
        let mut answer = self.fly(admitted, page, wider, arrived).await;
        if answer.as_ref().is_err_and(ReadError::is_store_side) {
            answer = inner.stale(page, arrived).map_or(answer, Ok);
        }
        answer.map(|mut reply| {
            reply.explain.would_refuse = reply.explain.would_refuse.or_else(|| admitted.would_refuse.clone());
            reply
        })
    }

    /// Gates 4 to 7: joins a flight or leads one, and waits for its result.
    async fn fly(
        &self,
        admitted: &Admitted,
        request: &PageOf<S>,
        mut wider: Vec<S::Query>,
        arrived: Nanos,
    ) -> ReadResult<S> {
        let inner = &self.inner;
        let entered = inner.clock.now();
        // A second round happens only if a wider page turned out not to contain the answer; then none is
        // searched.
        loop {
            let mut would_refuse = None;
            let (waiter, outcome, wide) = match inner.enter(admitted, request, &wider) {
                Entered::Found(reply) => return Ok(reply),
                Entered::Joined(waiter) => (waiter, Outcome::Joined, None),
                Entered::Subsumed(waiter, wide) => (waiter, Outcome::Subsumed, Some(wide)),
                Entered::Full => {
                    return Err(inner.refused_by_bound(RefusalReason::FlightsFull, "flights_max"));
                }
                Entered::Led(lead, waiter) => {
                    would_refuse = self.launch(lead, admitted, request);
                    (waiter, Outcome::Led, None)
                }
            };
            let landed = self.wait(waiter, admitted).await?;
            let value = match wide {
                None => landed.entry.value.clone(),
                Some(wide) => match landed.entry.value.cut(&wide, &request.query) {
                    Some(value) => value,
                    None => {
                        wider.clear();
                        continue;
                    }
                },
            };
            let now = inner.clock.now();
            let times = GateTimes {
                admission: entered.since(arrived),
                flight: now.since(entered),
                concurrency: landed.concurrency,
                store: landed.store,
            };
            return Ok(reply(outcome, value, &landed.entry, times, now, would_refuse));
        }
    }

    /// Gate 5 and the start of the flight. A refusal reaches the leader and every caller that joined.
    ///
    /// Returns a dry-run limit that would have refused.
    fn launch(&self, lead: LeadOf<S>, admitted: &Admitted, request: &PageOf<S>) -> Option<Arc<str>> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let scopes = admitted.scopes;
        match inner.charge(scopes.as_slice(), Gate::DatabaseReadLimit, LimitKind::DatabaseReads, now) {
            Err(refused) => {
                lead.finish(Err(refused));
                None
            }
            Ok(would_refuse) => {
                let flight = flying::fly(
                    Arc::clone(inner),
                    lead,
                    scopes,
                    (request.dependence, request.index, request.store_timeout),
                );
                match &inner.home {
                    Some(home) => home.spawn(flight),
                    None => tokio::spawn(flight),
                };
                would_refuse
            }
        }
    }

    async fn wait(&self, waiter: WaiterOf<S>, admitted: &Admitted) -> Landing<S> {
        let left = admitted.deadline.since(self.inner.clock.now());
        match tokio::time::timeout(left, waiter).await {
            Ok(landing) => landing,
            Err(_) => Err(ReadError::DeadlineExceeded { stage: Stage::Flight }),
        }
    }
}

impl<S: Store> Inner<S> {
    fn in_time(&self, deadline: Nanos, now: Nanos) -> Result<(), ReadError<S::Error>> {
        if deadline > now { Ok(()) } else { Err(ReadError::DeadlineExceeded { stage: Stage::Arrival }) }
    }

    fn admit(&self, scopes: Scopes, deadline: Nanos, now: Nanos) -> Result<Admitted, ReadError<S::Error>> {
        self.in_time(deadline, now)?;
        let would_refuse = self.charge(scopes.as_slice(), Gate::RequestLimit, LimitKind::Requests, now)?;
        Ok(Admitted { scopes, deadline, would_refuse })
    }

    fn observe_error(&self, key: &S::Key, error: &ReadError<S::Error>, arrived: Nanos) {
        if let Some(refusal) = error.refusal() {
            self.observer.on_refused(key, refusal.reason);
        }
        self.observer.on_error(key, error.label(), self.clock.now().since(arrived));
    }

    /// Charges the scopes, unless the gate is off. Returns the dry-run limit that would have refused.
    fn charge(
        &self,
        scopes: &[Scope],
        gate: Gate,
        kind: LimitKind,
        now: Nanos,
    ) -> Result<Option<Arc<str>>, ReadError<S::Error>> {
        if !self.gates.is_on(gate) {
            return Ok(None);
        }
        let charged = self.limits.charge(scopes, kind, now);
        charged.map(|admitted| admitted.would_refuse).map_err(ReadError::Refused)
    }

    fn refused_by_bound(&self, reason: RefusalReason, limit: &str) -> ReadError<S::Error> {
        let retry_after = self.config.queue_wait_max;
        ReadError::Refused(Refusal { reason, scope: None, limit: Arc::from(limit), retry_after })
    }

    /// Gate 4. A caller that would lead checks the page cache once more, in the same step.
    fn enter(&self, admitted: &Admitted, request: &PageOf<S>, wider: &[S::Query]) -> EnteredOf<S> {
        let PageRequest { key, query, dependence, floor, priority, .. } = request;
        let (dependence, floor, deadline, priority) = (*dependence, *floor, admitted.deadline, *priority);
        let want = Want { dependence, floor, deadline, priority };
        if !self.gates.is_on(Gate::Coalesce) {
            let alone = self.flights.alone(key, query, &want);
            return alone.map_or(Entered::Full, |(lead, waiter)| Entered::Led(lead, waiter));
        }
        let look = || self.page(request, query, self.clock.now());
        self.flights.enter(key, query, wider, &want, || self.generations.snapshot(key), look)
    }
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
