//! Cold newest pages: the data service beside what its store is made of.
//!
//! With the gates of cache and coalescing off, each page that the service gives is a read of the database.
//! Readers ask for the newest 50 messages of channels that they pick at random, in three ways:
//! - *raw*: with `WEIR_TEST_CQL` the driver, in a session with the store's options and one prepared statement
//!   (that of the store's page, its bucket known), whose rows are decoded and given up. Without it the
//!   embedded store itself, by `Store::read_partition`;
//! - *service*: `ListMessages` by the typed client, in the same process, with these two gates off. What leads
//!   to a page (a channel's buckets) is kept whatever the gates say, and is read before the measurement;
//! - *service with its caches*: the same with all gates on, for information.
//!
//! A round is raw, service, service, raw (and one turn of the third), so that a noisy machine is noisy for
//! both; both turns of a pair pick the same channels. Processor time is this process's, not a CQL server's.
//!
//! `cargo bench -p weir-data-service --bench reads [-- SECONDS [ROUNDS [READERS [CHANNELS]]]]`, by default 3,
//! 10, 64 and 2,000. With `WEIR_TEST_CQL=HOST:PORT` it runs over that server, in a keyspace of its own which
//! is dropped at the end, after an error, a panic, Ctrl-C or SIGTERM, too; else in a directory of `TMPDIR`.

use std::{
    env,
    hint::black_box,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use futures_util::{FutureExt as _, future::try_join_all};
use rustix::time::{ClockId, clock_gettime};
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::{load_balancing::DefaultPolicy, retry::FallthroughRetryPolicy},
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement, unprepared::Statement},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinSet, yield_now},
};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus, Outgoing, PublishError, Published};
use weir_data_client::{CallOptions, DataClient, transport::InProcess};
use weir_data_service::{
    clock::SystemClock,
    node::{DataService, DataServiceConfig, Parts},
    ownership::WholeStore,
};
use weir_protect::Gate;
use weir_proto::{
    bucket::Bucket,
    data::{ListMessagesRequest, Message},
    id::{ChannelId, unix_ms},
};
use weir_report::{Goal, Report, mean_95};
use weir_runtime::{Readiness, Registry};
use weir_store::{
    PartitionRange, RowChange, RowOrder, Store,
    cql::{CqlConfig, CqlStore, Replication, schema},
    embedded::{EmbeddedConfig, EmbeddedStore},
};

/// Rows of a page.
const PAGE: u32 = 50;
/// Messages of a channel, more than a page.
const MESSAGES: u64 = 60;
/// Content of a message, in bytes.
const CONTENT_BYTES: usize = 100;
/// The bucket of all messages, a past one.
const BUCKET: Bucket = Bucket(400);
/// The first channel; the others follow.
const FIRST_CHANNEL: u64 = 1_000_000;
/// Channels that are written, or read once, at the same time.
const CHANNELS_AT_ONCE: usize = 50;
/// Turns of a round.
const TURNS: u64 = 5;
/// The newest page, as the service asks its store for it.
const NEWEST: PartitionRange =
    PartitionRange { after: None, before: None, order: RowOrder::NewestFirst, limit: PAGE as usize };
/// Longest time to drop the keyspace: the server first writes a snapshot of every table.
const DROP_MAX: Duration = Duration::from_secs(180);

/// A row as the store's statement selects it.
type Columns = (
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Vec<i64>>,
    Option<Vec<i64>>,
    Option<bool>,
    Option<String>,
    Option<bool>,
    Option<i64>,
    Option<i64>,
    Option<Vec<u8>>,
);

/// A bus that accepts everything: nothing is published here.
struct Nowhere;

/// A channel's id from its number, which is never 0.
fn as_id(channel_id: u64) -> Result<ChannelId> {
    Ok(ChannelId::try_from(channel_id)?)
}

#[async_trait]
impl EventBus for Nowhere {
    async fn publish(&self, _: Vec<Outgoing>) -> Result<Published, PublishError> {
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, _: Outgoing) {}
}

/// The driver, without the store.
struct Driver {
    session: Session,
    page: PreparedStatement,
}

