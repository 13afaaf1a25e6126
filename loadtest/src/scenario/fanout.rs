//! Sessions of one guild: many connect at once, then messages go to all of them. The scenario reports how
//! long a connect takes, whether the accept queue overflowed, and what a delivery costs the server.
//!
//! Clients are bare sockets that read and answer nothing, because with a library for each of 15,000 sessions
//! the libraries would be measured. They share the machine with the server, so the time until the last
//! session has a message is mostly theirs. The server's processor time for each delivery is its own, so two
//! builds are compared by it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fastrand::Rng;
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use weir_testkit::{Process, Program, Ready};

use super::{
    attack::{innocent::open_guild, websocket},
    kills::target::create_bot,
};
use crate::{
    process::{self, Listeners},
    recorder::Recorder,
    rest::Rest,
};

/// Longest time until a session has READY and its guild. It is above every retransmission of a SYN (1, 3 and
/// 7 s).
const BEGIN_MAX: Duration = Duration::from_secs(60);
/// Longest time until all sessions have a message.
const DELIVERED_MAX: Duration = Duration::from_secs(60);
/// Pause between two checks of the count of deliveries, and so the resolution of the reported times.
const POLL: Duration = Duration::from_micros(500);
/// A connect that took this long waited for a second SYN, because the first was dropped.
const RESENT: Duration = Duration::from_millis(950);
/// Read buffer of a session's socket, in bytes. It holds a message of the scenario and a small guild.
const BUFFER: usize = 4 << 10;

/// How it is run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Sessions, all of one guild.
    #[arg(long, default_value_t = 15_000)]
    sessions: usize,
    /// Connects under way at once.
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// Messages to all of them.
    #[arg(long, default_value_t = 20)]
    messages: u64,
    /// The binary `weir`, instead of the one beside this.
    #[arg(long)]
    weir: Option<PathBuf>,
    /// It is a build that does not know `gateway.identify_limits`, and has no such limits.
    #[arg(long)]
    before_identify_limits: bool,
}

/// Runs the scenario.
///
/// # Errors
/// If a session does not begin, a message does not reach all, or the accept queue overflowed.
pub(crate) async fn run(options: Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = Rng::with_seed(u64::from(std::process::id()));
    let listeners = Listeners::free(&mut random)?;
    let weir = match &options.weir {
        Some(weir) => weir.clone(),
        None => process::binary("weir", None)?,
    };
    let data = directory.path().join("data");
    let Listeners { api, gateway, admin, .. } = listeners;
    let mut command = Command::new(&weir);
    command.args(listeners.flags()).arg("--data").arg(&data).envs([
        ("WEIR_API__RATE_LIMITS", "off"),
        // This leaves room for the sessions within 20,000 open files.
        ("WEIR_API__CONNECTIONS_MAX", "500"),
        // No client sends heartbeats: the run is shorter.
        ("WEIR_GATEWAY__HEARTBEAT_INTERVAL", "10m"),
        ("WEIR_LOG__FILTER", "warn"),
    ]);
    command
        .env("WEIR_GATEWAY__CONNECTIONS_MAX", options.sessions.max(1).to_string())
        .env("WEIR_GATEWAY__SESSIONS_MAX", (2 * options.sessions.max(1)).to_string());
    if !options.before_identify_limits {
        command.env("WEIR_GATEWAY__IDENTIFY_LIMITS", "off");
    }
    let log = Some(directory.path().join("weir.log"));
    let mut server = Process::start(Program { name: "weir", command, ready: Ready::Admin(admin), log })?;
    server.ready()?;
    let token = create_bot(&weir, &data, admin, "fanout", None).await?;
    let mut rest = Rest::new(api, &token)?;
    let channel = open_guild(&mut rest, "fanout").await?;

    let id = server.id();
    let (empty_kib, overflows) = (process::rss_kib(id).unwrap_or_default(), listen_overflows()?);
    let received = Arc::new(AtomicU64::new(0));
    let (began, used) = (Instant::now(), cpu_seconds(id)?);
    let mut sessions = connect(&options, gateway, &token, &received).await?;
    let (connecting, connecting_cpu) = (began.elapsed(), cpu_seconds(id)? - used);
    let overflowed = listen_overflows()? - overflows;
    let kib = process::rss_kib(id).unwrap_or_default().saturating_sub(empty_kib);
    let count = options.sessions as f64;
    println!(
        "fanout: {} sessions in {:.1} s, {:.0} us of processor time and {:.1} KiB each; slowest connect {:.0} ms, {} waited for a second SYN, accept queues overflowed {overflowed} times",
        options.sessions,
        connecting.as_secs_f64(),
        connecting_cpu * 1e6 / count,
        kib as f64 / count,
        sessions.slowest.as_secs_f64() * 1e3,
        sessions.resent,
    );

    let recorder = Recorder::default();
    let used = cpu_seconds(id)?;
    for number in 1..=options.messages {
        let sent = Instant::now();
        let body = json!({ "channel": channel.to_string(), "content": format!("message {number}") });
        rest.insist(Method::POST, "/messages", Some(&body), DELIVERED_MAX).await?;
        let all = number * options.sessions as u64;
        let delivered = async {
            while received.load(Ordering::Relaxed) < all {
                sleep(POLL).await;
            }
        };
        tokio::select! {
            delivered = timeout(DELIVERED_MAX, delivered) => delivered.with_context(|| {
                format!("message {number} reached {} of {all}", received.load(Ordering::Relaxed))
            })?,
            Some(ended) = sessions.tasks.join_next() => bail!("a session ended: {ended:?}"),
        }
        recorder.answer(sent.elapsed());
    }
    let (numbers, used) = (recorder.numbers(), cpu_seconds(id)? - used);
    println!(
        "fanout: {} messages to all; until the last session had one: median {:.1} ms, slowest {:.1} ms; {:.2} us of processor time for each delivery",
        options.messages,
        numbers.p50_us as f64 / 1e3,
        numbers.max_us as f64 / 1e3,
        used * 1e6 / (count * options.messages.max(1) as f64),
    );
    ensure!(overflowed == 0, "an accept queue of this machine overflowed {overflowed} times");
    Ok(())
}

