//! Kills imports and continues them. The final history must be the file, whatever was interrupted at which
//! moment.
//!
//! A reference import runs through once; the moments of the kills are drawn from its time. Then imports into
//! fresh directories are killed and continued until enough kills hit. Every finished import is read through
//! REST, whole. With a server, which a cluster needs, every second kill hits the server instead, and the
//! import must go on by itself. [`life`] is one import with all its kills; [`chat`] says what the file
//! promises, [`paging`] compares, [`synthetic`] makes a file if none is given.

mod chat;
mod life;
mod paging;
mod synthetic;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

use self::{
    chat::Chat,
    life::{Bench, IMPORT_MAX, Import, Victim, channels},
};
use crate::{
    evidence::{Evidence, judge},
    process,
    random::between,
    rest::Rest,
};

/// How the scenario is run. Everything is on this machine's loopback and ends by itself.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Chat file, as for `weir import`; without one a synthetic file is made.
    file: Option<PathBuf>,
    /// Messages of the synthetic file.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// Kills.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Store: `cql://127.0.0.1:PORT/keyspace`; each import gets a keyspace of its own, named after this one.
    /// They stay.
    #[arg(long)]
    store: Option<String>,
    /// Import through a running server also into the embedded store; into a cluster it is always so.
    #[arg(long)]
    server: bool,
    /// Binaries of this profile (`release`, `debug`) instead of those beside this one.
    #[arg(long)]
    profile: Option<String>,
    /// Decides the synthetic file and the moments of the kills.
    #[arg(long)]
    seed: Option<u64>,
}

/// How the check alone is run.
#[derive(Args, Debug, Clone)]
pub(crate) struct VerifyOptions {
    /// Chat file that was imported.
    file: PathBuf,
    /// The server's REST listener.
    #[arg(long)]
    api: SocketAddr,
    /// Token of a bot that is in the guild.
    #[arg(long)]
    token: String,
    /// File with what `weir import --json` printed, or with its `channels` object.
    #[arg(long, value_name = "JSON")]
    channels: PathBuf,
}

/// Compares a running server with a file. Prints the differences and fails if there are any.
pub(crate) async fn verify(options: VerifyOptions) -> Result<()> {
    let text =
        std::fs::read_to_string(&options.channels).with_context(|| options.channels.display().to_string())?;
    let last = text.trim_end().lines().last().unwrap_or_default();
    let given: Value = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last))?;
    let ids = channels(given.get("channels").unwrap_or(&given))?;
    let chat = Arc::new(Chat::read(&options.file, OffsetDateTime::now_utc())?);
    let began = Instant::now();
    let compared = paging::compare(&chat, &Rest::new(options.api, &options.token)?, &ids).await?;
    let seconds = began.elapsed().as_secs_f64();
    judge(
        &compared.differences,
        json!({ "messages": compared.messages, "channels": ids.len(), "seconds": seconds }),
    )
}

/// Runs the scenario, prints its results, and fails if something was wrong.
pub(crate) async fn run(options: Options) -> Result<()> {
    let evidence = Evidence::new(options.seed)?;
    let outcome = import_kills(&options, &evidence).await;
    // After a failure the data of the imports is evidence.
    evidence.after(outcome)
}

async fn import_kills(options: &Options, evidence: &Evidence) -> Result<()> {
    let (directory, mut random) = (evidence.directory(), evidence.random());
    let file = match &options.file {
        Some(file) => file.clone(),
        None => {
            let file = directory.join("synthetic.ndjson.gz");
            synthetic::write(&file, options.messages, &mut random)?;
            file
        }
    };
    let chat = Arc::new(Chat::read(&file, OffsetDateTime::now_utc())?);
    eprintln!("{} messages in {} channels, {} other lines", chat.messages, chat.channels.len(), chat.skipped);
    let mut bench = Bench {
        weir: process::binary("weir", options.profile.as_deref())?,
        store: options.store.clone(),
        serves: options.server || options.store.is_some(),
        directory: directory.to_owned(),
        file,
        chat,
        random: random.fork(),
        lives: 0,
    };

    let mut life = bench.life().await?;
    let began = Instant::now();
    let Import::Done(reference) = bench.import(&mut life, IMPORT_MAX, Victim::Import)? else {
        bail!("the reference import took longer than {IMPORT_MAX:?}");
    };
    let whole = began.elapsed();
    // The speed is given in the file's messages a second, which are exact in a double.
    let rate = bench.chat.messages as f64 / whole.as_secs_f64();
    println!("reference: {:.2} s, {rate:.0} messages/s", whole.as_secs_f64());
    let mut problems = bench.promises(&reference);
    problems.extend(bench.read(life, &reference).await?);

    let (mut kills, mut resumed, mut lives) = (0, 0, 0);
    life = bench.life().await?;
    while kills < options.kills {
        let moment = between(&mut random, Duration::ZERO, whole);
        let victim = if bench.serves && kills % 2 == 1 { Victim::Server } else { Victim::Import };
        let outcome = bench.import(&mut life, moment, victim)?;
        if let Import::Killed | Import::Survived(_) = outcome {
            kills += 1;
            println!(
                "kill {kills}: {victim:?} of import {} after {:.3} s",
                life.number,
                moment.as_secs_f64()
            );
        }
        if let Import::Survived(result) = &outcome {
            problems.extend(bench.promises(result));
        }
        if let Import::Done(_) | Import::Survived(_) = outcome {
            // It ended before its kill, so another import takes the kills that are left.
            problems.extend(bench.finish(life, &reference, &mut resumed).await?);
            lives += 1;
            life = bench.life().await?;
        }
    }
    problems.extend(bench.finish(life, &reference, &mut resumed).await?);
    lives += 1;
    let messages = bench.chat.messages;
    judge(
        &problems,
        json!({
            "kills": kills, "imports": lives, "continued": resumed, "messages": messages, "messages_per_s": rate.round(), "seed": evidence.seed,
        }),
    )
}
