//! Hostile clients against a real `weir` with few descriptors and little memory: what each of them makes the
//! server hold or do, and what an innocent client notices.
//!
//! Attackers, innocents and server share this machine. The attackers' threads have a lower priority than the
//! others ([`yield_to_others`]), because in reality attackers have processors of their own. The innocents'
//! latencies are compared with a phase without an attack in which the same processor time is spent on nothing
//! ([`burner`]). The kernel's work for an attack (connects, copies) has no lower priority. So a second
//! process that is not attacked, the neighbour, has innocents of its own; what they notice is due to the
//! machine. Every attack is bounded in time and in connections, and goes to the process that the scenario
//! started on loopback.
//!
//! [`victim`]: the process and its measurements; [`innocent`]: clients that must not notice the attack;
//! [`burner`]: what sharing the machine costs them; [`ground`]: what an attacker can use; [`attacks`]: the
//! list; [`websocket`], [`http`] and [`calls`]: how each attack works; [`verdict`]: the table and the goals.

mod attacks;
mod burner;
pub(super) mod calls;
mod ground;
pub(super) mod http;
pub(super) mod innocent;
mod verdict;
mod victim;
pub(super) mod websocket;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};

use self::{attacks::Attack, verdict::Row};
pub(super) use self::{
    ground::Ground,
    innocent::Innocents,
    victim::{Limits, Victim},
    websocket::Hello,
};
use crate::machine::yield_to_others;

/// Time for an attack to end by itself after its time is over. Then it is cut off.
const END_MAX: Duration = Duration::from_secs(10);

/// Threads of the attackers.
const ATTACKERS: usize = 2;
/// Name of the attackers' threads.
const ATTACKER: &str = "attacker";

/// How the suite is run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Only these attacks.
    #[arg(long, value_enum)]
    only: Vec<Attack>,
    /// Length of each attack, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Longest wait for memory to return after each attack, in seconds.
    #[arg(long, default_value_t = 60)]
    settle_seconds: u64,
    /// Longest time for which the cache of pages is filled before each attack, in seconds.
    #[arg(long, default_value_t = 10)]
    fill_seconds: u64,
    /// Descriptors that the process may open.
    #[arg(long, default_value_t = 1_024)]
    descriptors: u64,
    /// Address space that the process may use, in MiB; an attack that takes more aborts it.
    #[arg(long, default_value_t = 6_144)]
    memory_mib: u64,
    /// Binaries of this profile (`release`, `debug`) instead of those beside this one.
    #[arg(long)]
    profile: Option<String>,
}

/// Runs the attacks one after the other, each on a process of its own, and prints the table.
///
/// # Errors
/// If a process ends, an operator's page is not answered, or memory is above its goal. Latencies are reported
/// but not judged, because they depend on this machine.
pub(crate) async fn run(options: Options) -> Result<()> {
    let attacks: Vec<Attack> =
        if options.only.is_empty() { Attack::all().collect() } else { options.only.clone() };
    // The attackers' own threads, with the lowest priority.
    let attackers = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(ATTACKERS)
        .thread_name(ATTACKER)
        .on_thread_start(yield_to_others)
        .build()?;
    let mut rows = Vec::new();
    for attack in attacks {
        eprintln!("{}: {}", attack.name(), attack.what());
        match one(&options, attack, &attackers).await {
            Ok(row) => {
                eprintln!("{row}");
                rows.push(row);
            }
            Err(error) => {
                attackers.shutdown_background();
                return Err(error.context(format!("the attack {}", attack.name())));
            }
        }
    }
    attackers.shutdown_background();
    print!("{}", verdict::table(&rows));
    let missed = rows.iter().map(Row::missed).sum::<usize>();
    if missed > 0 {
        bail!("{missed} goals of the attack suite were missed");
    }
    println!("attacks: {} passed, 0 failed", rows.len());
    Ok(())
}

