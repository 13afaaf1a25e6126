//! Kills processes while people write and bots listen, and checks that nothing that anyone was told is lost, doubled or out of order.
//!
//! Writers post through REST and repeat what got no answer; bots hold gateway sessions, lose their sockets at random moments too, resume,
//! and read histories again after INVALID_SESSION. Meanwhile SIGKILL hits at random moments. At the end [`check`] compares what writers were told, what the
//! histories show and what each bot saw.
//!
//! [`target`]: the processes; [`writer`], [`bot`] (its protocol: [`conversation`]): the clients; [`observed`]: what
//! was seen; [`check`]: the judge, who tells of each [`violation`]; [`summary`]: the report. [`losses`] is a
//! scenario of its own, in which not a process but the bus's memory is lost.

mod bot;
mod check;
mod conversation;
pub(crate) mod losses;
mod observed;
mod redis;
mod summary;
pub(crate) mod target;
mod violation;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fastrand::Rng;
use http::Method;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use self::{
    bot::{Client, Habits},
    observed::{Clock, History, Observed, Row},
    summary::Kill,
    target::{Kind, Plan, Target},
    writer::{Writer, Written},
};
use crate::{
    random::between,
    rest::{self, Rest},
};

/// Channels of the guild.
const CHANNELS: usize = 3;
/// Patience with each request of the set-up and of the last reading.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for the bots to get READY, and at the end to catch up.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Pause between two looks at the bots.
const POLL: Duration = Duration::from_millis(50);
/// Time from ready to the next kill, at least and at most: with the lower end bots are still resuming, with the upper all is quiet again.
const BETWEEN_KILLS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(2_500));
/// One of so many kills comes before everything is ready again: in the middle of recovery.
const EARLY_ONE_IN: u64 = 4;
/// Time from the start to such a kill, at most.
const EARLY_MAX: Duration = Duration::from_millis(800);

/// How the scenario is run. Everything is on this machine's loopback and ends by itself.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// What is killed.
    #[arg(long, value_enum, default_value_t = Kind::Weir)]
    target: Kind,
    /// Kills of each process.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Writers.
    #[arg(long, default_value_t = 50)]
    writers: usize,
    /// Bots on the gateway.
    #[arg(long, default_value_t = 4)]
    bots: usize,
    /// Longest pause of a writer between two messages, in milliseconds.
    #[arg(long, default_value_t = 50)]
    think_ms: u64,
    /// Longest time for which a bot keeps a connection before its network fails, in milliseconds; 0: it never does.
    #[arg(long, default_value_t = 4_000)]
    keep_ms: u64,
    /// Store: `cql://127.0.0.1:PORT/keyspace`. The keyspace is made if it is not there, and stays. `tiers` need it.
    #[arg(long)]
    store: Option<String>,
    /// Event bus: `redis://127.0.0.1:PORT`. `tiers` need it.
    #[arg(long)]
    redis: Option<String>,
    /// Binaries of this profile (`release`, `debug`) instead of those beside this one.
    #[arg(long)]
    profile: Option<String>,
    /// Decides the moments of the kills and what is written; shown, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the scenario, prints what came of it, and fails if something was wrong.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.writers > 0 && options.bots > 0, "writers and bots must be above 0");
    ensure!(
        options.target == Kind::Weir || (options.store.is_some() && options.redis.is_some()),
        "tiers need --store cql://… and --redis redis://…: they share neither a process nor a directory"
    );
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let directory = tempfile::tempdir()?;
    eprintln!("seed {seed}; logs in {}", directory.path().display());
    let outcome = observe(&options, directory.path(), Rng::with_seed(seed)).await;
    let (observed, kills, retried) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Err(error.context(format!("logs are kept in {}", directory.keep().display()))),
    };
    let violations = check::check(&observed);
    summary::print(&observed, &kills, retried, &violations, seed);
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{} violations; logs are kept in {}", violations.len(), directory.keep().display())
}

