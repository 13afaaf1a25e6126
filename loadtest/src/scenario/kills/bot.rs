//! A gateway client on its socket. It connects, sends heartbeats, reads, and connects again, until it is told
//! to stop.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::{
    conversation::{Conversation, Step},
    observed::{Bot, Clock},
};
use crate::{
    random::between,
    rest::{self, Rest},
};

/// Time for the connection and the WebSocket handshake.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time for Hello.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// Shortest and longest pause between two attempts to connect. Libraries wait longer, which would test less.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// Shortest and longest pause before an Identify after INVALID_SESSION. Discord says 1 to 5 seconds.
const LONG_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// How long the client tries to read the history.
const READ_PATIENCE: Duration = Duration::from_secs(120);

/// A time that is longer than any run.
const FOREVER: Duration = Duration::from_secs(86_400);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A running client.
pub(super) struct Client {
    conversation: Arc<Mutex<Conversation>>,
    tasks: JoinSet<Result<()>>,
    /// Number of histories that are being read.
    readings: Arc<AtomicUsize>,
}

/// State of a running client.
struct Life {
    gateway: SocketAddr,
    conversation: Arc<Mutex<Conversation>>,
    channels: Arc<[u64]>,
    rest: Rest,
    clock: Clock,
    random: Rng,
    readings: Arc<AtomicUsize>,
    keep: Option<Duration>,
}

/// The server's address, and how the client behaves.
#[derive(Clone)]
pub(super) struct Habits {
    pub(super) gateway: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) channels: Arc<[u64]>,
    pub(super) clock: Clock,
    /// Longest time for which a connection is kept before the client's network fails; `None` if it never
    /// fails.
    pub(super) keep: Option<Duration>,
}

impl Client {
    pub(super) fn start(name: String, token: String, habits: Habits, random: Rng) -> Result<Self> {
        let Habits { gateway, api, channels, clock, keep } = habits;
        let rest = Rest::new(api, &token)?;
        let conversation = Arc::new(Mutex::new(Conversation::new(name, token)));
        let readings = Arc::default();
        let life = Life {
            gateway,
            conversation: Arc::clone(&conversation),
            channels,
            rest,
            clock,
            random,
            readings: Arc::clone(&readings),
            keep,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(life.live());
        Ok(Self { conversation, tasks, readings })
    }

    /// Evaluates `ask` on what the client has seen so far.
    pub(super) fn look<T>(&self, ask: impl FnOnce(&Bot) -> T) -> T {
        ask(lock(&self.conversation).seen())
    }

    /// True if these messages, each the last of its channel, were delivered or read.
    pub(super) fn has_seen(&self, last: &[(u64, u64)]) -> bool {
        let conversation = lock(&self.conversation);
        let is_read = |of: &(u64, u64)| conversation.seen().reread.iter().rev().any(|read| read == of);
        self.readings.load(Ordering::Acquire) == 0
            && last
                .iter()
                .all(|(channel, id)| conversation.newest(*channel) >= *id || is_read(&(*channel, *id)))
    }

    /// Ends the client and returns what it saw.
    pub(super) async fn stop(mut self) -> Bot {
        self.tasks.shutdown().await;
        lock(&self.conversation).seen().clone()
    }

    /// The client's own error, if it ended with one.
    pub(super) fn failure(&mut self) -> Option<String> {
        match self.tasks.try_join_next()? {
            // A close code told it to stop, which is part of what it saw.
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        }
    }
}

fn lock(conversation: &Mutex<Conversation>) -> MutexGuard<'_, Conversation> {
    conversation.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a connection ended.
enum End {
    /// The socket closed, with the gateway's close code if it sent one.
    Closed(Option<u16>),
    /// The gateway asked the client to leave.
    Left,
    LeftForLong,
}

impl Life {
    async fn live(mut self) -> Result<()> {
        // The readings end with the client.
        let mut readings = JoinSet::new();
        loop {
            let end = self.connection(&mut readings).await?;
            let pause = match end {
                End::Closed(code) => {
                    if !lock(&self.conversation).closed(code, self.clock.now()) {
                        return Ok(());
                    }
                    PAUSE
                }
                End::Left => PAUSE,
                End::LeftForLong => LONG_PAUSE,
            };
            while let Some(reading) = readings.try_join_next() {
                reading??;
            }
            sleep(between(&mut self.random, pause.0, pause.1)).await;
        }
    }

