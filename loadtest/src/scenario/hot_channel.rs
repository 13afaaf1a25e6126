//! One channel is stampeded while quiet ones are read: with the gates on, with the gates off, and with the
//! quiet load alone, interleaved.
//!
//! Goal (G5): the quiet channels' p99 beside the stampede is at most 1.25 times their p99 alone, while the
//! hot channel still gets 0.9 of its limit. The stampede's rate is ten times the rate at which the channel
//! can be read without gates.
//!
//! The hot channel's messages are long and its pages full, as in a raid. That also keeps ten times the
//! capacity within the rate at which the generator can send from the same machine.
//!
//! A database is slow for seconds after a stampede without gates. So that this is not blamed on the next
//! phase, the quiet load runs alone once more in between, and is not counted.

mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use weir_data_client::{CallOptions, DataClient};
use weir_proto::{
    admin::{Limit, LimitKind, SetLimitRequest, UnsetLimitRequest},
    data::ListMessagesRequest,
};
use weir_report::{Goal, Report};

use self::world::{Sizes, World, fill, scatter, some_page};
use crate::{
    arrival,
    recorder::{Failure, Recorder},
    table::{Row, table},
    target::Target,
};

/// How the scenario is run. Load goes to this machine's loopback only, and ends by itself.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// The store: `embedded` or `cql://127.0.0.1:PORT/keyspace`; the keyspace is made with one copy.
    #[arg(long, default_value = "embedded")]
    store: String,
    /// Quiet channels.
    #[arg(long, default_value_t = 100)]
    quiet_channels: u64,
    /// Reads a second over all quiet channels.
    #[arg(long, default_value_t = 100.0)]
    quiet_rate: f64,
    /// Messages in each channel. More than the tail cache keeps (400), so that most quiet pages are the
    /// database's.
    #[arg(long, default_value_t = 1_000)]
    messages: u64,
    /// Bytes of a quiet channel's message.
    #[arg(long, default_value_t = 100)]
    content_bytes: usize,
    /// Bytes of a hot channel's message: as long as Discord takes from everybody.
    #[arg(long, default_value_t = 2_000)]
    hot_content_bytes: usize,
    /// Requests a second on the hot channel; 0 means ten times the capacity that is measured first.
    #[arg(long, default_value_t = 0.0)]
    hot_rate: f64,
    /// Limit of requests a second for the hot channel while the gates are on; 0 means an eighth of the
    /// capacity that is measured first: what an operator grants one channel of a machine that serves many.
    #[arg(long, default_value_t = 0.0)]
    hot_limit: f64,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds; each runs alone, on, off, off, (recovery), on, alone.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Processors of the data service, as for `taskset -c`.
    #[arg(long)]
    service_cpus: Option<String>,
}

/// Deadline of each read. A user who waits longer has left.
const DEADLINE: Duration = Duration::from_secs(2);
/// Rows of a quiet channel's page, as many as clients usually ask for.
const PAGE: u32 = 50;
/// Rows of a hot channel's page, the most that a page can have.
const HOT_PAGE: u32 = 100;
/// Part of a second that a burst of the hot channel may use at once. It is small, so that a phase admits its
/// rate and little more.
const BURST_SECONDS: f64 = 0.05;
/// Pause after a phase.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for the service to recover from a phase without gates.
const RECOVERY_MAX: Duration = Duration::from_secs(180);
/// Gates that are switched off for the comparison.
const GATES: [&str; 5] = ["request_limit", "cache", "coalesce", "database_read_limit", "concurrency"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Alone,
    GatesOn,
    GatesOff,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Alone, Self::GatesOn, Self::GatesOff];

    const fn name(self) -> &'static str {
        match self {
            Self::Alone => "quiet alone",
            Self::GatesOn => "stampede, gates on",
            Self::GatesOff => "stampede, gates off",
        }
    }
}

