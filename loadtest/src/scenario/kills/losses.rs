//! Empties the event bus again and again, under traffic and in silence. It checks that everything still
//! reaches every session, once, in order, and soon, even if no other message follows.
//!
//! Redis is killed and started empty at random moments, while the tiers keep running. After each loss one
//! message is posted, usually before the gateway has reconnected to the bus, and all bots must have seen it
//! within [`Options::late_ms`]. No session may be lost. The rest is as in [`super`], with its writers, bots
//! and judge.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    bot::Client,
    check,
    observed::Observed,
    redis::Redis,
    scene::{Cast, Scene},
    target::{Kind, Plan},
    writer::{Writer, Written},
};
use crate::{
    evidence::{Evidence, judge},
    random::between,
};

/// Shortest and longest time for which the bus is away: from a restart that no tier notices to one after
/// which all are in their longest pause.
const AWAY: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(2_500));
/// Pause between the bus's return and the message. Most of it lies before the gateway has reconnected, some
/// after.
const UNTIL_POSTED: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(1_500));
/// Pause before the next loss. All clients are then back and quiet, or still reconnecting.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2_500));
/// Pause between two checks of the bots.
const POLL: Duration = Duration::from_millis(10);

/// How the scenario is run. Everything is on this machine's loopback and ends by itself.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Whose bus is emptied.
    #[arg(long, value_enum, default_value_t = Kind::Weir)]
    target: Kind,
    /// Losses under traffic.
    #[arg(long, default_value_t = 10)]
    busy: u32,
    /// Losses in silence.
    #[arg(long, default_value_t = 10)]
    silent: u32,
    /// Writers.
    #[arg(long, default_value_t = 8)]
    writers: usize,
    /// Bots on the gateway.
    #[arg(long, default_value_t = 4)]
    bots: usize,
    /// Longest pause of a writer between two messages, in milliseconds.
    #[arg(long, default_value_t = 50)]
    think_ms: u64,
    /// Longest time from a message's acknowledgement until every bot has it, in milliseconds. A gateway is
    /// back within two seconds of pause and one of timeout, and a publisher asks each second.
    #[arg(long, default_value_t = 8_000)]
    late_ms: u64,
    /// Store: `cql://127.0.0.1:PORT/keyspace`; without it the embedded one. `tiers` need it.
    #[arg(long)]
    store: Option<String>,
    /// Binaries of this profile (`release`, `debug`) instead of those beside this one.
    #[arg(long)]
    profile: Option<String>,
    /// Decides the moments of the losses and what is written; shown, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
}

/// One loss.
struct Loss {
    silent: bool,
    away: Duration,
    /// Time from the bus's return until the message left.
    until_posted: Duration,
    /// Time from the message's acknowledgement until the last bot had it; `None` if that took too long.
    delivered: Option<Duration>,
}

/// Runs the scenario, prints its results, and fails if something was wrong.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.writers > 0 && options.bots > 0, "writers and bots must be above 0");
    ensure!(
        options.target == Kind::Weir || options.store.is_some(),
        "tiers need --store cql://…: they do not share a directory"
    );
    let evidence = Evidence::new(options.seed)?;
    let outcome = judged(&options, &evidence).await;
    evidence.after(outcome)
}

async fn judged(options: &Options, evidence: &Evidence) -> Result<()> {
    let (observed, losses) = observe(options, evidence.directory(), evidence.random()).await?;
    let result = print(&observed, &losses, evidence.seed);
    judge(&check::check(&observed), result)
}