async fn observe(options: &Options, directory: &Path, mut random: Rng) -> Result<(Observed, Vec<Kill>, u64)> {
    let plan = Plan {
        kind: options.target,
        profile: options.profile.as_deref(),
        store: options.store.as_deref(),
        bus: options.redis.as_deref(),
        directory,
    };
    let mut target = Target::start(&plan, &mut random).await?;
    let clock = Clock::start();
    let mut observed = Observed::default();
    // Names of an earlier run may be in the same keyspace.
    let unique = format!("{:08x}", random.u32(..));
    let token = target.create_bot(&format!("writer-{unique}"), None).await?;
    let mut rest = Rest::new(target.api, &token)?;
    let (guild, channels) = found(&mut rest).await?;
    let habits = Habits {
        gateway: target.gateway,
        api: target.api,
        channels: Arc::clone(&channels),
        clock,
        keep: (options.keep_ms > 0).then(|| Duration::from_millis(options.keep_ms)),
    };
    let mut bots = Vec::with_capacity(options.bots);
    for number in 0..options.bots {
        let name = format!("bot-{unique}-{number}");
        let token = target.create_bot(&name, Some(guild)).await?;
        bots.push(Client::start(name, token, habits.clone(), random.fork())?);
    }
    settle(&mut bots, "READY", |bot| bot.look(|seen| !seen.epochs.is_empty())).await?;

    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    let writer = |number, rest: &Rest, random: &mut Rng| Writer {
        number,
        rest: rest.another(),
        channels: Arc::clone(&channels),
        clock,
        random: random.fork(),
        think: Duration::from_millis(options.think_ms),
        stop: stopped.clone(),
    };
    for number in 0..options.writers {
        writers.spawn(writer(number, &rest, &mut random).run());
    }
    let kills = kill(&mut target, options.kills, clock, &mut random, &mut observed).await?;
    let _all_ended = stop.send(true);
    let mut written = Written::default();
    while let Some(of_one) = writers.join_next().await {
        written.add(of_one??);
    }

    // The last message of each channel: a bot that saw it has nothing more to come.
    let mut last = writer(options.writers, &rest, &mut random);
    let mut markers = Vec::with_capacity(channels.len());
    for (number, channel) in channels.iter().copied().enumerate() {
        let content = format!("w{}-{number}", options.writers);
        let marker = last.create(channel, &content, &mut written).await?;
        markers.push((channel, marker.with_context(|| format!("the last message of channel {channel}"))?));
    }
    let caught_up = settle(&mut bots, "the last messages", |bot| bot.has_seen(&markers)).await;
    if let Err(error) = caught_up {
        observed.failures.push(format!("{error:#}"));
    }
    for channel in channels.iter().copied() {
        observed.histories.push(read(&mut rest, channel).await?);
    }
    for bot in bots {
        observed.bots.push(bot.stop().await);
    }
    (observed.creates, observed.changes) = (written.creates, written.changes);
    observed.rejections = written.rejections;
    Ok((observed, kills, written.retried))
}

/// A guild with its channels.
async fn found(rest: &mut Rest) -> Result<(u64, Arc<[u64]>)> {
    let body = json!({ "name": "kills" });
    let guild = rest.insist(Method::POST, "/api/v10/guilds", Some(&body), PATIENCE).await?;
    let guild = rest::id(&guild["id"]).with_context(|| format!("no guild: {guild}"))?;
    let path = format!("/api/v10/guilds/{guild}/channels");
    let mut channels = Vec::with_capacity(CHANNELS);
    for number in 0..CHANNELS {
        let body = json!({ "name": format!("c{number}"), "type": 0 });
        let channel = rest.insist(Method::POST, &path, Some(&body), PATIENCE).await?;
        channels.push(rest::id(&channel["id"]).with_context(|| format!("no channel: {channel}"))?);
    }
    Ok((guild, channels.into()))
}

/// Waits until all bots are so far.
async fn settle(bots: &mut [Client], what: &str, is_done: impl Fn(&Client) -> bool) -> Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    while !bots.iter().all(&is_done) {
        for bot in &mut *bots {
            if let Some(failure) = bot.failure() {
                bail!("a bot failed: {failure}");
            }
        }
        ensure!(Instant::now() < deadline, "not all bots saw {what} within {SETTLE_MAX:?}");
        sleep(POLL).await;
    }
    Ok(())
}

/// Kills each process in turn, `rounds` times.
async fn kill(
    target: &mut Target,
    rounds: u32,
    clock: Clock,
    random: &mut Rng,
    observed: &mut Observed,
) -> Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for _ in 0..rounds {
        for index in 0..target.processes.len() {
            let is_early = !kills.is_empty() && random.u64(..EARLY_ONE_IN) == 0;
            if is_early {
                sleep(between(random, Duration::ZERO, EARLY_MAX)).await;
            } else {
                wait_ready(target, &mut kills)?;
                sleep(between(random, BETWEEN_KILLS.0, BETWEEN_KILLS.1)).await;
            }
            let process = &mut target.processes[index];
            let name = process.name();
            // Before the signal: whatever a client sees of it is later.
            let at = clock.now();
            observed.failures.extend(process.kill()?);
            process.restart()?;
            eprintln!(
                "{:8.3} s: killed {name}{}",
                at as f64 / 1e6,
                if is_early { " while starting" } else { "" }
            );
            if target.holds_sessions(index) {
                observed.session_kills.push(at);
            }
            kills.push(Kill { name, index, at, ready: None });
        }
    }
    wait_ready(target, &mut kills)?;
    // The clients come back to what the last kill left.
    sleep(BETWEEN_KILLS.1).await;
    Ok(kills)
}

fn wait_ready(target: &mut Target, kills: &mut [Kill]) -> Result<()> {
    let index = kills.last().map_or(0, |kill| kill.index);
    let took = target.ready(index)?;
    if let Some(kill) = kills.last_mut() {
        kill.ready.get_or_insert(took);
    }
    Ok(())
}

/// A channel's whole history, page by page.
async fn read(rest: &mut Rest, channel: u64) -> Result<History> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let page = rest.page(channel, rows.last().map(|row| row.id), PATIENCE).await?;
        let length = page.len();
        for message in page {
            let id = rest::id(&message["id"]).with_context(|| format!("no id: {message}"))?;
            let content = message["content"].as_str().with_context(|| format!("no content: {message}"))?;
            rows.push(Row { id, content: content.to_owned() });
        }
        // A page that is not full is the last one; a wrong order, which the checker reports, must not make this endless.
        if length < rest::PAGE_MAX {
            return Ok(History { channel, rows });
        }
    }
}

impl Written {
    fn add(&mut self, other: Self) {
        self.creates.extend(other.creates);
        self.changes.extend(other.changes);
        self.rejections.extend(other.rejections);
        self.retried += other.retried;
    }
}