impl Driver {
    /// Opens a session with the policies, and so the number of connections, of the store's own.
    async fn open(config: &CqlConfig) -> Result<Self> {
        let longest = config
            .read_timeout
            .max(config.write_timeout)
            .max(config.lease_timeout)
            .max(config.schema_timeout);
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .request_timeout(Some(longest))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .speculative_execution_policy(None)
            .load_balancing_policy(DefaultPolicy::builder().token_aware(true).build())
            .build();
        let session = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .connection_timeout(config.connect_timeout)
            .hostname_resolution_timeout(Some(config.connect_timeout))
            .keepalive_interval(config.keepalive_interval)
            .keepalive_timeout(config.keepalive_timeout)
            .schema_agreement_timeout(config.schema_timeout)
            .keyspaces_to_fetch([config.keyspace.clone()])
            .fetch_full_schema_metadata(false)
            .build()
            .await?;
        let text = format!(
            "SELECT message_id, author_id, content, nonce, type, flags, reply_to, edited_at_ms, mention_user_ids, \
             mention_role_ids, mention_everyone, embeds_json, tts, rev, last_rev, more FROM {}.messages \
             WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id <= ? ORDER BY message_id DESC LIMIT ?",
            config.keyspace
        );
        let mut page = session.prepare(text).await?;
        page.set_is_idempotent(true);
        Ok(Self { session, page })
    }

    /// Reads a channel's newest page and returns the number of its rows.
    async fn page(&self, channel_id: u64) -> Result<usize> {
        let values = (channel_id.cast_signed(), BUCKET.0.cast_signed(), 1_i64, i64::MAX, PAGE.cast_signed());
        let result = self.session.execute_unpaged(&self.page, values).await?.into_rows_result()?;
        let rows: Vec<Columns> = result.rows::<Columns>()?.collect::<Result<_, _>>()?;
        Ok(black_box(rows).len())
    }
}

/// A way to read a page.
#[derive(Clone)]
enum Way {
    Driver(Arc<Driver>),
    Store(Arc<dyn Store>),
    Service(DataClient),
}

impl Way {
    /// Reads a channel's newest page.
    async fn page(&self, channel_id: u64) -> Result<()> {
        let rows = match self {
            Self::Driver(driver) => driver.page(channel_id).await?,
            Self::Store(store) => {
                black_box(store.read_partition(as_id(channel_id)?, BUCKET, NEWEST).await?).len()
            }
            Self::Service(client) => {
                let request =
                    ListMessagesRequest { channel_id, limit: PAGE, ..ListMessagesRequest::default() };
                let options = CallOptions::within(Duration::from_secs(30));
                black_box(client.list_messages(&request, &options).await?.message.messages).len()
            }
        };
        ensure!(rows == PAGE as usize, "a page of channel {channel_id} has {rows} rows");
        Ok(())
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Length of a turn, in seconds.
    seconds: u64,
    rounds: u64,
    readers: u64,
    channels: u64,
}

impl Plan {
    fn of_arguments() -> Result<Self> {
        // cargo passes `--bench`.
        let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
        let mut number = |name: &str, default: u64, most: u64| {
            let given = arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
            let given = given.with_context(|| format!("{name} is a number"))?;
            ensure!((1..=most).contains(&given), "{name} is 1 to {most}");
            anyhow::Ok(given)
        };
        Ok(Self {
            seconds: number("SECONDS", 3, 600)?,
            rounds: number("ROUNDS", 10, 1_000)?,
            // As many as the CQL store sends at once.
            readers: number("READERS", 64, 512)?,
            channels: number("CHANNELS", 2_000, 100_000)?,
        })
    }

    fn channels(self) -> Vec<u64> {
        (FIRST_CHANNEL..FIRST_CHANNEL + self.channels).collect()
    }
}

/// What a turn read.
struct Turn {
    pages: u64,
    /// Reads that the store sent meanwhile.
    reads: u64,
    seconds: f64,
    cpu_seconds: f64,
}

/// A way to read, and its figures.
struct Line {
    name: &'static str,
    way: Way,
    /// Pages a second, of each round.
    rates: Vec<f64>,
    /// Seconds of processor time for each thousand pages, of each round.
    cpu: Vec<f64>,
    pages: u64,
    reads: u64,
}

impl Line {
    fn new(name: &'static str, way: Way) -> Self {
        Self { name, way, rates: Vec::new(), cpu: Vec::new(), pages: 0, reads: 0 }
    }