    async fn connection(&mut self, readings: &mut JoinSet<Result<()>>) -> Result<End> {
        let base = lock(&self.conversation).resume_url().map(str::to_owned);
        let base = base.unwrap_or_else(|| format!("ws://{}", self.gateway));
        let url = format!("{base}/?v=10&encoding=json");
        let Ok(Ok((mut socket, _))) = timeout(CONNECT_MAX, connect_async(url)).await else {
            return Ok(End::Closed(None));
        };
        let Ok(first) = timeout(HELLO_MAX, socket.next()).await else { return Ok(End::Closed(None)) };
        let hello = match self.frame(first)? {
            Frame::Step(Step::Hello(interval)) => Duration::from_millis(interval.max(1)),
            Frame::Step(_) => anyhow::bail!("the gateway's first payload was not Hello"),
            Frame::End(end) => return Ok(end),
        };
        let first_beat = between(&mut self.random, Duration::ZERO, hello);
        let mut beats = interval_at(Instant::now() + first_beat, hello);
        let mut heard = true;
        let cut = self.keep.map(|most| between(&mut self.random, Duration::ZERO, most));
        let mut cut = pin!(sleep(cut.unwrap_or(FOREVER)));
        let opening = lock(&self.conversation).opening(self.clock.now());
        if !send(&mut socket, opening).await {
            return Ok(End::Closed(None));
        }
        loop {
            let beat = tokio::select! {
                frame = socket.next() => match self.frame(frame)? {
                    Frame::Step(Step::Go) => false,
                    Frame::Step(Step::Beat) => true,
                    Frame::Step(Step::Heard) => { heard = true; false }
                    Frame::Step(Step::Read) => { self.read_again(readings); false }
                    Frame::Step(Step::Leave) => return Ok(End::Left),
                    Frame::Step(Step::LeaveForLong) => return Ok(End::LeftForLong),
                    Frame::Step(Step::Hello(_)) => anyhow::bail!("the gateway sent a second Hello"),
                    Frame::End(end) => return Ok(end),
                },
                // The network fails: there is no close frame, and data under way is lost.
                () = &mut cut => return Ok(End::Closed(None)),
                // The last heartbeat was not acknowledged: the connection is dead, although its socket is
                // still open.
                _ = beats.tick() => if heard { heard = false; true } else { return Ok(End::Closed(None)) },
            };
            if beat {
                let heartbeat = lock(&self.conversation).heartbeat();
                if !send(&mut socket, heartbeat).await {
                    return Ok(End::Closed(None));
                }
            }
        }
    }

    fn frame(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<Frame> {
        Ok(match frame {
            Some(Ok(Message::Text(text))) => {
                Frame::Step(lock(&self.conversation).payload(&text, self.clock.now())?)
            }
            Some(Ok(Message::Close(close))) => Frame::End(End::Closed(close.map(|close| close.code.into()))),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Frame::Step(Step::Go),
            Some(Ok(Message::Binary(_))) => {
                anyhow::bail!("the gateway sent a binary frame, and none was asked for")
            }
            Some(Err(_)) | None => Frame::End(End::Closed(None)),
        })
    }

    /// Reads every channel's history down to what was seen before, as a client does after it lost its
    /// session.
    fn read_again(&self, readings: &mut JoinSet<Result<()>>) {
        for channel in self.channels.iter().copied() {
            let (mut rest, conversation) = (self.rest.another(), Arc::clone(&self.conversation));
            let known = lock(&conversation).newest(channel);
            let open = Arc::clone(&self.readings);
            open.fetch_add(1, Ordering::AcqRel);
            readings.spawn(async move {
                let mut before = None;
                loop {
                    let page = rest.page(channel, before, READ_PATIENCE).await?;
                    let ids: Option<Vec<u64>> = page.iter().map(|message| rest::id(&message["id"])).collect();
                    let ids = ids.context("a message without an id")?;
                    let lowest = ids.iter().copied().min();
                    lock(&conversation).read(channel, ids);
                    match lowest {
                        Some(lowest) if lowest > known => before = Some(lowest),
                        Some(_) | None => {
                            open.fetch_sub(1, Ordering::AcqRel);
                            return Ok(());
                        }
                    }
                }
            });
        }
    }
}

/// The meaning of a frame.
enum Frame {
    Step(Step),
    End(End),
}

async fn send(socket: &mut Socket, text: String) -> bool {
    matches!(timeout(CONNECT_MAX, socket.send(Message::text(text))).await, Ok(Ok(())))
}
