//! One channel is stampeded while quiet ones are read: with the gates on, with the gates off, and the quiet load alone; interleaved.
//!
//! Goal (G5): the quiet channels' p99 beside the stampede is at most 1.25 times their p99 alone, while the hot channel still gets 0.9 of
//! its limit.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use weir_data_client::{CallOptions, DataClient};
use weir_proto::{
    admin::{Limit, LimitKind, SetLimitRequest, UnsetLimitRequest},
    data::{
        Channel, CreateGuildRequest, CreateMessageRequest, CreateUserRequest, Guild, ListMessagesRequest,
        Member, Message, User,
    },
};

use crate::{
    arrival,
    recorder::{Failure, Recorder},
    report::{self, Provenance, Row},
    target::{Target, beside_me},
};

/// How the scenario is run. Load goes to this machine's loopback only, and ends by itself.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// The store: `embedded` or `cql://127.0.0.1:PORT/keyspace`.
    #[arg(long, default_value = "embedded")]
    store: String,
    /// Quiet channels.
    #[arg(long, default_value_t = 50)]
    quiet_channels: u64,
    /// Reads a second over all quiet channels.
    #[arg(long, default_value_t = 100.0)]
    quiet_rate: f64,
    /// Messages in each channel.
    #[arg(long, default_value_t = 400)]
    messages: u64,
    /// Requests a second on the hot channel; 0 means ten times the capacity that is measured first.
    #[arg(long, default_value_t = 0.0)]
    hot_rate: f64,
    /// Limit of requests a second for the hot channel while the gates are on; 0 means a tenth of the hot rate.
    #[arg(long, default_value_t = 0.0)]
    hot_limit: f64,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; each runs alone, on, off, off, on, alone.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Processors of the data service, as for `taskset -c`.
    #[arg(long)]
    service_cpus: Option<String>,
    /// Where JSON and SVG go.
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
}

/// Deadline of each read: a user who waits longer has gone.
const DEADLINE: Duration = Duration::from_secs(2);
/// Rows of a page.
const PAGE: u32 = 50;
/// Writers of the set-up.
const SETUP_WRITERS: usize = 64;
/// Gates that are switched off for comparison.
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

/// Channels with rows in them.
struct World {
    hot: u64,
    quiet: Vec<u64>,
    /// Message ids, in order, for each quiet channel and last the hot one.
    ids: Vec<Vec<u64>>,
}