    /// Lets all readers read for a turn. The same `seed` gives the same channels.
    async fn turn(&self, store: &dyn Store, plan: Plan, seed: u64) -> Result<Turn> {
        let (used, reads, began) = (cpu_seconds(), store.counters().reads, Instant::now());
        let until = began + Duration::from_secs(plan.seconds);
        let mut readers = JoinSet::new();
        for reader in 0..plan.readers {
            let way = self.way.clone();
            let mut random = fastrand::Rng::with_seed((seed << 32) | reader);
            readers.spawn(async move {
                let mut pages = 0_u64;
                loop {
                    way.page(FIRST_CHANNEL + random.u64(..plan.channels)).await?;
                    pages += 1;
                    if Instant::now() >= until {
                        return anyhow::Ok(pages);
                    }
                    // A page from memory is ready at once: without this a reader would never let another task
                    // run. All ways do it, so that it favours none.
                    yield_now().await;
                }
            });
        }
        let mut pages = 0;
        while let Some(read) = readers.join_next().await {
            pages += read??;
        }
        // The driver's own session sends one statement for each page, and the store counts none of them.
        let own = if matches!(self.way, Way::Driver(_)) { pages } else { 0 };
        Ok(Turn {
            pages,
            reads: store.counters().reads - reads + own,
            seconds: began.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - used,
        })
    }

