//! Hostile clients against a real `weir` with few descriptors and little memory: what each may make it hold or do, and what an innocent
//! client notices.
//!
//! Attackers, innocents and server share this machine; the attackers' threads step back behind the others ([`yield_to_others`]),
//! because in truth they would have processors of their own; and innocents are compared with a phase in which nobody attacks and the same
//! processor time is spent on nothing ([`burner`]). What an attack makes the kernel do (connects, copies) cannot step back, so a second
//! process, the neighbour, has innocents of its own and is not attacked: what those see is the machine's. Every attack is bounded in time and
//! in connections, and goes to the process that the scenario started on loopback.
//!
//! [`victim`]: the process and what is measured of it; [`innocent`]: who must not notice; [`burner`]: what the
//! machine alone costs them; [`ground`]: what an attacker has to work with; [`attacks`]: the list; [`websocket`],
//! [`http`] and [`calls`]: how each is done; [`verdict`]: the table and the goals.

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

/// Time that an attack gets to end by itself after its time is over; then it is cut.
const END_MAX: Duration = Duration::from_secs(10);

/// Threads of the attackers.
const ATTACKERS: usize = 2;
/// Their name.
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
/// When a process ends, an operator's page is not answered, or memory is above its goal. Latencies are told and not judged: they are this
/// machine's.
pub(crate) async fn run(options: Options) -> Result<()> {
    let attacks: Vec<Attack> =
        if options.only.is_empty() { Attack::all().collect() } else { options.only.clone() };
    // Of their own, and behind all others.
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

/// Between two looks at how full it is.
const FILL_STEP: Duration = Duration::from_millis(500);
/// Of its bound, when it counts as full: a cache evicts before it is quite full.
const FULL: f64 = 0.9;

/// Reads what nobody has until the data service's cache of pages is full. Nothing else is kept of what nobody has.
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
    // The neighbour's ask all the time, so that the machine is as busy in each phase.
    let read_for = async |length| tokio::join!(innocents.read_for(length), beside.read_for(length));

    // What is steady holds a full cache: what fills it later is no attacker's.
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