/// Runs the scenario and writes its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(
        options.quiet_channels > 0 && options.seconds > 0 && options.rounds > 0,
        "counts must be above 0"
    );
    let target = Target::start(&options.store, options.service_cpus.as_deref()).await?;
    eprintln!("filling {} channels with {} messages each", options.quiet_channels + 1, options.messages);
    let sizes = Sizes {
        quiet_channels: options.quiet_channels,
        messages: options.messages,
        content_bytes: options.content_bytes,
        hot_content_bytes: options.hot_content_bytes,
    };
    let world = Arc::new(fill(&target.data, &sizes).await?);

    gates(&target.admin, false).await?;
    let capacity = capacity(&target.data, &world).await?;
    gates(&target.admin, true).await?;
    let hot_rate = if options.hot_rate > 0.0 { options.hot_rate } else { capacity * 10.0 };
    let hot_limit = if options.hot_limit > 0.0 { options.hot_limit } else { (capacity / 8.0).max(10.0) };
    eprintln!(
        "measured capacity {capacity:.0} reads/s without gates; stampede {hot_rate:.0}/s, limit {hot_limit:.0}/s"
    );

    let rates = Rates { capacity, hot_rate, hot_limit };
    let run = Run { target, world, options, rates };
    // A database that was just filled, and compiles as it runs, is slow at first.
    for phase in [Phase::GatesOn, Phase::Alone] {
        run.phase(phase, "warm-up").await?;
    }
    let mut phases: Vec<Seen> = Vec::new();
    for round in 1..=run.options.rounds {
        let label = format!("round {round}");
        for phase in [Phase::Alone, Phase::GatesOn, Phase::GatesOff, Phase::GatesOff] {
            phases.push(run.phase(phase, &label).await?);
        }
        run.phase(Phase::Alone, "recovery").await?;
        for phase in [Phase::GatesOn, Phase::Alone] {
            phases.push(run.phase(phase, &label).await?);
        }
    }
    report(&run.options, &run.rates, &phases, run.target.rss_kib())
}

/// A filled service and its clients.
struct Run {
    target: Target,
    world: Arc<World>,
    options: Options,
    rates: Rates,
}

impl Run {
    async fn phase(&self, phase: Phase, label: &str) -> Result<Seen> {
        prepare_patiently(&self.target.admin, phase, self.world.hot, self.rates.hot_limit).await?;
        let before = self.target.counter("weir_data_db_reads_total").await?;
        let mut seen = Seen { phase, quiet: Arc::default(), hot: Arc::default(), database_reads: 0.0 };
        one_phase(&self.target, &self.world, &self.options, phase, self.rates.hot_rate, &seen).await?;
        seen.database_reads = self.target.counter("weir_data_db_reads_total").await? - before;
        let numbers = seen.quiet.numbers();
        eprintln!(
            "{label} {:<20} quiet p99 {:.2} ms, failed {}",
            phase.name(),
            numbers.p99_us as f64 / 1_000.0,
            numbers.failed
        );
        // Work that the phase left in queues, here and in the database, ends before the next phase begins.
        tokio::time::sleep(SETTLE).await;
        Ok(seen)
    }
}

/// The results of one phase.
struct Seen {
    phase: Phase,
    quiet: Arc<Recorder>,
    hot: Arc<Recorder>,
    database_reads: f64,
}

/// Requests a second on the hot channel.
struct Rates {
    capacity: f64,
    hot_rate: f64,
    hot_limit: f64,
}

