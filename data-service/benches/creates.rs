//! Creates in one channel: the gain of group commit, and of memory.
//!
//! Four ways to write run in turns (A-B-C-D-D-C-B-A), so that a noisy machine is noisy for all; compare
//! within one run only:
//! - *group*: 1,000 writers in one channel, through the data service in the same process;
//! - *one by one*: the same, but the service commits one create at a time;
//! - *single*: one writer, one insert at a time into one partition, straight to the store;
//! - *spread*: 1,000 writers, each with a channel of its own, straight to the store.
//!
//! Then 1,000 writers and 1,000 readers use one warm channel. We count the database reads after the first,
//! and stale reads, of which there must be none.
//!
//! `cargo bench -p weir-data-service --bench creates [-- SECONDS [ROUNDS [MIXED_SECONDS]]]`, default 2, 10
//! and 30. The embedded store's directory is in `TMPDIR`: set it to a real disk. With
//! `WEIR_TEST_CQL=HOST:PORT` the same runs over Cassandra, in a keyspace of its own.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use scylla::{client::session_builder::SessionBuilder, statement::unprepared::Statement};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus, Outgoing, PublishError, Published};
use weir_data_client::{CallOptions, DataClient, transport::InProcess};
use weir_data_service::{
    clock::SystemClock,
    node::{DataService, DataServiceConfig, Parts},
    ownership::WholeStore,
    write::SequencerConfig,
};
use weir_proto::{
    bucket::Bucket,
    data::{
        Channel, CreateGuildRequest, CreateMessageRequest, EventContext, Guild, ListMessagesRequest, Message,
    },
    id::{ChannelId, EPOCH_MS, ScopeId},
};
use weir_report::{Goal, Report};
use weir_runtime::{Readiness, Registry};
use weir_store::{
    Commit, OutboxRecord, RowChange, Store,
    cql::{CqlConfig, CqlStore, Replication, schema},
    embedded::{EmbeddedConfig, EmbeddedStore},
};

/// Writers, and readers of the mixed part.
const WRITERS: u64 = 1_000;
/// Content of a message, in bytes.
const CONTENT_BYTES: usize = 100;

/// A bus that accepts everything: delivery is not measured.
struct Nowhere;

#[async_trait]
impl EventBus for Nowhere {
    async fn publish(&self, _: Vec<Outgoing>) -> Result<Published, PublishError> {
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, _: Outgoing) {}
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_micros()).expect("fits until the year 586,000")
}

fn message(channel_id: u64) -> Message {
    Message { channel_id, author_id: 5, content: "x".repeat(CONTENT_BYTES), ..Message::default() }
}

fn create(channel_id: u64, guild_id: u64) -> CreateMessageRequest {
    let context = EventContext { guild_id, ..EventContext::default() };
    CreateMessageRequest { message: Some(message(channel_id)), context: Some(context), ..Default::default() }
}

fn options() -> CallOptions {
    CallOptions::within(Duration::from_secs(30))
}

/// Commits one message straight into a store.
async fn insert(store: &dyn Store, channel_id: u64, sequence: &AtomicU64) {
    let rev = now_us();
    let id = (rev / 1_000 - EPOCH_MS) << 22 | (sequence.fetch_add(1, Ordering::Relaxed) & ((1 << 22) - 1));
    let row = Message { id, rev, last_rev: rev, ..message(channel_id) };
    let record = Bytes::from(prost::Message::encode_to_vec(&row));
    let commit = Commit {
        scope_id: ScopeId::Channel(ChannelId::try_from(channel_id).expect("not 0")),
        rev,
        rows: vec![RowChange::PutMessage(row)],
        records: vec![OutboxRecord { guild_id: None, rev, record }],
        rows_are_outbox: true,
    };
    store.commit(commit).await.expect("committed");
}

struct Bench {
    store: Arc<dyn Store>,
    service: Service,
    /// A service that commits one create at a time.
    one_by_one: Service,
    sequence: Arc<AtomicU64>,
}

/// A data service and a channel of its own.
#[derive(Clone)]
struct Service {
    client: DataClient,
    registry: Registry,
    guild: u64,
    channel: u64,
}

