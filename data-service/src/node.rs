//! One data service, put together from its parts.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_bus::EventBus;
use weir_connect::{Dispatch, KeptJson, Router};
use weir_protect::{Gates, Generations, Limits, Protect, ProtectConfig, TokioClock};
use weir_runtime::{Readiness, Registry, config::Reader};
use weir_store::Store;

use crate::{
    admission::{LimitBook, LimitError},
    backend::Backend,
    clock::Clock,
    live::{Live, LiveConfig},
    observe::Observer,
    outbox::Outbox,
    ownership::{
        Ownership,
        clock_skew::{self, ClockSkew, Watched},
        mint::Minter,
    },
    read::{
        NEWEST_AT_ONCE, ReadPath, Tails,
        query::{Database, MokaCache},
    },
    rpc::{
        self,
        call::Paths,
        error_metrics::{Faults, Noted},
    },
    steady::Steady,
    write::{Sequencer, SequencerConfig, SequencerParts},
};

/// Interval between checks for ended limits, which are then put on record; they stop acting by themselves.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Pause before the limits are read again after a failure at the beginning of a tenure.
const RELOAD_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for turns and outbox at a stop.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Bounds and timeouts of the data service.
#[derive(Debug, Clone)]
pub struct DataServiceConfig {
    /// Time after which a database read's flight gives up.
    pub store_timeout: Duration,
    /// Bytes of cached pages and rows.
    pub cache_bytes: u64,
    /// Bytes of pages that are kept as JSON with their encoded form. Callers that read JSON are operators and
    /// services in other languages, which ask for what is hot.
    pub json_bytes: u64,
    /// Concurrent database reads of one partition.
    pub partition_concurrency: u32,
    /// Slots of the limiter's table, 16 bytes each.
    pub limit_slots: usize,
    /// Cells of the array that separates current cached pages from stale ones, 8 bytes each.
    pub generation_cells: usize,
    /// Bounds of the state in memory of channels, guilds and users.
    pub live: LiveConfig,
    /// The sequencer's bounds.
    pub sequencer: SequencerConfig,
}

impl Default for DataServiceConfig {
    fn default() -> Self {
        Self {
            // The driver's own timeout has the same size; the first of the two ends the flight.
            store_timeout: Duration::from_secs(2),
            cache_bytes: 256 << 20,
            // About 250 default pages.
            json_bytes: 16 << 20,
            // A core serves 20-50 k reads a second; more than this many reads of one partition only queue
            // (ScyllaDB's advice is 10-25 a core).
            partition_concurrency: 8,
            limit_slots: 1 << 18,
            generation_cells: weir_protect::generation::CELLS_DEFAULT,
            live: LiveConfig::default(),
            sequencer: SequencerConfig::default(),
        }
    }
}

impl DataServiceConfig {
    /// Reads the `data.*` keys.
    pub fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let live = LiveConfig {
            scopes_max: size(reader.u64(
                "data.channels_in_memory",
                default.live.scopes_max as u64,
                64..=10_000_000,
            )),
            tails_bytes_max: size(reader.size(
                "data.tails",
                default.live.tails_bytes_max as u64,
                1 << 20..=1 << 40,
            )),
            ..default.live
        };
        let sequencer = SequencerConfig {
            queue_max: size(reader.u64(
                "data.queue_per_channel",
                default.sequencer.queue_max as u64,
                1..=1_000_000,
            )),
            ..default.sequencer
        };
        let second = Duration::from_secs(1);
        Self {
            store_timeout: reader.duration(
                "data.store_timeout",
                default.store_timeout,
                second / 100..=second * 60,
            ),
            cache_bytes: reader.size("data.cache", default.cache_bytes, 0..=1 << 40),
            // The range keeps the value within u32.
            partition_concurrency: reader.u64("data.partition_concurrency", 8, 1..=10_000) as u32,
            limit_slots: size(reader.u64("data.limit_slots", default.limit_slots as u64, 1_024..=1 << 28)),
            generation_cells: default.generation_cells,
            json_bytes: default.json_bytes,
            live,
            sequencer,
        }
    }
}

/// On every platform that Weir runs on a usize has 64 bits; elsewhere the platform's maximum is the bound.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Parts of a data service.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The way to gateways.
    pub bus: Arc<dyn EventBus>,
    /// The right to change channels.
    pub ownership: Arc<dyn Ownership>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids are minted above this: microseconds since 1970-01-01T00:00Z.
    pub mint_above_us: u64,
    /// Registry of the metrics.
    pub registry: Registry,
    /// Reports that the service cannot do its work.
    pub readiness: Readiness,
}