/// Repeats [`prepare`] until it succeeds. Without gates a stampede may leave the database's driver without a
/// connection for a while, and then no limit can be stored.
async fn prepare_patiently(admin: &DataClient, phase: Phase, hot: u64, hot_limit: f64) -> Result<()> {
    let began = tokio::time::Instant::now();
    loop {
        match prepare(admin, phase, hot, hot_limit).await {
            Err(error) if began.elapsed() < RECOVERY_MAX => {
                eprintln!("not recovered yet: {error:#}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            prepared => return prepared,
        }
    }
}

async fn prepare(admin: &DataClient, phase: Phase, hot: u64, hot_limit: f64) -> Result<()> {
    gates(admin, phase != Phase::GatesOff).await?;
    let scope = format!("channel/{hot}");
    let options = CallOptions::default();
    if phase == Phase::GatesOn {
        let limit = |kind: LimitKind, rate: f64| Limit {
            scope: scope.clone(),
            kind: kind.into(),
            rate,
            burst: (rate * BURST_SECONDS).ceil() as u64,
            set_by: "loadtest".into(),
            reason: "stampede".into(),
            ..Limit::default()
        };
        for limit in [
            limit(LimitKind::Requests, hot_limit),
            limit(LimitKind::DatabaseReads, (hot_limit / 10.0).max(1.0)),
        ] {
            admin.set_limit(&SetLimitRequest { limit: Some(limit) }, &options).await?;
        }
    } else {
        for kind in [LimitKind::Requests, LimitKind::DatabaseReads] {
            let request =
                UnsetLimitRequest { scope: scope.clone(), kind: kind.into(), who: "loadtest".into() };
            admin.unset_limit(&request, &options).await?;
        }
    }
    Ok(())
}

/// Switches all gates.
async fn gates(admin: &DataClient, on: bool) -> Result<()> {
    let options = CallOptions::default();
    for gate in GATES {
        let (scope, kind) = (format!("gate/{gate}"), LimitKind::GateOff.into());
        if on {
            admin.unset_limit(&UnsetLimitRequest { scope, kind, who: "loadtest".into() }, &options).await?;
        } else {
            let limit = Limit { scope, kind, set_by: "loadtest".into(), ..Limit::default() };
            admin.set_limit(&SetLimitRequest { limit: Some(limit) }, &options).await?;
        }
    }
    Ok(())
}

async fn read(data: DataClient, channel_id: u64, before: Option<u64>, limit: u32) -> Result<(), Failure> {
    let request = ListMessagesRequest { channel_id, limit, before, ..ListMessagesRequest::default() };
    data.list_messages(&request, &CallOptions::within(DEADLINE)).await?;
    Ok(())
}

/// Measures how many reads of the hot channel a second the service and its database answer without gates,
/// with 64 callers in a closed loop.
async fn capacity(data: &DataClient, world: &Arc<World>) -> Result<f64> {
    const CALLERS: u64 = 64;
    const LENGTH: Duration = Duration::from_secs(3);
    let (done, end) = (Arc::new(AtomicU64::new(0)), tokio::time::Instant::now() + LENGTH);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (data, done, world) = (data.clone(), Arc::clone(&done), Arc::clone(world));
        callers.spawn(async move {
            let mut number = caller;
            while tokio::time::Instant::now() < end {
                let ids = world.ids.last().map_or(&[][..], Vec::as_slice);
                if read(data.clone(), world.hot, some_page(ids, scatter(number)), HOT_PAGE).await.is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                number += CALLERS;
            }
        });
    }
    while callers.join_next().await.is_some() {}
    let done = done.load(Ordering::Relaxed);
    ensure!(done > 0, "the service answered no read in {LENGTH:?}");
    Ok(done as f64 / LENGTH.as_secs_f64())
}

/// Runs one phase. The quiet stream reads random pages of its channels. The stampede reads like the readers
/// of a viral channel: nine of ten read the newest page, the tenth an older one.
async fn one_phase(
    target: &Target,
    world: &Arc<World>,
    options: &Options,
    phase: Phase,
    hot_rate: f64,
    seen: &Seen,
) -> Result<()> {
    let data = &target.data;
    let length = Duration::from_secs(options.seconds);
    let quiet_reads =
        quiet_stream(target, Arc::clone(world), options.quiet_rate, length, Arc::clone(&seen.quiet));
    if phase == Phase::Alone {
        return quiet_reads.await;
    }
    let stampede = arrival::run(hot_rate, length, Arc::clone(&seen.hot), |number| {
        let random = scatter(number ^ 0xABCD);
        let ids = world.ids.last().map_or(&[][..], Vec::as_slice);
        let before = if random.is_multiple_of(10) { some_page(ids, random >> 16) } else { None };
        read(data.clone(), world.hot, before, HOT_PAGE)
    });
    let (quiet_reads, ()) = tokio::join!(quiet_reads, stampede);
    quiet_reads
}

/// Reads the quiet channels with a thread and connections of their own, so that they do not wait in the
/// stampede's queues in this process.
async fn quiet_stream(
    target: &Target,
    world: Arc<World>,
    rate: f64,
    length: Duration,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let make_client = target.another_client();
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("quiet".into()).spawn(move || {
        let run = || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let data = make_client()?;
                let request = |number| {
                    let random = scatter(number);
                    // The remainder is below the number of channels, a usize.
                    let channel = (random % world.quiet.len() as u64) as usize;
                    let before = some_page(&world.ids[channel], random >> 16);
                    read(data.clone(), world.quiet[channel], before, PAGE)
                };
                arrival::run(rate, length, recorder, request).await;
                Ok(())
            })
        };
        // The receiver is gone only if the run was aborted.
        drop(done.send(run()));
    })?;
    ended.await.context("the quiet stream's thread ended early")?
}