async fn one(options: &Options, attack: Attack, attackers: &Runtime) -> Result<Row> {
    let directory = tempfile::tempdir()?;
    let limits = Limits { descriptors: options.descriptors, memory_mib: options.memory_mib };
    let outcome = observe(options, attack, attackers, directory.path(), limits).await;
    outcome.map_err(|error| error.context(format!("logs are kept in {}", directory.keep().display())))
}

/// Pause between two checks of how full the cache is.
const FILL_STEP: Duration = Duration::from_millis(500);
/// Share of its bound at which a cache counts as full. It evicts before it is quite full.
const FULL: f64 = 0.9;

/// Reads channels that do not exist until the data service's cache of pages is full. Such reads leave nothing
/// else in memory.
async fn fill(victim: &Victim, ground: &Ground, longest: Duration) -> Result<()> {
    let until = Instant::now() + longest;
    for round in 0.. {
        if victim.fullness("data_pages").await? >= FULL {
            break;
        }
        if Instant::now() >= until {
            eprintln!("  the cache of pages is not full after {longest:?}");
            break;
        }
        calls::random_channels(ground, round, Instant::now() + FILL_STEP).await;
    }
    Ok(())
}

async fn observe(
    options: &Options,
    attack: Attack,
    attackers: &Runtime,
    directory: &std::path::Path,
    limits: Limits,
) -> Result<Row> {
    let seconds = Duration::from_secs(options.seconds);
    let (own, beside) = (directory.join("victim"), directory.join("neighbour"));
    for directory in [&own, &beside] {
        std::fs::create_dir(directory)?;
    }
    let mut victim = Victim::start(&own, options.profile.as_deref(), limits)?;
    let neighbour = Victim::start(&beside, options.profile.as_deref(), limits)?;
    let ground = Arc::new(Ground::prepare(&victim).await.context("the attacker's own guild")?);
    let innocents = Innocents::settle(&victim).await.context("the innocents' guilds")?;
    let beside = Innocents::settle(&neighbour).await.context("the neighbour's guilds")?;
    // The neighbour's innocents ask all the time, so that the machine is equally busy in each phase.
    let read_for = async |length| tokio::join!(innocents.read_for(length), beside.read_for(length));

    // The steady state includes a full cache, so that later growth of the cache is not blamed on an attacker.
    fill(&victim, &ground, Duration::from_secs(options.fill_seconds)).await?;
    let (alone, _) = read_for(seconds.min(Duration::from_secs(10))).await;
    let steady = victim.look().await?;

    let (start, spent) = (Instant::now(), burner::spent(ATTACKER));
    let until = start + seconds;
    let hostile = attackers.spawn({
        let ground = Arc::clone(&ground);
        async move { attack.run(ground, until).await }
    });
    let watching = victim.watch(until);
    let ((attacked, neighbours), watched) = tokio::join!(read_for(seconds), watching);
    let watched = watched?;
    let mut hostile = hostile;
    let did = match timeout(END_MAX, &mut hostile).await {
        Ok(Ok(did)) => did,
        Ok(Err(panicked)) => bail!("the attacker itself failed: {panicked}"),
        Err(_late) => {
            hostile.abort();
            "cut at its end".to_owned()
        }
    };
    let share = (burner::spent(ATTACKER).saturating_sub(spent)).div_duration_f64(start.elapsed());
    let reads = victim.look().await?.database_reads - steady.database_reads;
    let mut after = victim.look().await?;
    let settled_by = Instant::now() + Duration::from_secs(options.settle_seconds);
    while after.rss_mib > steady.rss_mib * 1.1 && Instant::now() < settled_by {
        sleep(Duration::from_secs(1)).await;
        after = victim.look().await?;
    }
    let burning = burner::Burners::start(ATTACKERS, share);
    let (busy, _) = read_for(seconds.min(Duration::from_secs(10))).await;
    drop(burning);
    victim.stop()?;
    neighbour.stop()?;
    Ok(Row {
        attack,
        did,
        steady,
        watched,
        database_reads: reads,
        after,
        share,
        alone,
        busy,
        attacked,
        neighbour: neighbours,
    })
}