impl Parts {
    /// Takes the parts from an open backend.
    #[must_use]
    pub fn over(backend: &Backend, clock: Arc<dyn Clock>, registry: Registry, readiness: Readiness) -> Self {
        Self {
            store: Arc::clone(&backend.store),
            bus: Arc::clone(&backend.bus),
            ownership: Arc::clone(&backend.ownership),
            clock,
            mint_above_us: backend.mint_above_us,
            registry,
            readiness,
        }
    }
}

/// Reasons why the service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The stored limits could not be applied; starting without them could do harm.
    #[error("the limits could not be loaded")]
    Limits(#[from] LimitError),
}

/// Memory held for channels, guilds and users, and for cached pages. Each has its bound in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Channels, guilds and users.
    pub scopes: usize,
    /// Weight of these with their content, in bytes.
    pub scope_bytes: u64,
    /// Cached pages and rows.
    pub pages: u64,
    /// Their weight in bytes.
    pub page_bytes: u64,
}

/// A running data service.
pub struct DataService {
    paths: Paths,
    faults: Arc<Faults>,
    tasks: std::sync::Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl DataService {
    /// Puts the parts together and starts the background work, which ends with `stop`.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        config: DataServiceConfig,
        parts: Parts,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, OpenError> {
        let Parts { store, bus, ownership, clock, mint_above_us, registry, readiness } = parts;
        // From here on nothing reads the machine's own wall clock.
        let steady = Steady::new(clock);
        let clock: Arc<dyn Clock> = Arc::clone(&steady) as _;
        let layer_clock: Arc<dyn weir_protect::Clock> =
            Arc::new(LayerClock { monotonic: TokioClock::new(), wall: Arc::clone(&clock) });
        let limits = Arc::new(Limits::new(config.limit_slots, Arc::clone(&layer_clock)));
        let generations = Arc::new(Generations::new(config.generation_cells));
        let observer = Arc::new(Observer::new(&registry));
        let mut tenures = ownership.tenures();
        // Reads from here on belong to this tenure or a later one.
        tenures.mark_unchanged();
        let holder = format!("{}-{}", ownership.node(), clock.wall_us());
        let outbox = Outbox::new(bus, Arc::clone(&store), Arc::clone(&clock), holder, &registry);
        let live = Live::new(
            &config.live,
            Arc::clone(&store),
            Arc::clone(&ownership),
            Arc::clone(&generations),
            &registry,
        );
        let minter = Arc::new(Minter::new(mint_above_us / 1_000));
        let skew = Arc::new(ClockSkew::new(&registry));
        let sequencer_parts = SequencerParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&steady),
            ownership: Arc::clone(&ownership),
            live: Arc::clone(&live),
            generations: Arc::clone(&generations),
            outbox: Arc::clone(&outbox),
            minter: Arc::clone(&minter),
            clock_skew: Arc::clone(&skew),
        };
        let sequencer = Sequencer::new(&config.sequencer, sequencer_parts, &registry);
        let protect_config = ProtectConfig {
            store_timeout: config.store_timeout,
            partition_concurrency: NonZeroU32::new(config.partition_concurrency),
            ..ProtectConfig::default()
        };
        let database = Database { store: Arc::clone(&store), live: Arc::clone(&live) };
        let pages = Arc::new(MokaCache::new(config.cache_bytes));
        let seen = Arc::clone(&pages);
        registry.budget().watch("data_pages", size(config.cache_bytes), move || seen.bytes());
        let layer_observer: Arc<dyn weir_protect::Observer<crate::key::Key>> = Arc::clone(&observer) as _;
        let protect = Protect::builder(database)
            .config(protect_config)
            .clock(layer_clock)
            .cache(Arc::clone(&pages) as _)
            .tail(Arc::new(Tails(Arc::clone(&live))))
            .observer(layer_observer)
            .limits(Arc::clone(&limits))
            .generations(generations)
            .build();
        let book = LimitBook::open(Arc::clone(&store), limits, Arc::clone(protect.gates()), clock).await?;
        let reads = Arc::new(ReadPath {
            protect,
            pages,
            live: Arc::clone(&live),
            ownership: Arc::clone(&ownership),
            limits: Arc::clone(&book),
            observer: Arc::clone(&observer),
            alone: std::sync::atomic::AtomicU64::new(0),
            newest: tokio::sync::Semaphore::new(NEWEST_AT_ONCE),
        });
        let mut tasks = outbox.start(&stop);
        tasks.push(tokio::spawn(tend_limits(Arc::clone(&book), stop.clone())));
        tasks.push(tokio::spawn(follow_tenures(
            tenures,
            Arc::clone(&live),
            Arc::clone(&outbox),
            Arc::clone(&book),
            stop.clone(),
        )));
        let clock_check = readiness.register("clock");
        let watched = Watched { clock: Arc::clone(&steady), minter, skew };
        clock_skew::tell(&watched, &clock_check);
        tasks.push(tokio::spawn(clock_skew::watch(watched, clock_check, stop.clone())));
        let founders = Arc::default();
        let json = Arc::new(KeptJson::new(config.json_bytes));
        let seen = Arc::clone(&json);
        registry.budget().watch("data_json", json.bytes_max(), move || seen.bytes());
        let paths = Paths {
            reads,
            sequencer,
            live,
            ownership,
            store,
            clock: steady,
            outbox,
            limits: book,
            observer,
            json,
            founders,
        };
        Ok(Arc::new(Self { paths, faults: Faults::new(&registry), tasks: std::sync::Mutex::new(tasks) }))
    }

    /// `weir.data.v1`.
    #[must_use]
    pub fn dispatch(&self) -> Arc<dyn Dispatch> {
        self.noted(rpc::data(&self.paths))
    }

    /// `weir.data.v1` and `weir.admin.v1`, for the operators' listener.
    #[must_use]
    pub fn admin_dispatch(&self) -> Arc<dyn Dispatch> {
        self.noted(rpc::data(&self.paths).merge(rpc::admin(&self.paths)))
    }

    fn noted(&self, methods: Router) -> Arc<dyn Dispatch> {
        Arc::new(Noted { methods, faults: Arc::clone(&self.faults) })
    }

    /// The switches of the read gates.
    #[must_use]
    pub fn gates(&self) -> &Arc<Gates> {
        self.paths.reads.protect.gates()
    }

    /// The methods' parts, for tests and benchmarks that look inside.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Memory held now.
    #[must_use]
    pub fn held(&self) -> Held {
        let (pages, page_bytes) = self.paths.reads.pages.weighed();
        let (scopes, scope_bytes) = self.paths.live.held();
        Held { scopes, scope_bytes, pages, page_bytes }
    }

    /// Call this after `stop`: it waits until changes under way and the outbox are done, ten seconds at most.
    /// The rest is in the database, and the next start publishes it.
    pub async fn closed(&self) {
        let tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let work = async {
            self.paths.sequencer.idle().await;
            for task in tasks {
                // The runtime has logged a task that panicked; stopping goes on.
                drop(task.await);
            }
        };
        if tokio::time::timeout(CLOSE_MAX, work).await.is_err() {
            tracing::warn!("the data service stops with changes under way");
        }
    }
}

