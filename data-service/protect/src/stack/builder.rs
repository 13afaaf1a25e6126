//! Builds a layer; everything but the store has a default.

use std::{fmt, sync::Arc};

use tokio::runtime::Handle;

use super::{Inner, Protect, lost};
use crate::{
    cache::{PageCache, TailSource},
    clock::{Clock, TokioClock},
    concurrency::ConcurrencyGate,
    config::ProtectConfig,
    flight::FlightTable,
    gates::Gates,
    generation::Generations,
    limit::Limits,
    observe::Observer,
    store::Store,
};

/// Builds a [`Protect`]. Everything but the store has a default.
pub struct Builder<S: Store> {
    pub(super) store: S,
    pub(super) config: ProtectConfig,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) cache: Arc<dyn PageCache<S::Key, S::Query, S::Value>>,
    pub(super) tail: Arc<dyn TailSource<S::Key, S::Query, S::Value>>,
    pub(super) observer: Arc<dyn Observer<S::Key>>,
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) generations: Option<Arc<Generations>>,
}

impl<S: Store> Builder<S> {
    /// Bounds and timeouts.
    #[must_use]
    pub fn config(mut self, config: ProtectConfig) -> Self {
        self.config = config;
        self
    }

    /// The clock of the deadlines. Default: a [`TokioClock`] made now.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The bounded page store. Default: [`crate::cache::NoCache`].
    #[must_use]
    pub fn cache(mut self, cache: Arc<dyn PageCache<S::Key, S::Query, S::Value>>) -> Self {
        self.cache = cache;
        self
    }

    /// The live tails. Default: [`crate::cache::NoTail`].
    #[must_use]
    pub fn tail(mut self, tail: Arc<dyn TailSource<S::Key, S::Query, S::Value>>) -> Self {
        self.tail = tail;
        self
    }

    /// Metrics. Default: [`crate::observe::NoObserver`].
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer<S::Key>>) -> Self {
        self.observer = observer;
        self
    }

    /// Limits shared with a write path or with another layer on the same clock. Default: its own, without
    /// rules.
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

    /// Builds the layer. Its reads of the store run on the runtime in which this is called; outside of one,
    /// on the caller's.
    #[must_use]
    pub fn build(self) -> Protect<S> {
        let config = self.config;
        let clock = self.clock.unwrap_or_else(|| Arc::new(TokioClock::new()));
        let limits =
            self.limits.unwrap_or_else(|| Arc::new(Limits::new(config.limit_slots, Arc::clone(&clock))));
        let generations =
            self.generations.unwrap_or_else(|| Arc::new(Generations::new(config.generation_cells)));
        let inner = Inner {
            store: self.store,
            cache: self.cache,
            tail: self.tail,
            observer: self.observer,
            gates: Arc::new(Gates::default()),
            flights: FlightTable::new(config.flights_max, lost::<S>),
            partitions: Arc::new(ConcurrencyGate::new(config.queue_len_max)),
            scopes: Arc::new(ConcurrencyGate::new(config.queue_len_max)),
            config,
            clock,
            generations,
            limits,
            home: Handle::try_current().ok(),
        };
        Protect { inner: Arc::new(inner) }
    }
}

impl<S: Store> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
