//! A long run with clients of every kind coming and going: memory must be flat.
//!
//! It uses the innocents and the hostile clients of [`super::attack`], few of each, all at once. Before it,
//! the store's write buffers are filled and written out twice, so that their filling is not taken for a leak.
//! Memory is measured each second. The median of the last quarter is compared with that of the second
//! quarter, so that warming up does not count and a slow leak does. Parts that grew in between are named.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::attack::{Ground, Hello, Innocents, Limits, Victim, calls, http, websocket};
use crate::place::Place;

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(60);
/// Pause between two measurements of memory.
const POLL: Duration = Duration::from_secs(1);
/// Length of one turn of the clients, after which they all leave and connect again.
const TURN: Duration = Duration::from_secs(30);
/// Most memory of the last quarter, as a multiple of the second's. Growth below it is the allocator's normal
/// variation.
const FLAT: f64 = 1.05;

/// Messages of [`CHARACTERS`] that are written first. They are 36 MiB, twice what the largest write buffer
/// holds.
const MESSAGES: usize = 9_000;
const CHARACTERS: usize = 4_000;
/// Channels that they are written to, and the number of writers at once.
const CHANNELS: u64 = 200;
const WRITERS: usize = 32;
/// Growth of a part, in bytes, from which it is reported.
const GREW: f64 = 256.0 * 1_024.0;

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

/// Runs the soak.
///
/// # Errors
/// If the process ends or its memory grows.
pub(crate) async fn run(options: Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let limits = Limits { descriptors: 4_096, memory_mib: 6_144 };
    let mut victim = Victim::start(directory.path(), options.profile.as_deref(), limits)?;
    let ground = Arc::new(Ground::prepare(&victim).await?);
    let innocents = Innocents::settle(&victim).await?;
    fill(&ground).await.context("the write buffers could not be filled")?;
    let until = Instant::now() + Duration::from_secs(60 * options.minutes);

    let mut clients = JoinSet::new();
    clients.spawn(async move {
        while Instant::now() < until {
            innocents.read_for(TURN).await;
        }
    });
    clients.spawn(strangers(Arc::clone(&ground), until));

    let (mut looks, mut parts) = (Vec::new(), Vec::new());
    let mut told = Instant::now();
    while Instant::now() < until {
        let look = victim.look().await?;
        looks.push(look.rss_mib);
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            parts.push(victim.parts().await?);
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
    victim.stop()?;

    let quarter = looks.len() / 4;
    let (second, last) = (median(&looks[quarter..quarter * 2]), median(&looks[quarter * 3..]));
    let most = looks.iter().copied().fold(0.0, f64::max);
    println!(
        "soak: {} min, {} looks; second quarter {second:.1} MiB, last quarter {last:.1} MiB, ratio {:.3}, most {most:.1} MiB",
        options.minutes,
        looks.len(),
        last / second
    );
    if let (Some(early), Some(late)) = (parts.get(parts.len() / 4), parts.last()) {
        print!("{}", grown(early, late));
    }
    if last > second * FLAT {
        bail!("memory is not flat: {last:.1} MiB after {second:.1} MiB");
    }
    Ok(())
}

/// Fills the write buffers.
async fn fill(ground: &Ground) -> Result<()> {
    let place = Place::new(&ground.data, CHANNELS).await?;
    let text = "x".repeat(CHARACTERS);
    stream::iter((0..MESSAGES).map(|number| place.channels[number % place.channels.len()]))
        .map(|channel_id| place.say(&ground.data, channel_id, text.clone()))
        .buffer_unordered(WRITERS)
        .try_collect()
        .await
}

/// Describes the parts that held more later, a line for each.
fn grown(early: &BTreeMap<String, f64>, late: &BTreeMap<String, f64>) -> String {
    let before = |part| early.get(part).copied().unwrap_or_default();
    let more = late.iter().filter(|(part, bytes)| **bytes > before(*part) + GREW);
    more.map(|(part, bytes)| {
        format!("  {part}: {:.0} KiB before, {:.0} KiB\n", before(part) / 1_024.0, bytes / 1_024.0)
    })
    .collect()
}

/// Runs connections of every kind, a few of each, for a turn. Then all leave and connect again.
async fn strangers(ground: Arc<Ground>, until: Instant) {
    for turn in 0.. {
        if Instant::now() >= until {
            return;
        }
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
            calls::random_channels(&ground, turn, end),
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
    fn what_grew_is_named() {
        let held = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let told = grown(&held(0.0, 1_024.0), &held(1_024.0, 1_024.0 * 1_025.0));
        assert_eq!(told, "  b: 1 KiB before, 1025 KiB\n");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