/// Runs the scenario and writes its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(
        options.quiet_channels > 0 && options.seconds > 0 && options.rounds > 0,
        "counts must be above 0"
    );
    let target =
        Target::start(&beside_me("data-service")?, &options.store, options.service_cpus.as_deref()).await?;
    eprintln!("filling {} channels with {} messages each", options.quiet_channels + 1, options.messages);
    let world = Arc::new(fill(&target.data, &options).await?);

    gates(&target.admin, false).await?;
    let capacity = capacity(&target.data, &world).await?;
    gates(&target.admin, true).await?;
    let hot_rate = if options.hot_rate > 0.0 { options.hot_rate } else { capacity * 10.0 };
    let hot_limit = if options.hot_limit > 0.0 { options.hot_limit } else { (hot_rate / 10.0).max(10.0) };
    eprintln!(
        "measured capacity {capacity:.0} reads/s without gates; stampede {hot_rate:.0}/s, limit {hot_limit:.0}/s"
    );

    let recorders: Vec<(Phase, Arc<Recorder>, Arc<Recorder>)> =
        Phase::ALL.map(|phase| (phase, Arc::new(Recorder::new()), Arc::new(Recorder::new()))).into();
    let mut database_reads = [0.0; 3];
    let mut seconds = [0.0; 3];
    let mut quiet_p99 = Vec::new();
    for round in 0..options.rounds {
        for phase in
            [Phase::Alone, Phase::GatesOn, Phase::GatesOff, Phase::GatesOff, Phase::GatesOn, Phase::Alone]
        {
            let index = phase as usize;
            let (_, quiet_all, hot_all) = &recorders[index];
            prepare(&target.admin, phase, world.hot, hot_limit).await?;
            let before = target.counter("weir_data_db_reads_total").await?;
            let started = tokio::time::Instant::now();
            let quiet = Arc::new(Recorder::new());
            one_phase(&target, &world, &options, phase, hot_rate, &quiet, hot_all).await?;
            seconds[index] += started.elapsed().as_secs_f64().min(options.seconds as f64);
            database_reads[index] += target.counter("weir_data_db_reads_total").await? - before;
            let numbers = quiet.numbers();
            quiet_all.add(&quiet);
            eprintln!(
                "round {} {:<20} quiet p99 {:.2} ms, failed {}",
                round + 1,
                phase.name(),
                numbers.p99_us as f64 / 1_000.0,
                numbers.failed
            );
            quiet_p99.push((phase, numbers.p99_us));
            // What the phase left in queues ends before the next begins.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    }
    write_report(
        &options,
        capacity,
        hot_rate,
        hot_limit,
        &recorders,
        database_reads,
        seconds,
        &quiet_p99,
        target.rss_kib(),
    )
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

async fn fill(data: &DataClient, options: &Options) -> Result<World> {
    let calls = CallOptions::within(Duration::from_secs(10));
    let user = CreateUserRequest {
        user: Some(User { username: "loadtest".into(), bot: true, ..User::default() }),
        token_hash: Vec::new(),
    };
    let author = data.create_user(&user, &calls).await?.message.user.context("a user")?.id;
    let channels = (0..=options.quiet_channels)
        .map(|number| Channel { name: format!("c{number}"), ..Channel::default() });
    let guild = CreateGuildRequest {
        guild: Some(Guild { name: "loadtest".into(), owner_id: author, ..Guild::default() }),
        channels: channels.collect(),
        members: vec![Member { user_id: author, ..Member::default() }],
        ..CreateGuildRequest::default()
    };
    let state = data.create_guild(&guild, &calls).await?.message.state.context("a guild")?;
    let mut channels: Vec<u64> = state.channels.iter().map(|channel| channel.id).collect();
    let hot = channels.pop().context("a channel")?;
    let all: Vec<u64> = channels.iter().copied().chain([hot]).collect();
    let next = Arc::new(AtomicU64::new(0));
    let total = all.len() as u64 * options.messages;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..SETUP_WRITERS {
        let (data, next, all, calls) = (data.clone(), Arc::clone(&next), all.clone(), calls.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return anyhow::Ok(());
                }
                // The remainder is below the number of channels, a usize.
                let channel_id = all[(number % all.len() as u64) as usize];
                let content =
                    format!("message {number} of the load test, about as long as people write in chat");
                let message = Message { channel_id, author_id: author, content, ..Message::default() };
                let request =
                    CreateMessageRequest { message: Some(message), ..CreateMessageRequest::default() };
                data.create_message(&request, &calls).await?;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let mut ids = Vec::with_capacity(all.len());
    for channel_id in &all {
        let mut of_channel = Vec::new();
        let mut before = None;
        loop {
            let request = ListMessagesRequest {
                channel_id: *channel_id,
                limit: 100,
                before,
                ..ListMessagesRequest::default()
            };
            let page = data.list_messages(&request, &calls).await?.message.messages;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            of_channel.extend(page.iter().map(|message| message.id));
        }
        of_channel.reverse();
        ids.push(of_channel);
    }
    Ok(World { hot, quiet: channels, ids })
}

/// A number that looks random but is the same in each run (SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A page somewhere in a channel, by a number.
fn some_page(ids: &[u64], number: u64) -> Option<u64> {
    // Below the length, a usize.
    let index = (number % ids.len().max(1) as u64) as usize;
    ids.get(index).copied()
}

async fn read(data: DataClient, channel_id: u64, before: Option<u64>) -> Result<(), Failure> {
    let request = ListMessagesRequest { channel_id, limit: PAGE, before, ..ListMessagesRequest::default() };
    data.list_messages(&request, &CallOptions::within(DEADLINE)).await?;
    Ok(())
}

/// Reads of the hot channel a second that the service and its database answer without gates, measured by 64 callers in a closed loop.
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
                if read(data.clone(), world.hot, some_page(ids, scatter(number))).await.is_ok() {
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

/// The quiet stream reads pages anywhere in its channels. The stampede reads what a viral channel's readers do: nine of ten the newest
/// page, the tenth an older one.
async fn one_phase(
    target: &Target,
    world: &Arc<World>,
    options: &Options,
    phase: Phase,
    hot_rate: f64,
    quiet: &Arc<Recorder>,
    hot: &Arc<Recorder>,
) -> Result<()> {
    let data = &target.data;
    let length = Duration::from_secs(options.seconds);
    let quiet_reads = quiet_stream(target, Arc::clone(world), options.quiet_rate, length, Arc::clone(quiet));
    if phase == Phase::Alone {
        return quiet_reads.await;
    }
    let stampede = arrival::run(hot_rate, length, Arc::clone(hot), |number| {
        let random = scatter(number ^ 0xABCD);
        let ids = world.ids.last().map_or(&[][..], Vec::as_slice);
        let before = if random.is_multiple_of(10) { some_page(ids, random >> 16) } else { None };
        read(data.clone(), world.hot, before)
    });
    let (quiet_reads, ()) = tokio::join!(quiet_reads, stampede);
    quiet_reads
}

/// Reads the quiet channels from a thread and connections of their own, so that the stampede's queues in this process are not theirs.
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
                    // Below the number of channels, a usize.
                    let channel = (random % world.quiet.len() as u64) as usize;
                    read(data.clone(), world.quiet[channel], some_page(&world.ids[channel], random >> 16))
                };
                arrival::run(rate, length, recorder, request).await;
                Ok(())
            })
        };
        // The receiver is gone only if the run was given up.
        drop(done.send(run()));
    })?;
    ended.await.context("the quiet stream's thread ended early")?
}