/// Sessions that read until this value is dropped.
struct Sessions {
    tasks: JoinSet<Result<()>>,
    slowest: Duration,
    resent: usize,
}

async fn connect(
    options: &Options,
    gateway: SocketAddr,
    token: &str,
    received: &Arc<AtomicU64>,
) -> Result<Sessions> {
    let at_once = Arc::new(Semaphore::new(options.at_once));
    let mut beginning = JoinSet::new();
    for _ in 0..options.sessions {
        let (at_once, token) = (Arc::clone(&at_once), token.to_owned());
        beginning.spawn(async move {
            let _one = at_once.acquire().await?;
            timeout(BEGIN_MAX, begin(gateway, &token)).await.context("a session did not begin in time")?
        });
    }
    let mut sessions = Sessions { tasks: JoinSet::new(), slowest: Duration::ZERO, resent: 0 };
    while let Some(begun) = beginning.join_next().await {
        let (stream, took) = begun??;
        sessions.slowest = sessions.slowest.max(took);
        sessions.resent += usize::from(took >= RESENT);
        let received = Arc::clone(received);
        sessions.tasks.spawn(async move {
            let mut stream = stream;
            loop {
                if next(&mut stream).await?.contains(r#""t":"MESSAGE_CREATE""#) {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    Ok(sessions)
}

/// Opens a session and waits for READY and its guild. Also returns how long its connect took.
async fn begin(gateway: SocketAddr, token: &str) -> Result<(BufReader<TcpStream>, Duration)> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(gateway).await?;
    let took = started.elapsed();
    stream.set_nodelay(true)?;
    stream.write_all(websocket::upgrade("").as_bytes()).await?;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 101"), "the gateway answered {line}");
    while line != "\r\n" {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "the handshake broke off");
    }
    stream.write_all(&websocket::identify(token, INTENTS)).await?;
    while !next(&mut stream).await?.contains(r#""t":"GUILD_CREATE""#) {}
    Ok((stream, took))
}

/// GUILDS and GUILD_MESSAGES.
const INTENTS: u64 = 1 | 1 << 9;

/// The next frame's text. A server does not mask frames, and Weir does not fragment them.
async fn next(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let head = stream.read_u16().await?;
    let length = match head & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    ensure!(length < 1 << 20, "a frame of {length} bytes");
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    ensure!(head >> 8 & 0xf != 8, "closed: {}", String::from_utf8_lossy(&payload));
    Ok(String::from_utf8(payload)?)
}

/// Processor time of a process since its start.
fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in parentheses, may have spaces; utime and stime are the 12th and 13th field after it.
    let behind = stat.rsplit_once(')').context("a strange /proc/ID/stat")?.1;
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Number of times that an accept queue of this machine overflowed, for any listener.
fn listen_overflows() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let found = pairs.find(|(name, _)| *name == "ListenOverflows").context("no ListenOverflows")?;
    Ok(found.1.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_of_all_lengths_are_read() {
        let mut bytes = vec![0x81, 3];
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&[0x81, 126, 1, 0]);
        bytes.extend_from_slice(&[b'x'; 256]);
        bytes.extend_from_slice(&[0x88, 2, 0x0f, 0xa0]);
        let mut stream = BufReader::new(bytes.as_slice());
        assert_eq!(next(&mut stream).await.expect("a frame"), "abc");
        assert_eq!(next(&mut stream).await.expect("a frame").len(), 256);
        assert!(next(&mut stream).await.expect_err("a close").to_string().contains("closed"));
    }

    #[test]
    fn the_system_tells_what_is_asked() {
        assert!(cpu_seconds(std::process::id()).expect("a process") >= 0.0);
        listen_overflows().expect("the kernel counts them");
    }
}