    /// Adds the turns of a round.
    fn add(&mut self, turns: &[Turn]) {
        let pages: u64 = turns.iter().map(|turn| turn.pages).sum();
        let seconds: f64 = turns.iter().map(|turn| turn.seconds).sum();
        let cpu_seconds: f64 = turns.iter().map(|turn| turn.cpu_seconds).sum();
        self.rates.push(pages as f64 / seconds);
        self.cpu.push(cpu_seconds * 1_000.0 / pages as f64);
        self.pages += pages;
        self.reads += turns.iter().map(|turn| turn.reads).sum::<u64>();
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Writes the messages of all channels.
async fn fill(store: &dyn Store, channels: &[u64]) -> Result<()> {
    for part in channels.chunks(CHANNELS_AT_ONCE) {
        for channel_id in part {
            store.add_bucket(as_id(*channel_id)?, BUCKET).await?;
        }
        let rows = part.iter().flat_map(|channel_id| (1..=MESSAGES).map(move |number| (*channel_id, number)));
        let rows = rows.map(|(channel_id, number)| {
            // A millisecond lies between two messages.
            let id = BUCKET.first_raw() + (number << 22);
            let rev = unix_ms(id) * 1_000;
            let content = "x".repeat(CONTENT_BYTES);
            let row =
                Message { id, channel_id, author_id: 5, content, rev, last_rev: rev, ..Message::default() };
            RowChange::PutMessage(row)
        });
        store.put_rows(rows.collect(), unix_ms(BUCKET.first_raw()) * 1_000).await?;
    }
    Ok(())
}

/// A data service over the store, which ends with `stop`.
async fn service(
    store: &Arc<dyn Store>,
    bus: &Arc<dyn EventBus>,
    caches: bool,
    stop: &CancellationToken,
) -> Result<Way> {
    let parts = Parts {
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        ownership: WholeStore::new(0),
        clock: Arc::new(SystemClock),
        mint_above_us: 0,
        registry: Registry::new(),
        readiness: Readiness::default(),
    };
    let opened = DataService::open(DataServiceConfig::default(), parts, stop.clone()).await?;
    for gate in [Gate::Cache, Gate::Coalesce] {
        opened.gates().set(gate, caches);
    }
    Ok(Way::Service(DataClient::new(Arc::new(InProcess::new(opened.dispatch())))))
}

/// Fills the store, reads in all ways, and reports.
async fn measure(
    label: &str,
    store: Arc<dyn Store>,
    bus: Arc<dyn EventBus>,
    raw: Line,
    plan: Plan,
) -> Result<()> {
    let Plan { seconds, rounds, channels, .. } = plan;
    let all = seconds * rounds * TURNS;
    print_line(&format!(
        "{label}: once {channels} channels are written, {rounds} rounds of {TURNS} turns of {seconds} s: {all} s in all; Ctrl-C ends it"
    ));
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let ids = plan.channels();
    fill(&*store, &ids).await?;
    let mut lines = [
        raw,
        Line::new("service", service(&store, &bus, false, &stop).await?),
        Line::new("service with its caches", service(&store, &bus, true, &stop).await?),
    ];
    for line in &lines {
        for part in ids.chunks(CHANNELS_AT_ONCE) {
            try_join_all(part.iter().map(|channel_id| line.way.page(*channel_id))).await?;
        }
    }
    for round in 0..rounds {
        let (one, other) = (2 * round, 2 * round + 1);
        let mut turns: [Vec<Turn>; 3] = Default::default();
        for (line, seed) in [(0, one), (1, one), (1, other), (0, other), (2, one)] {
            turns[line].push(lines[line].turn(&*store, plan, seed).await?);
        }
        let mut rates = Vec::new();
        for (line, turns) in lines.iter_mut().zip(&turns) {
            line.add(turns);
            rates.push(format!("{} {:.0}/s", line.name, line.rates.last().copied().unwrap_or(0.0)));
        }
        print_line(&format!("{label} round {round}: {}", rates.join(", ")));
    }
    report(label, &lines, plan).finish()
}

/// The report of all rounds.
fn report(label: &str, lines: &[Line; 3], plan: Plan) -> Report {
    let mut report = Report::new("reads", "Newest pages a second, without caches beside the raw store");
    report.setting("store", label);
    report.setting("readers", plan.readers);
    report.setting("channels", plan.channels);
    report.setting("messages_of_a_channel", MESSAGES);
    report.setting("content_bytes", CONTENT_BYTES);
    report.setting("page_rows", PAGE);
    report.setting("rounds", plan.rounds);
    report.setting("seconds", plan.seconds);
    let [raw, cold, warm] = lines.each_ref().map(|line| {
        let name = format!("{label}, {}", line.name);
        report.series(&format!("{name}, processor"), "s/1000 pages", line.cpu.clone());
        report.series(&name, "pages/s", line.rates.clone())
    });
    let [raw_line, cold_line, warm_line] = lines;
    let named = |line: &Line| format!("{label}, {} / {}", line.name, raw_line.name);
    // The goal is for a database behind a network: a read of the embedded store is itself cheap.
    let goal = (label == "cql").then_some(Goal::AtLeast(0.85));
    report.ratio(&named(cold_line), cold, raw, goal);
    report.ratio(&named(warm_line), warm, raw, None);
    let ratios = cold_line.rates.iter().zip(&raw_line.rates).map(|(cold, raw)| cold / raw);
    if let Some((mean, reach)) = mean_95(&ratios.collect::<Vec<_>>()) {
        report.note(format!(
            "{}: mean of the rounds {mean:.3}, 95 % interval {:.3} to {:.3}",
            named(cold_line),
            mean - reach,
            mean + reach
        ));
    }
    let reads = lines.each_ref().map(|Line { name, reads, pages, .. }| {
        format!("{name} {:.3} ({reads} for {pages} pages)", *reads as f64 / *pages as f64)
    });
    report.note(format!("{label}, database reads for each page: {}", reads.join(", ")));
    report
}

/// Runs `work` to its end. Ctrl-C, a termination and a panic are errors too, so that the caller can clean up.
async fn guarded(work: impl Future<Output = Result<()>>) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = AssertUnwindSafe(work).catch_unwind() => match done {
            Ok(done) => done,
            Err(_) => bail!("the benchmark panicked"),
        },
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn embedded(plan: Plan) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = EmbeddedConfig::new(directory.path());
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(config)).await??;
    let reads = Arc::clone(&store) as Arc<dyn Store>;
    let raw = Line::new("raw store", Way::Store(Arc::clone(&reads)));
    let bus = Arc::clone(&store) as Arc<dyn EventBus>;
    let done = guarded(measure("embedded", reads, bus, raw, plan)).await;
    store.close().await;
    done
}

async fn cql(server: String, plan: Plan) -> Result<()> {
    let mut config = CqlConfig::new(vec![server], format!("weir_reads_{}", std::process::id()));
    config.replication = Replication::Simple { factor: 1 };
    config.write_timeout = Duration::from_secs(30);
    let work = async {
        schema::apply(&config).await?;
        let store = CqlStore::connect(config.clone()).await?;
        let raw = Line::new("raw driver", Way::Driver(Arc::new(Driver::open(&config).await?)));
        measure("cql", store, Arc::new(Nowhere), raw, plan).await
    };
    let done = guarded(work).await;
    let dropped = drop_keyspace(&config).await;
    done.and(dropped)
}

async fn drop_keyspace(config: &CqlConfig) -> Result<()> {
    let session = SessionBuilder::new().known_nodes(&config.nodes).build().await?;
    let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {}", config.keyspace));
    drop.set_request_timeout(Some(DROP_MAX));
    session.query_unpaged(drop, ()).await.with_context(|| format!("{} is left behind", config.keyspace))?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn print_line(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::of_arguments()?;
    match env::var("WEIR_TEST_CQL") {
        Ok(server) => cql(server, plan).await,
        Err(_) => embedded(plan).await,
    }
}
