//! The store under test: logs of numbers, read with scripted delays, failures and panics; it counts every
//! call.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use weir_protect::{
    Clock, Dependence, Nanos, PageCache, PageRequest, Protect, ProtectConfig, Query, ReadContext,
    ReadRequest, Stamped, Store, TailAnchor, TailQuery, TokioClock, Value,
};

/// A page of a log, as the tail knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Page(pub(crate) TailQuery);

/// The newest row alone: the register that the histories are about.
pub(crate) const LATEST: Page = Page::latest(1);

impl Page {
    pub(crate) const fn latest(limit: usize) -> Self {
        Self(TailQuery { anchor: TailAnchor::Latest, limit })
    }

    pub(crate) const fn before(position: u64, limit: usize) -> Self {
        Self(TailQuery { anchor: TailAnchor::Before(position), limit })
    }

    /// A page below a position that the log has passed does not depend on appends.
    const fn dependence(self, last: u64) -> Dependence {
        match self.0.anchor {
            TailAnchor::Before(position) if position <= last => Dependence::Mutate,
            TailAnchor::Latest | TailAnchor::Before(_) | TailAnchor::After(_) | TailAnchor::Around(_) => {
                Dependence::Append
            }
        }
    }
}

impl Query for Page {
    fn wider(&self) -> Vec<Self> {
        match self.0.anchor {
            TailAnchor::Latest | TailAnchor::Before(_) => [10, 50]
                .into_iter()
                .filter(|&limit| limit > self.0.limit && self.0.limit > 1)
                .map(|limit| Self(TailQuery { limit, ..self.0 }))
                .collect(),
            TailAnchor::After(_) | TailAnchor::Around(_) => Vec::new(),
        }
    }
}

/// Rows, newest first, shared by all who read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows(pub(crate) Arc<[u64]>);

impl Rows {
    /// The register's value: the newest row, 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }
}

impl Value<Page> for Rows {
    fn cut(&self, from: &Page, to: &Page) -> Option<Self> {
        let same = from.0.anchor == to.0.anchor && from.0.limit >= to.0.limit;
        same.then(|| Self(self.0.iter().copied().take(to.0.limit).collect()))
    }
}

