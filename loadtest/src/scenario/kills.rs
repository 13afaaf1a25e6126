//! Kills processes while people write and bots listen. It checks that nothing that any client was told is
//! lost, doubled or out of order.
//!
//! Writers post through REST and repeat requests without an answer. Bots hold gateway sessions, lose their
//! sockets at random moments too, resume, and read histories again after INVALID_SESSION. Meanwhile processes
//! get SIGKILL at random moments. At the end [`check`] compares what writers were told, what the histories
//! show and what each bot saw.
//!
//! [`target`]: the processes; [`writer`], [`bot`] (its protocol: [`conversation`]): the clients; [`scene`]:
//! their start and end; [`observed`]: what was seen; [`check`]: the judge, which reports each [`violation`];
//! [`summary`]: the report. [`losses`] is a scenario of its own: not a process but the bus's memory is lost.

mod bot;
mod check;
mod conversation;
pub(crate) mod losses;
mod observed;
mod redis;
mod scene;
mod summary;
pub(crate) mod target;
mod violation;
mod writer;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fastrand::Rng;
use tokio::time::sleep;

use self::{
    observed::{Clock, Observed},
    scene::{Cast, Scene},
    summary::Kill,
    target::{Kind, Plan, Target},
};
use crate::{
    evidence::{Evidence, judge},
    random::between,
};

/// Shortest and longest time from ready to the next kill: after the shortest, bots are still resuming; after
/// the longest, all is quiet again.
const BETWEEN_KILLS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(2_500));
/// One kill out of this many comes before everything is ready again, in the middle of recovery.
const EARLY_ONE_IN: u64 = 4;
/// Longest time from the start to such a kill.
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
    /// Longest time for which a bot keeps a connection before its network fails, in milliseconds; 0: it never
    /// does.
    #[arg(long, default_value_t = 4_000)]
    keep_ms: u64,
    /// Store: `cql://127.0.0.1:PORT/keyspace`. The keyspace is made if it is not there, and stays. `tiers`
    /// need it.
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

/// Runs the scenario, prints its results, and fails if something was wrong.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.writers > 0 && options.bots > 0, "writers and bots must be above 0");
    ensure!(
        options.target == Kind::Weir || (options.store.is_some() && options.redis.is_some()),
        "tiers need --store cql://… and --redis redis://…: they share neither a process nor a directory"
    );
    let evidence = Evidence::new(options.seed)?;
    let outcome = judged(&options, &evidence).await;
    evidence.after(outcome)
}

async fn judged(options: &Options, evidence: &Evidence) -> Result<()> {
    let (observed, kills, retried) = observe(options, evidence.directory(), evidence.random()).await?;
    let result = summary::print(&observed, &kills, retried, evidence.seed);
    judge(&check::check(&observed), result)
}

async fn observe(options: &Options, directory: &Path, mut random: Rng) -> Result<(Observed, Vec<Kill>, u64)> {
    let plan = Plan {
        kind: options.target,
        profile: options.profile.as_deref(),
        store: options.store.as_deref(),
        bus: options.redis.as_deref(),
        directory,
    };
    let cast = Cast {
        writers: options.writers,
        bots: options.bots,
        think: Duration::from_millis(options.think_ms),
        keep: (options.keep_ms > 0).then(|| Duration::from_millis(options.keep_ms)),
    };
    let mut scene = Scene::begin(&plan, &cast, &mut random).await?;
    let mut observed = Observed::default();
    let kills = kill(&mut scene.target, options.kills, scene.clock, &mut random, &mut observed).await?;
    let mut written = scene.stop_writers().await?;

    // The last message of each channel. A bot that saw it has nothing more to receive.
    let mut last = scene.another_writer(&mut random);
    let mut markers = Vec::with_capacity(scene.channels.len());
    for (number, channel) in scene.channels.iter().copied().enumerate() {
        let content = format!("w{}-{number}", options.writers);
        let marker = last.create(channel, &content, &mut written).await?;
        markers.push((channel, marker.with_context(|| format!("the last message of channel {channel}"))?));
    }
    let caught_up = scene.settle("the last messages", |bot| bot.has_seen(&markers)).await;
    if let Err(error) = caught_up {
        observed.failures.push(format!("{error:#}"));
    }
    let retried = written.retried;
    scene.end(written, &mut observed).await?;
    Ok((observed, kills, retried))
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
            // The time is taken before the signal, so whatever a client sees of the kill is later.
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
    // The clients reconnect to what the last kill left.
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
