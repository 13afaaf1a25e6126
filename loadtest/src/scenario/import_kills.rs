//! Kills imports and continues them: what is there at the end must be the file, whatever was interrupted when.
//!
//! A reference import runs through once; its time is the range from which the moments of the kills are drawn. Then imports into fresh
//! directories are killed and continued until enough kills hit; every one that finished is read through REST, whole. [`chat`] says what
//! the file promises, [`paging`] compares, [`synthetic`] makes a file if none is given.

mod chat;
mod paging;
mod synthetic;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{process::Command, time::timeout};

use self::chat::Chat;
use super::kills::target::{apply_schema, create_bot, environment};
use crate::{
    process::{self, Process, Program, free_addresses},
    random::Random,
    rest::{self, Rest},
};

/// Longest import.
const IMPORT_MAX: Duration = Duration::from_secs(3_600);
/// Differences that are printed.
const SHOWN_MAX: usize = 20;

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
    /// Store: `cql://127.0.0.1:PORT/keyspace`; each import gets a keyspace of its own, named after this one. They stay.
    #[arg(long)]
    store: Option<String>,
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

/// Compares a running server with a file; prints what differs and fails if anything does.
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
    finish(
        &compared.differences,
        json!({ "messages": compared.messages, "channels": ids.len(), "seconds": seconds }),
    )
}

/// Runs the scenario, prints what came of it, and fails if something was wrong.
pub(crate) async fn run(options: Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let directory = tempfile::tempdir()?;
    eprintln!("seed {seed}; data and logs in {}", directory.path().display());
    let outcome = import_kills(&options, directory.path(), Random::new(seed), seed).await;
    // On a failure what the imports left is evidence.
    outcome.inspect_err(|_| eprintln!("kept: {}", directory.keep().display()))
}

async fn import_kills(options: &Options, directory: &Path, mut random: Random, seed: u64) -> Result<()> {
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
        options,
        directory,
        file: &file,
        chat,
        weir: process::binary("weir", options.profile.as_deref())?,
        lives: 0,
    };

    let mut life = bench.life().await?;
    let began = Instant::now();
    let reference = match bench.import(&life, IMPORT_MAX).await? {
        Import::Done(result) => result,
        Import::Killed => bail!("the reference import took longer than {IMPORT_MAX:?}"),
    };
    let whole = began.elapsed();
    // A file is told by its messages a second; exact in a double.
    let rate = bench.chat.messages as f64 / whole.as_secs_f64();
    println!("reference: {:.2} s, {rate:.0} messages/s", whole.as_secs_f64());
    let mut problems = bench.promises(&reference);
    problems.extend(bench.read(&life, &reference, &mut random).await?);

    let (mut kills, mut resumed, mut lives) = (0, 0, 0);
    life = bench.life().await?;
    while kills < options.kills {
        let moment = random.between(Duration::ZERO, whole);
        match bench.import(&life, moment).await? {
            Import::Killed => {
                kills += 1;
                println!("kill {kills}: import {} after {:.3} s", life.number, moment.as_secs_f64());
            }
            Import::Done(_) => {
                // It ended before its kill: another import takes the kills that are left.
                problems.extend(bench.finish(&life, &reference, &mut resumed, &mut random).await?);
                lives += 1;
                life = bench.life().await?;
            }
        }
    }
    problems.extend(bench.finish(&life, &reference, &mut resumed, &mut random).await?);
    lives += 1;
    let messages = bench.chat.messages;
    finish(
        &problems,
        json!({ "kills": kills, "imports": lives, "continued": resumed, "messages": messages, "messages_per_s": rate.round(), "seed": seed }),
    )
}

/// Prints the differences and the last line.
fn finish(problems: &[String], mut result: Value) -> Result<()> {
    for problem in problems.iter().take(SHOWN_MAX) {
        println!("VIOLATION {problem}");
    }
    result["ok"] = problems.is_empty().into();
    result["violations"] = problems.len().into();
    println!("{result}");
    ensure!(problems.is_empty(), "{} violations", problems.len());
    Ok(())
}

/// What all imports of a run share.
struct Bench<'a> {
    options: &'a Options,
    directory: &'a Path,
    file: &'a Path,
    chat: Arc<Chat>,
    weir: PathBuf,
    lives: u32,
}

/// An import into a store of its own, however often it is killed.
struct Life {
    number: u32,
    data: PathBuf,
    store: String,
}

enum Import {
    /// With what it printed.
    Done(Value),
    Killed,
}