/// The page of a log, computed the plain way.
pub(crate) fn page_of(log: &[u64], page: Page) -> Rows {
    let newest_first = |rows: Vec<u64>| Rows(rows.into_iter().rev().collect());
    let last = |rows: Vec<u64>, n: usize| rows[rows.len().saturating_sub(n)..].to_vec();
    let TailQuery { anchor, limit } = page.0;
    newest_first(match anchor {
        TailAnchor::Latest => last(log.to_vec(), limit),
        TailAnchor::Before(p) => last(log.iter().copied().filter(|&row| row < p).collect(), limit),
        TailAnchor::After(p) => log.iter().copied().filter(|&row| row > p).take(limit).collect(),
        TailAnchor::Around(p) => {
            let mut rows = last(log.iter().copied().filter(|&row| row < p).collect(), limit / 2);
            rows.extend(log.iter().copied().filter(|&row| row == p));
            rows.extend(log.iter().copied().filter(|&row| row > p).take(limit / 2));
            rows
        }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fake store fails")]
pub(crate) struct Broken;

/// What one store read does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Looks at the log after the first delay, answers after the second.
    Reply(Duration, Duration),
    /// Fails after the delay.
    Fail(Duration),
    /// Panics after the delay.
    Panic(Duration),
    /// Never answers.
    Hang,
    /// A reply with both delays drawn from the generator, up to 20 ms each; one in sixteen fails.
    Random,
    /// The same of a store whose reads take effect in the order in which they were sent: it looks at once.
    RandomInOrder,
}

/// One copy of the logs, each with the number of its last commit.
type Replica = HashMap<u64, (u64, Vec<u64>)>;

/// Replicas; a quorum is two of them.
pub(crate) const REPLICAS: usize = 3;

#[derive(Debug)]
struct State {
    replicas: Mutex<[Replica; REPLICAS]>,
    /// The replica that a read asks; one that needs a quorum asks the one after it too.
    nearest: AtomicUsize,
    floors: Mutex<HashMap<u64, u64>>,
    script: Mutex<VecDeque<Step>>,
    usual: Mutex<Step>,
    starts: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    contexts: Mutex<Vec<ReadContext>>,
    random: Mutex<Seeded>,
}

/// A handle to one fake store.
#[derive(Debug, Clone)]
pub(crate) struct FakeStore(Arc<State>);

impl FakeStore {
    /// A store whose reads take this long, and look at the log in the middle.
    pub(crate) fn new(read: Duration) -> Self {
        Self(Arc::new(State {
            replicas: Mutex::default(),
            nearest: AtomicUsize::new(0),
            floors: Mutex::default(),
            script: Mutex::default(),
            usual: Mutex::new(Step::Reply(read / 2, read / 2)),
            starts: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            contexts: Mutex::default(),
            random: Mutex::new(Seeded(0)),
        }))
    }

    /// The next reads do these, in order.
    pub(crate) fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.0.script.lock().unwrap().extend(steps);
    }

    /// Reads beyond the script do this.
    pub(crate) fn usual(&self, step: Step) {
        *self.0.usual.lock().unwrap() = step;
    }

    /// Reads beyond the script are random, as this seed says.
    pub(crate) fn random(&self, seed: u64, in_order: bool) {
        *self.0.random.lock().unwrap() = Seeded(seed);
        self.usual(if in_order { Step::RandomInOrder } else { Step::Random });
    }

    /// The commit of an append, on every replica.
    pub(crate) fn append(&self, key: u64, row: u64) {
        self.append_at(&[0, 1, 2], key, row);
    }

    /// The commit of an append, on these replicas; the others lag for ever.
    pub(crate) fn append_at(&self, replicas: &[usize], key: u64, row: u64) {
        self.commit(replicas, key, |log| log.push(row));
    }

    /// The commit of a deletion, on every replica.
    pub(crate) fn delete(&self, key: u64, row: u64) {
        self.commit(&[0, 1, 2], key, |log| log.retain(|&r| r != row));
    }

    fn commit(&self, replicas: &[usize], key: u64, change: impl Fn(&mut Vec<u64>)) {
        let (version, mut log) = self.newest_of(0..REPLICAS, key);
        change(&mut log);
        for &replica in replicas {
            self.0.replicas.lock().unwrap()[replica].insert(key, (version + 1, log.clone()));
        }
    }

    /// The state that the newest of these replicas has.
    fn newest_of(&self, replicas: impl Iterator<Item = usize>, key: u64) -> (u64, Vec<u64>) {
        let all = self.0.replicas.lock().unwrap();
        let states = replicas.filter_map(|replica| all[replica].get(&key));
        states.max_by_key(|(version, _)| *version).cloned().unwrap_or_default()
    }

    /// The owner has resolved everything up to `floor`.
    pub(crate) fn resolve(&self, key: u64, floor: u64) {
        self.0.floors.lock().unwrap().insert(key, floor);
    }

    /// Reads ask this replica from now on.
    pub(crate) fn ask(&self, replica: usize) {
        self.0.nearest.store(replica, SeqCst);
    }

    pub(crate) fn log(&self, key: u64) -> Vec<u64> {
        self.newest_of(0..REPLICAS, key).1
    }

    /// Reads sent so far.
    pub(crate) fn starts(&self) -> usize {
        self.0.starts.load(SeqCst)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.0.in_flight.load(SeqCst)
    }

    pub(crate) fn in_flight_max(&self) -> usize {
        self.0.in_flight_max.load(SeqCst)
    }

    pub(crate) fn contexts(&self) -> Vec<ReadContext> {
        self.0.contexts.lock().unwrap().clone()
    }

    fn look(&self, key: u64, page: Page, quorum: bool) -> Rows {
        let nearest = self.0.nearest.load(SeqCst);
        let asked = (0..if quorum { 2 } else { 1 }).map(|next| (nearest + next) % REPLICAS);
        page_of(&self.newest_of(asked, key).1, page)
    }
}

/// Counts one read in the store, however it ends.
struct InFlight(Arc<State>);

impl InFlight {
    fn enter(state: &Arc<State>) -> Self {
        state.starts.fetch_add(1, SeqCst);
        let now = state.in_flight.fetch_add(1, SeqCst) + 1;
        state.in_flight_max.fetch_max(now, SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

impl Store for FakeStore {
    type Key = u64;
    type Query = Page;
    type Value = Rows;
    type Error = Broken;

    async fn read(&self, key: &u64, query: &Page, context: ReadContext) -> Result<Rows, Broken> {
        let _counted = InFlight::enter(&self.0);
        self.0.contexts.lock().unwrap().push(context);
        let next = self.0.script.lock().unwrap().pop_front();
        let mut step = next.unwrap_or_else(|| *self.0.usual.lock().unwrap());
        if matches!(step, Step::Random | Step::RandomInOrder) {
            let mut random = self.0.random.lock().unwrap();
            let (before, after) = (random.up_to(20), random.up_to(20));
            let before = if matches!(step, Step::Random) { before } else { Duration::ZERO };
            step = if random.below(16) == 0 { Step::Fail(before) } else { Step::Reply(before, after) };
        }
        match step {
            Step::Reply(before, after) => {
                pause(before).await;
                let rows = self.look(*key, *query, context.floor > 0);
                pause(after).await;
                Ok(rows)
            }
            Step::Fail(after) => {
                pause(after).await;
                Err(Broken)
            }
            Step::Panic(after) => {
                pause(after).await;
                panic!("the fake store panics, as the script says")
            }
            Step::Hang => std::future::pending().await,
            Step::Random | Step::RandomInOrder => unreachable!("drawn above"),
        }
    }

    fn floor(&self, key: &u64) -> u64 {
        self.0.floors.lock().unwrap().get(key).copied().unwrap_or(0)
    }
}

/// A small generator, so that a run follows from its seed alone (SplitMix64).
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A delay in whole milliseconds.
    pub(crate) fn up_to(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.below(ms + 1))
    }
}

/// Virtual time: every test that reads runs under tokio's paused clock.
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// The plainest page cache: it forgets nothing, so that whatever is wrong in it is served.
#[derive(Debug)]
pub(crate) struct MapCache<Q = Page, V = Rows>(Mutex<HashMap<(u64, Q), Stamped<V>>>);

impl<Q, V> Default for MapCache<Q, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q: Query + Copy, V: Value<Q>> PageCache<u64, Q, V> for MapCache<Q, V> {
    fn get(&self, key: &u64, query: &Q) -> Option<Stamped<V>> {
        self.0.lock().unwrap().get(&(*key, *query)).cloned()
    }

    fn put(&self, key: &u64, query: &Q, entry: Stamped<V>) {
        self.0.lock().unwrap().insert((*key, *query), entry);
    }
}

/// A layer over a fake store, and both within reach.
#[derive(Clone)]
pub(crate) struct Bed {
    pub(crate) store: FakeStore,
    pub(crate) cache: Arc<MapCache>,
    pub(crate) layer: Protect<FakeStore>,
}

pub(crate) const MS: Duration = Duration::from_millis(1);

impl Bed {
    /// Reads take 100 ms; small tables; no bound on the cache's age within a test's virtual hours.
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut ProtectConfig)) -> Self {
        let mut config = ProtectConfig {
            cache_age_max: Duration::from_secs(24 * 3600),
            generation_cells: 1 << 10,
            ..ProtectConfig::default()
        };
        change(&mut config);
        let (store, cache) = (FakeStore::new(100 * MS), Arc::new(MapCache::default()));
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        let layer = Protect::builder(store.clone())
            .config(config)
            .clock(clock)
            .cache(Arc::clone(&cache) as _)
            .build();
        Self { store, cache, layer }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.layer.clock().now()
    }

    /// A read with a minute to spare.
    pub(crate) fn request(&self, page: Page) -> ReadRequest<u64, Page> {
        let deadline = self.now().after(Duration::from_secs(60));
        let dependence = page.dependence(self.store.floor(&1));
        but(ReadRequest::new(1, page, deadline), |page| page.dependence = dependence)
    }

    /// An acknowledged append: commit, bump, acknowledge.
    pub(crate) fn acknowledged(&self, key: u64, row: u64) {
        self.store.append(key, row);
        self.store.resolve(key, row);
        self.layer.generations().bump_append(&key);
    }
}

/// Lets spawned tasks run until they wait for time.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// What a scenario found wrong.
pub(crate) type Verdict = Result<(), String>;

/// A violation unless `holds`.
pub(crate) fn must(holds: bool, violation: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(violation()) }
}

/// The request, but for what is changed of its page.
pub(crate) fn but(
    mut request: ReadRequest<u64, Page>,
    change: impl FnOnce(&mut PageRequest<u64, Page>),
) -> ReadRequest<u64, Page> {
    change(&mut request.page);
    request
}