impl Service {
    async fn new(store: &Arc<dyn Store>, bus: &Arc<dyn EventBus>, batch_rows_max: usize) -> Self {
        let registry = Registry::new();
        let parts = Parts {
            store: Arc::clone(store),
            bus: Arc::clone(bus),
            ownership: WholeStore::new(0),
            clock: Arc::new(SystemClock),
            mint_above_us: 0,
            registry: registry.clone(),
            readiness: Readiness::default(),
        };
        let sequencer = SequencerConfig { batch_rows_max, ..SequencerConfig::default() };
        let config = DataServiceConfig { sequencer, ..DataServiceConfig::default() };
        let opened = DataService::open(config, parts, CancellationToken::new()).await;
        let client = DataClient::new(Arc::new(InProcess::new(opened.expect("opens").dispatch())));
        let request = CreateGuildRequest {
            guild: Some(Guild { name: "bench".into(), owner_id: 5, ..Guild::default() }),
            channels: vec![Channel { name: "hot".into(), ..Channel::default() }],
            ..CreateGuildRequest::default()
        };
        let state = client
            .create_guild(&request, &options())
            .await
            .expect("a guild")
            .message
            .state
            .expect("its state");
        Self { client, registry, guild: state.guild.expect("its row").id, channel: state.channels[0].id }
    }

    /// The sum of a counter over its labels.
    fn counted(&self, name: &str) -> u64 {
        let text = self.registry.encode();
        let samples = text.lines().filter(|line| line.starts_with(name));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Causes of database reads: readers' flights, turns that load a channel's tail, and republished records.
    fn causes(&self) -> [u64; 3] {
        [
            "weir_data_db_reads_total",
            "weir_data_tails_read_total",
            "weir_data_outbox_republished_records_total",
        ]
        .map(|name| self.counted(name))
    }

    async fn create(&self) {
        let request = create(self.channel, self.guild);
        self.client.create_message(&request, &options()).await.expect("acknowledged");
    }
}

impl Bench {
    async fn new(store: Arc<dyn Store>, bus: Arc<dyn EventBus>) -> Self {
        let service = Service::new(&store, &bus, SequencerConfig::default().batch_rows_max).await;
        let one_by_one = Service::new(&store, &bus, 1).await;
        for own in 0..=WRITERS {
            let channel = ChannelId::try_from(1_000_000 + own).expect("not 0");
            let bucket = Bucket::of_raw((now_us() / 1_000 - EPOCH_MS) << 22);
            store.add_bucket(channel, bucket).await.expect("a bucket");
        }
        Self { store, service, one_by_one, sequence: Arc::default() }
    }

    /// Runs `writers` copies of `step` for `time` and returns steps a second.
    async fn rate<F: Future<Output = ()> + Send>(
        writers: u64,
        time: Duration,
        step: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
    ) -> f64 {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let started = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let (stop, done, step) = (Arc::clone(&stop), Arc::clone(&done), step.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        step(writer).await;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        sleep(time).await;
        let rate = done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("a writer does not panic");
        }
        rate
    }

    async fn through(service: &Service, time: Duration) -> f64 {
        let service = service.clone();
        let step = move |_| {
            let service = service.clone();
            async move { service.create().await }
        };
        Self::rate(WRITERS, time, step).await
    }

    async fn direct(&self, writers: u64, time: Duration) -> f64 {
        let (store, sequence) = (Arc::clone(&self.store), Arc::clone(&self.sequence));
        Self::rate(writers, time, move |writer| {
            let (store, sequence) = (Arc::clone(&store), Arc::clone(&sequence));
            async move { insert(&*store, 1_000_000 + writer, &sequence).await }
        })
        .await
    }