fn report(options: &Options, rates: &Rates, phases: &[Seen], rss_kib: Option<u64>) -> Result<()> {
    let of = |phase: Phase| phases.iter().filter(move |seen| seen.phase == phase);
    let mut rows = Vec::new();
    let mut curves = Vec::new();
    for phase in Phase::ALL {
        let (quiet, hot) = (Recorder::default(), Recorder::default());
        of(phase).for_each(|seen| {
            quiet.add(&seen.quiet);
            hot.add(&seen.hot);
        });
        curves.push((phase.name().to_owned(), quiet.curve()));
        let row = |stream, offered_per_s, numbers| Row {
            phase: phase.name().to_owned(),
            stream,
            offered_per_s,
            // The number of phases of one kind is small.
            seconds: (of(phase).count() as u64 * options.seconds) as f64,
            database_reads: of(phase).map(|seen| seen.database_reads).sum(),
            numbers,
        };
        rows.push(row("quiet", options.quiet_rate, quiet.numbers()));
        if phase != Phase::Alone {
            rows.push(row("hot", rates.hot_rate, hot.numbers()));
        }
    }
    print!("{}", table(&rows));
    let mut report = Report::new("hot-channel", "Quiet channels beside a stampede");
    for (name, value) in [
        ("quiet_channels", options.quiet_channels),
        ("messages", options.messages),
        ("rounds", options.rounds.into()),
        ("seconds", options.seconds),
        ("service_rss_kib", rss_kib.unwrap_or(0)),
    ] {
        report.setting(name, value);
    }
    report.setting("store", options.store.split(':').next().unwrap_or(""));
    for (name, value) in [
        ("quiet_per_s", options.quiet_rate),
        ("capacity_per_s", rates.capacity),
        ("stampede_per_s", rates.hot_rate),
        ("hot_limit_per_s", rates.hot_limit),
    ] {
        report.setting(name, value.round());
    }
    report.setting("streams", serde_json::to_value(&rows)?);
    let mut p99 = |phase: Phase| {
        let figures = of(phase).map(|seen| seen.quiet.numbers().p99_us as f64 / 1_000.0).collect();
        report.series(&format!("quiet p99, {}", phase.name()), "ms", figures)
    };
    let (alone, on, off) = (p99(Phase::Alone), p99(Phase::GatesOn), p99(Phase::GatesOff));
    report.ratio("quiet p99, gates on / alone", on, alone, Some(Goal::AtMost(1.25)));
    report.ratio("quiet p99, gates off / alone", off, alone, None);
    let expected = rates.hot_limit * options.seconds as f64;
    let share = of(Phase::GatesOn).map(|seen| seen.hot.numbers().answered as f64 / expected);
    report.figure("hot channel's answers / its limit", "share", share.collect(), Goal::AtLeast(0.9));
    weir_report::curves(
        &weir_report::folder()?.join("hot-channel-latency.svg"),
        "quiet channels beside a stampede",
        &curves,
    )?;
    report.finish()
}