#[expect(clippy::too_many_arguments, reason = "the whole of a run, written down once")]
fn write_report(
    options: &Options,
    capacity: f64,
    hot_rate: f64,
    hot_limit: f64,
    recorders: &[(Phase, Arc<Recorder>, Arc<Recorder>)],
    database_reads: [f64; 3],
    seconds: [f64; 3],
    quiet_p99: &[(Phase, u64)],
    rss_kib: Option<u64>,
) -> Result<()> {
    let mut rows = Vec::new();
    for (phase, quiet, hot) in recorders {
        let (index, phase_name) = (*phase as usize, phase.name().to_owned());
        let row = |stream, offered_per_s, numbers| Row {
            phase: phase_name.clone(),
            stream,
            offered_per_s,
            seconds: seconds[index],
            database_reads: database_reads[index],
            numbers,
        };
        rows.push(row("quiet", options.quiet_rate, quiet.numbers()));
        if *phase != Phase::Alone {
            rows.push(row("hot", hot_rate, hot.numbers()));
        }
    }
    let median = |phase: Phase| {
        let mut values: Vec<u64> =
            quiet_p99.iter().filter(|(of, _)| *of == phase).map(|(_, p99)| *p99).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0) as f64
    };
    let alone = median(Phase::Alone).max(1.0);
    let (on, off) = (median(Phase::GatesOn) / alone, median(Phase::GatesOff) / alone);
    let hot_on = recorders[Phase::GatesOn as usize].2.numbers();
    let share = hot_on.answered as f64 / seconds[Phase::GatesOn as usize] / hot_limit;
    print!("{}", report::table(&rows));
    println!(
        "quiet p99 beside the stampede / alone (median of phases): gates on {on:.2} (goal <= 1.25), gates off {off:.2}"
    );
    println!("hot channel's answers / its limit, gates on: {share:.2} (goal >= 0.9)");
    let provenance = Provenance::of(&options.store);
    println!(
        "machine: {} processors, {} GiB, Linux {}; weir {}",
        provenance.cpus, provenance.memory_gib, provenance.kernel, provenance.version
    );
    std::fs::create_dir_all(&options.out)?;
    let document = json!({
        "scenario": "hot-channel", "provenance": provenance, "capacity_per_s": capacity, "hot_rate_per_s": hot_rate,
        "hot_limit_per_s": hot_limit, "rows": rows, "quiet_p99_ratio_gates_on": on, "quiet_p99_ratio_gates_off": off,
        "hot_share_of_limit": share, "service_rss_kib": rss_kib, "rounds": options.rounds, "seconds_per_phase": options.seconds,
    });
    let json_path = options.out.join("hot-channel.json");
    std::fs::write(&json_path, serde_json::to_vec_pretty(&document)?)?;
    let plot_path = options.out.join("hot-channel.svg");
    let curves: Vec<_> =
        recorders.iter().map(|(phase, quiet, _)| (phase.name().to_owned(), quiet.curve())).collect();
    report::plot(&plot_path, "quiet channels beside a stampede", &curves)?;
    println!("written: {} and {}", json_path.display(), plot_path.display());
    Ok(())
}