/// The protection layer's clock: its own monotonic time, and the wall clock that the rest of the service
/// uses, so that a limit ends for the gates and for the book at the same moment.
struct LayerClock {
    monotonic: TokioClock,
    wall: Arc<dyn Clock>,
}

impl weir_protect::Clock for LayerClock {
    fn now(&self) -> weir_protect::Nanos {
        self.monotonic.now()
    }

    fn wall_ms(&self) -> u64 {
        self.wall.wall_ms()
    }
}

/// At the begin of each tenure, takes over what another owner may have left: its limits, and its unpublished
/// records. State in memory of earlier tenures is dropped.
async fn follow_tenures(
    mut tenures: watch::Receiver<u64>,
    live: Arc<Live>,
    outbox: Arc<Outbox>,
    book: Arc<LimitBook>,
    stop: CancellationToken,
) {
    let mut seen = tenures.clone();
    // This runs separately, so that unreadable limits do not delay the records of later tenures.
    let records = async {
        while tenures.changed().await.is_ok() {
            outbox.recover();
            live.drop_ended().await;
        }
    };
    let limits = async {
        while seen.changed().await.is_ok() {
            while let Err(error) = book.reload().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the limits could not be read again; those before stay in force"
                );
                tokio::time::sleep(RELOAD_AGAIN).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(records, limits) } => {}
    }
}

async fn tend_limits(book: Arc<LimitBook>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
        if let Err(error) = book.expire().await {
            tracing::warn!(error = %error, "an expired limit stays listed");
        }
        if let Err(error) = book.trim().await {
            tracing::warn!(error = %error, "old changes of limits were not removed");
        }
    }
}