impl Bench<'_> {
    async fn life(&mut self) -> Result<Life> {
        let number = self.lives;
        self.lives += 1;
        let store = match &self.options.store {
            None => "embedded".to_owned(),
            Some(url) => {
                let store = format!("{url}_{number}");
                apply_schema(&self.weir, &store).await?;
                store
            }
        };
        Ok(Life { number, data: self.directory.join(format!("import-{number}")), store })
    }

    /// Runs `weir import`, killed by SIGKILL after `patience`.
    async fn import(&self, life: &Life, patience: Duration) -> Result<Import> {
        let mut command = Command::new(&self.weir);
        command
            .arg("import")
            .arg(self.file)
            .args(["--json", "--store", &life.store, "--data"])
            .arg(&life.data);
        command
            .envs(environment("weir"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("weir import does not start")?;
        let id = child.id();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let output = async {
            let (out, err) = tokio::join!(text(out), text(err));
            anyhow::Ok((child.wait().await?, out?, err?))
        };
        match timeout(patience, output).await {
            Ok(done) => {
                let (status, out, err) = done?;
                ensure!(status.success(), "weir import (process {id:?}) ended with {status}: {out} {err}");
                let last = out.trim_end().lines().last().unwrap_or_default();
                Ok(Import::Done(serde_json::from_str(last).with_context(|| format!("not JSON: {out:?}"))?))
            }
            Err(_) => {
                child.kill().await.context("SIGKILL")?;
                Ok(Import::Killed)
            }
        }
    }

    /// Continues an import to its end, twice: a finished one that is repeated says the same. Then reads it.
    async fn finish(
        &self,
        life: &Life,
        reference: &Value,
        resumed: &mut u32,
        random: &mut Random,
    ) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut result = Value::Null;
        for _ in 0..2 {
            let Import::Done(done) = self.import(life, IMPORT_MAX).await? else {
                bail!("import {} took longer than {IMPORT_MAX:?}", life.number);
            };
            if done["continued_after"].as_u64().is_some_and(|lines| lines > 0) && result.is_null() {
                *resumed += 1;
            }
            if shape(&done) != shape(reference) {
                problems.push(format!("import {}: {done} where the reference said {reference}", life.number));
            }
            if !result.is_null()
                && (&done["guild_id"], &done["channels"]) != (&result["guild_id"], &result["channels"])
            {
                problems.push(format!("import {}: repeated it says {done} after {result}", life.number));
            }
            result = done;
        }
        problems.extend(self.read(life, &result, random).await?);
        Ok(problems)
    }

    /// What the result says wrongly about the file.
    fn promises(&self, result: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, wanted) in [("messages", self.chat.messages), ("skipped", self.chat.skipped)] {
            if result[key] != wanted {
                problems.push(format!("the import says {key} {} where the file has {wanted}", result[key]));
            }
        }
        problems
    }

    /// Starts a server on what was imported and compares all of it.
    async fn read(&self, life: &Life, result: &Value, random: &mut Random) -> Result<Vec<String>> {
        let [api, gateway, data_service, admin] = free_addresses(random)?;
        let listeners =
            [("--api", api), ("--gateway", gateway), ("--data-service", data_service), ("--admin", admin)];
        let listeners =
            listeners.iter().flat_map(|(flag, address)| [(*flag).into(), address.to_string().into()]);
        let store = [
            "--store".into(),
            life.store.clone().into(),
            "--data".into(),
            life.data.clone().into_os_string(),
        ];
        let program = Program {
            name: "weir",
            binary: self.weir.clone(),
            arguments: listeners.chain(store).collect(),
            environment: environment("weir"),
            admin,
            logs: self.directory.to_owned(),
        };
        let mut server = Process::start(program)?;
        server.ready().await?;
        let guild = rest::id(&result["guild_id"]).with_context(|| format!("no guild_id: {result}"))?;
        let name = format!("reader-{:08x}", random.next() >> 32);
        let token = create_bot(&self.weir, &life.data, admin, &name, Some(guild)).await?;
        let ids = channels(&result["channels"])?;
        let compared = paging::compare(&self.chat, &Rest::new(api, &token)?, &ids).await?;
        if let Some(ended) = server.kill().await? {
            bail!("{ended}; see {}", server.program.log().display());
        }
        println!(
            "import {}: {} messages read, {} differences",
            life.number,
            compared.messages,
            compared.differences.len()
        );
        Ok(compared.differences.iter().map(|what| format!("import {}: {what}", life.number)).collect())
    }
}

async fn text(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut text = Vec::new();
    if let Some(mut pipe) = pipe {
        tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut text).await?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The part of an import's result that does not depend on when it ran: names, not ids.
fn shape(result: &Value) -> (Vec<&str>, &Value, &Value) {
    let names = result["channels"]
        .as_object()
        .into_iter()
        .flat_map(|channels| channels.keys().map(String::as_str))
        .collect();
    (names, &result["messages"], &result["skipped"])
}

/// Names and ids.
fn channels(value: &Value) -> Result<BTreeMap<String, u64>> {
    let object = value.as_object().with_context(|| format!("no object of channels: {value}"))?;
    let pair = |(name, id): (&String, &Value)| {
        let id = rest::id(id).with_context(|| format!("channel {name} has no id: {id}"))?;
        Ok((name.clone(), id))
    };
    object.iter().map(pair).collect()
}