async fn observe(options: &Options, directory: &Path, mut random: Rng) -> Result<(Observed, Vec<Loss>)> {
    let mut redis = Redis::start(directory, &mut random)?;
    let url = redis.url();
    let plan = Plan {
        kind: options.target,
        profile: options.profile.as_deref(),
        store: options.store.as_deref(),
        bus: Some(&url),
        directory,
    };
    // No client's network fails here, so a message that a session lacks would be missing for good.
    let (writers, bots, keep) = (options.writers, options.bots, None);
    let cast = Cast { writers, bots, think: Duration::from_millis(options.think_ms), keep };
    let mut scene = Scene::begin(&plan, &cast, &mut random).await?;
    let mut emptying = Emptying {
        writer: scene.another_writer(&mut random),
        late: Duration::from_millis(options.late_ms),
        written: Written::default(),
        losses: Vec::new(),
    };
    for _ in 0..options.busy {
        emptying.once(false, &mut redis, &mut scene.bots, &mut random).await?;
    }
    emptying.written.add(scene.stop_writers().await?);
    for _ in 0..options.silent {
        emptying.once(true, &mut redis, &mut scene.bots, &mut random).await?;
    }
    let Emptying { written, losses, .. } = emptying;

    let mut observed = Observed::default();
    let late = losses.iter().filter(|loss| loss.delivered.is_none());
    observed.failures.extend(late.map(|loss| {
        let when = if loss.silent { "in silence" } else { "under traffic" };
        format!("the message {:?} after a loss {when} was not with all bots in time", loss.until_posted)
    }));
    for index in 0..scene.target.processes.len() {
        // Whatever happened to the bus, it is back, and so are its clients.
        scene.target.ready(index)?;
    }
    scene.end(written, &mut observed).await?;
    Ok((observed, losses))
}

/// What an emptying needs, and its results.
struct Emptying {
    writer: Writer,
    late: Duration,
    written: Written,
    losses: Vec<Loss>,
}

impl Emptying {
    /// Empties the bus, posts one message, and waits until every bot has it.
    async fn once(
        &mut self,
        silent: bool,
        redis: &mut Redis,
        bots: &mut [Client],
        random: &mut Rng,
    ) -> Result<()> {
        sleep(between(random, BETWEEN.0, BETWEEN.1)).await;
        redis.kill()?;
        let away = between(random, AWAY.0, AWAY.1);
        sleep(away).await;
        redis.restart()?;
        let until_posted = between(random, UNTIL_POSTED.0, UNTIL_POSTED.1);
        sleep(until_posted).await;
        let channel = *random.choice(self.writer.channels.iter()).context("no channels")?;
        let content = format!("w{}-{}", self.writer.number, self.losses.len());
        let id = self.writer.create(channel, &content, &mut self.written).await?;
        let message = [(channel, id.context("the message after a loss was not taken")?)];
        let began = Instant::now();
        let mut delivered = None;
        while delivered.is_none() && began.elapsed() < self.late {
            for bot in &mut *bots {
                if let Some(failure) = bot.failure() {
                    bail!("a bot failed: {failure}");
                }
            }
            delivered = bots.iter().all(|bot| bot.has_seen(&message)).then(|| began.elapsed());
            sleep(POLL).await;
        }
        self.losses.push(Loss { silent, away, until_posted, delivered });
        Ok(())
    }
}

/// Prints a line for each loss; returns the run's figures.
fn print(observed: &Observed, losses: &[Loss], seed: u64) -> Value {
    println!("{:<8} {:>9} {:>16} {:>14}", "loss", "away ms", "until posted ms", "delivered ms");
    for loss in losses {
        let delivered =
            loss.delivered.map_or_else(|| "late".to_owned(), |delivered| delivered.as_millis().to_string());
        println!(
            "{:<8} {:>9} {:>16} {delivered:>14}",
            if loss.silent { "silent" } else { "busy" },
            loss.away.as_millis(),
            loss.until_posted.as_millis()
        );
    }
    let slowest = losses.iter().filter_map(|loss| loss.delivered).max().unwrap_or_default();
    let acknowledged = observed.creates.iter().filter(|create| create.acknowledged.is_some()).count();
    let epochs = observed.bots.iter().flat_map(|bot| &bot.epochs);
    let invalidated = epochs.filter(|epoch| epoch.lost.is_some()).count();
    json!({
        "losses": losses.len(), "acked": acknowledged, "slowest_ms": slowest.as_millis() as u64,
        "late": losses.iter().filter(|loss| loss.delivered.is_none()).count(), "invalidated": invalidated, "seed": seed,
    })
}