    /// Runs writers and readers on the one warm channel.
    async fn mixed(&self, label: &str, report: &mut Report, time: Duration) {
        let Service { client, channel, guild, .. } = self.service.clone();
        let page = ListMessagesRequest { channel_id: channel, limit: 50, ..ListMessagesRequest::default() };
        client.list_messages(&page, &options()).await.expect("the first read");
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (stop, stale) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (created, read) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let services = [&self.service, &self.one_by_one];
        let (before, causes_before) = (self.store.counters(), services.map(Service::causes));
        let started = Instant::now();
        let writers = (0..WRITERS).map(|_| {
            let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            let created = Arc::clone(&created);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let reply = client
                        .create_message(&create(channel, guild), &options())
                        .await
                        .expect("acknowledged");
                    acknowledged.fetch_max(reply.message.message.map_or(0, |row| row.id), Ordering::SeqCst);
                    created.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let readers = (0..WRITERS).map(|_| {
            let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            let (read, stale) = (Arc::clone(&read), Arc::clone(&stale));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let known = acknowledged.load(Ordering::SeqCst);
                    let reply = client.list_messages(&page, &options()).await.expect("a page");
                    let newest = reply.message.messages.first().map_or(0, |row| row.id);
                    stale.fetch_add(u64::from(newest < known), Ordering::Relaxed);
                    read.fetch_add(1, Ordering::Relaxed);
                    // A page from memory is ready at once: without this a reader would never let another task
                    // run.
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks: Vec<_> = writers.chain(readers).collect();
        sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        join_all(tasks).await.into_iter().for_each(|task| task.expect("does not panic"));
        let (after, causes_after) = (self.store.counters(), services.map(Service::causes));
        let [readers, tails, republished] = [0, 1, 2].map(|cause| {
            causes_after.map(|of| of[cause]).iter().sum::<u64>()
                - causes_before.map(|of| of[cause]).iter().sum::<u64>()
        });
        report.note(format!(
            "{label}, {WRITERS} writers and {WRITERS} readers on one warm channel for {elapsed:.0} s: {:.0} creates/s, {:.0} reads/s, \
             {} database reads after the first ({readers} by readers; {tails} tails read, {republished} records published again), \
             {} commits, stale reads {} of {}",
            created.load(Ordering::Relaxed) as f64 / elapsed,
            read.load(Ordering::Relaxed) as f64 / elapsed,
            after.reads - before.reads,
            after.writes - before.writes,
            stale.load(Ordering::Relaxed),
            read.load(Ordering::Relaxed),
        ));
        assert_eq!(stale.load(Ordering::Relaxed), 0, "a reply lacked an acknowledged message");
    }

    async fn run(&self, label: &str, report: &mut Report, plan: Plan) {
        let Plan { time, rounds, mixed } = plan;
        let mut rates: [Vec<f64>; 4] = Default::default();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..rates.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for way in order {
                rates[way].push(match way {
                    0 => Self::through(&self.service, time).await,
                    1 => Self::through(&self.one_by_one, time).await,
                    2 => self.direct(1, time).await,
                    _ => self.direct(WRITERS, time).await,
                });
            }
            let [group, one, single, spread] = rates.each_ref().map(|rates| rates[round]);
            print_line(&format!(
                "{label} round {round}: group {group:.0}/s, one by one {one:.0}/s, single {single:.0}/s, spread {spread:.0}/s"
            ));
        }
        let mut series = |name, rates| report.series(&format!("{label}, {name}"), "creates/s", rates);
        let [group, one, single, spread] = rates;
        let group = series("group", group);
        let (one, single, spread) =
            (series("one by one", one), series("single", single), series("spread", spread));
        // The goals are for a database behind a network; the embedded store's own committer groups the spread
        // writers too.
        let goal = |least: f64| (label == "cassandra").then_some(Goal::AtLeast(least));
        report.ratio(&format!("{label}, group / one by one"), group, one, goal(10.0));
        report.ratio(&format!("{label}, group / single"), group, single, goal(10.0));
        report.ratio(&format!("{label}, group / spread"), group, spread, goal(0.8));
        self.mixed(label, report, mixed).await;
    }
}

/// Durations and rounds.
#[derive(Clone, Copy)]
struct Plan {
    time: Duration,
    rounds: usize,
    mixed: Duration,
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn print_line(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() {
    // cargo passes `--bench`.
    let mut numbers = env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let time = Duration::from_secs(numbers.next().unwrap_or(2));
    let rounds = usize::try_from(numbers.next().unwrap_or(10).max(1)).unwrap_or(10);
    let mixed = Duration::from_secs(numbers.next().unwrap_or(30));
    let plan = Plan { time, rounds, mixed };
    let mut report = Report::new("creates", "Acknowledged creates a second in one channel");
    report.setting("writers", WRITERS);
    report.setting("content_bytes", CONTENT_BYTES);
    report.setting("rounds", rounds);
    report.setting("seconds", time.as_secs());

    let directory = tempfile::tempdir().expect("a directory");
    let config = EmbeddedConfig::new(directory.path());
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(config))
        .await
        .expect("no panic")
        .expect("opens");
    let bench =
        Bench::new(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&store) as Arc<dyn EventBus>).await;
    bench.run("embedded", &mut report, plan).await;
    store.close().await;

    let Ok(server) = env::var("WEIR_TEST_CQL") else {
        report.note("cassandra: skipped, WEIR_TEST_CQL is not set");
        return report.finish().expect("written");
    };
    let mut config = CqlConfig::new(vec![server], format!("weir_bench_{}", std::process::id()));
    config.replication = Replication::Simple { factor: 1 };
    config.write_timeout = Duration::from_secs(30);
    schema::apply(&config).await.expect("applied");
    let store = CqlStore::connect(config.clone()).await.expect("connects");
    Bench::new(store, Arc::new(Nowhere)).await.run("cassandra", &mut report, plan).await;
    let session =
        SessionBuilder::new().known_nodes(&config.nodes).build().await.expect("the server is there");
    let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {}", config.keyspace));
    // The server first writes a snapshot of every table.
    drop.set_request_timeout(Some(Duration::from_secs(180)));
    session.query_unpaged(drop, ()).await.expect("dropped");
    report.finish().expect("written");
}
