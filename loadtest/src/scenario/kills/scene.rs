//! The start and the end of the scenarios of kills and of losses: a target with its guild, bots that have
//! READY, and writers; at the end the histories.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use http::Method;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    bot::{Client, Habits},
    observed::{Clock, History, Observed, Row},
    target::{Plan, Target},
    writer::{Writer, Written},
};
use crate::rest::{self, Rest};

/// Channels of the guild.
const CHANNELS: usize = 3;
/// Longest time for each request of the set-up and of the last reading.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for the bots to get READY, and at the end to catch up.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Pause between two checks of the bots.
const POLL: Duration = Duration::from_millis(50);

/// The clients of a scenario.
pub(super) struct Cast {
    pub(super) writers: usize,
    pub(super) bots: usize,
    /// Longest pause of a writer between two messages; the shortest is zero.
    pub(super) think: Duration,
    /// Longest time for which a bot keeps a connection before its network fails; `None` if it never fails.
    pub(super) keep: Option<Duration>,
}

/// A target and its clients.
pub(super) struct Scene {
    pub(super) target: Target,
    pub(super) clock: Clock,
    pub(super) channels: Arc<[u64]>,
    pub(super) bots: Vec<Client>,
    /// A client with the token of the bot that owns the guild.
    rest: Rest,
    think: Duration,
    stop: watch::Sender<bool>,
    writers: JoinSet<Result<Written>>,
    /// Number of the next writer.
    next: usize,
}

impl Scene {
    /// Starts the target, creates a guild with its channels, waits for the bots' READY, and starts the
    /// writers.
    pub(super) async fn begin(plan: &Plan<'_>, cast: &Cast, random: &mut Rng) -> Result<Self> {
        let target = Target::start(plan, random).await?;
        let clock = Clock::start();
        // The keyspace may already contain the names of an earlier run.
        let unique = format!("{:08x}", random.u32(..));
        let token = target.create_bot(&format!("writer-{unique}"), None).await?;
        let mut rest = Rest::new(target.api, &token)?;
        let (guild, channels) = found(&mut rest).await?;
        let (gateway, api) = (target.gateway, target.api);
        let habits = Habits { gateway, api, channels: Arc::clone(&channels), clock, keep: cast.keep };
        let mut bots = Vec::with_capacity(cast.bots);
        for number in 0..cast.bots {
            let name = format!("bot-{unique}-{number}");
            let token = target.create_bot(&name, Some(guild)).await?;
            bots.push(Client::start(name, token, habits.clone(), random.fork())?);
        }
        let (stop, _) = watch::channel(false);
        let (think, writers) = (cast.think, JoinSet::new());
        let mut scene = Self { target, clock, channels, bots, rest, think, stop, writers, next: 0 };
        scene.settle("READY", |bot| bot.look(|seen| !seen.epochs.is_empty())).await?;
        for _ in 0..cast.writers {
            let writer = scene.another_writer(random);
            scene.writers.spawn(writer.run());
        }
        Ok(scene)
    }

    /// Returns one more writer, which the caller drives.
    pub(super) fn another_writer(&mut self, random: &mut Rng) -> Writer {
        let number = self.next;
        self.next += 1;
        Writer {
            number,
            rest: self.rest.another(),
            channels: Arc::clone(&self.channels),
            clock: self.clock,
            random: random.fork(),
            think: self.think,
            stop: self.stop.subscribe(),
        }
    }

    /// Tells the writers to stop. Returns what they wrote, once the last has stopped.
    pub(super) async fn stop_writers(&mut self) -> Result<Written> {
        self.stop.send_replace(true);
        let mut written = Written::default();
        while let Some(of_one) = self.writers.join_next().await {
            written.add(of_one??);
        }
        Ok(written)
    }

    /// Waits until `is_done` is true for all bots.
    pub(super) async fn settle(&mut self, what: &str, is_done: impl Fn(&Client) -> bool) -> Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        while !self.bots.iter().all(&is_done) {
            for bot in &mut self.bots {
                if let Some(failure) = bot.failure() {
                    bail!("a bot failed: {failure}");
                }
            }
            ensure!(Instant::now() < deadline, "not all bots saw {what} within {SETTLE_MAX:?}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Reads the histories, stops the bots, and completes `observed` with these and with what was written.
    pub(super) async fn end(mut self, written: Written, observed: &mut Observed) -> Result<()> {
        for channel in self.channels.iter().copied() {
            observed.histories.push(read(&mut self.rest, channel).await?);
        }
        for bot in self.bots {
            observed.bots.push(bot.stop().await);
        }
        (observed.creates, observed.changes) = (written.creates, written.changes);
        observed.rejections = written.rejections;
        Ok(())
    }
}

/// Creates a guild with its channels.
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

/// Reads a channel's whole history, page by page.
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
        // A page that is not full is the last one. A wrong order, which the checker reports, must not make
        // this endless.
        if length < rest::PAGE_MAX {
            return Ok(History { channel, rows });
        }
    }
}
