//! A long run with clients of every kind coming and going: memory must be flat.
//!
//! It uses the innocents and the hostile clients of [`super::attack`], few of each, all at once. Memory is looked at each second; the median
//! of the last quarter is compared with that of the second, so that warming up does not count and a slow leak does.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::attack::{Ground, Hello, Innocents, Limits, Victim, calls, http, websocket};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(60);
/// Pause between two looks at memory.
const POLL: Duration = Duration::from_secs(1);
/// Length of one turn of the clients; then they all leave and come again.
const TURN: Duration = Duration::from_secs(30);
/// Last quarter's memory over the second's, at most: below it is the allocator's breathing.
const FLAT: f64 = 1.05;

/// How the soak is run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Length in minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Binaries of this profile (`release`, `debug`) instead of those beside this one.
    #[arg(long)]
    profile: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When the process ends or its memory grows.
pub(crate) async fn run(options: Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let limits = Limits { descriptors: 4_096, memory_mib: 6_144 };
    let mut victim = Victim::start(directory.path(), options.profile.as_deref(), limits).await?;
    let ground = Arc::new(Ground::prepare(&victim).await?);
    let innocents = Innocents::settle(&victim).await?;
    let until = Instant::now() + Duration::from_secs(60 * options.minutes);

    let mut clients = JoinSet::new();
    clients.spawn(async move {
        while Instant::now() < until {
            innocents.read_for(TURN).await;
        }
    });
    clients.spawn(strangers(Arc::clone(&ground), until));

    let mut looks = Vec::new();
    let mut told = Instant::now();
    while Instant::now() < until {
        let look = victim.look().await?;
        looks.push(look.rss_mib);
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!(
                "{:>6} s: {:.1} MiB, {:.0} database reads",
                looks.len(),
                look.rss_mib,
                look.database_reads
            );
        }
        sleep(POLL).await;
    }
    clients.abort_all();
    victim.stop().await?;

    let quarter = looks.len() / 4;
    let (second, last) = (median(&looks[quarter..quarter * 2]), median(&looks[quarter * 3..]));
    let most = looks.iter().copied().fold(0.0, f64::max);
    println!(
        "soak: {} min, {} looks; second quarter {second:.1} MiB, last quarter {last:.1} MiB, ratio {:.3}, most {most:.1} MiB",
        options.minutes,
        looks.len(),
        last / second
    );
    if last > second * FLAT {
        bail!("memory is not flat: {last:.1} MiB after {second:.1} MiB");
    }
    Ok(())
}

/// Connections of every kind, a few of each, for a turn; then all leave and come again.
async fn strangers(ground: Arc<Ground>, until: Instant) {
    while Instant::now() < until {
        let end = (Instant::now() + TURN).min(until);
        let zlib = Hello { query: "&compress=zlib-stream", intents: 1, reads: true };
        let plain = Hello { query: "", intents: 1, reads: true };
        let deaf = Hello { query: "", intents: 1, reads: false };
        tokio::join!(
            websocket::sessions(&ground, zlib, 4, end),
            websocket::sessions(&ground, plain, 2, end),
            websocket::sessions(&ground, deaf, 2, end),
            websocket::never_identify(ground.gateway, 20, end),
            websocket::unknown_identify(ground.gateway, 1, end),
            websocket::member_requests(&ground, 2, end),
            http::slow_heads(ground.api, 10, end),
            http::unfinished_bodies(ground.api, "/messages", Some(&ground.token), 2, 64 << 10, end),
            calls::random_channels(&ground, end),
        );
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
