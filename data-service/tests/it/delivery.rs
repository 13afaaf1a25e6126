//! Rule 4 from end to end: the real outbox serves the real gateway, over a scripted store and a bus that
//! repeats and loses.
//!
//! The data service is killed between commit and publication, also in channels that were quiet for longer
//! than the watermark lags; messages are removed before a gap is fetched; rows are imported; the bus is down.
//! The sessions must notice none of this: each gets every acknowledged message that is not removed, once and
//! in the channel's order, and none has to begin again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{client_async, tungstenite::Message as Frame};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus, Outgoing, PublishError, Published, memory::MemoryBus};
use weir_connect::dispatch::{UnaryRequest, UnaryResponse};
use weir_data_client::{DataClient, Transport, TransportError, transport::InProcess};
use weir_data_service::{
    clock::Clock,
    node::{DataService, Parts},
};
use weir_discord::token::BotToken;
use weir_gateway::{Deps, Gateway, GatewayConfig, GatewayMetrics};
use weir_proto::{
    data::{Channel, CreateGuildRequest, CreateUserRequest, Guild, Member, Message, Role, User},
    id::UserId,
};
use weir_runtime::{Readiness, Registry, WallClock as _};
use weir_store::Store;

use crate::{
    fake_store::{Dice, FakeStore},
    history::paused,
    node::{Place, Talk, begin_import, import, imported, options, small},
    ownership::{FakeOwnership, TestClock},
};

const CHANNELS: usize = 3;
/// Runs; each takes some milliseconds.
const SEEDS: u64 = 150;
const VIEW: u64 = 1 << 10;
/// GUILDS, GUILD_MESSAGES, MESSAGE_CONTENT.
const INTENTS: u64 = 1 | 1 << 9 | 1 << 15;

/// What the bus does, whoever uses it.
#[derive(Default)]
struct Weather {
    down: AtomicBool,
    /// Records are lost or repeated.
    bad: AtomicBool,
}

/// One data service's handle of the bus.
struct Bus {
    log: Arc<MemoryBus>,
    weather: Arc<Weather>,
    dice: Dice,
    dead: AtomicBool,
}

#[async_trait]
impl EventBus for Bus {
    async fn publish(&self, records: Vec<Outgoing>) -> Result<Published, PublishError> {
        if self.dead.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.weather.down.load(SeqCst) {
            return Err(PublishError::Unavailable { reason: "as scripted".into() });
        }
        let mut taken = Vec::new();
        for out in records {
            let copies = if self.weather.bad.load(SeqCst) { self.dice.roll(3) } else { 1 };
            taken.extend((0..copies).map(|_| out.clone()));
        }
        if !taken.is_empty() {
            self.log.publish(taken).await?;
        }
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, _: Outgoing) {}
}

/// Leads to whichever data service runs.
#[derive(Default)]
struct Switch(Mutex<Option<Arc<InProcess>>>);

#[async_trait]
impl Transport for Switch {
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        let now = self.0.lock().unwrap().clone();
        match now {
            Some(service) => service.unary(request).await,
            None => Err(TransportError::Unknown { reason: "killed".into() }),
        }
    }
}

/// What a session was sent: per channel the contents of its messages, in order.
#[derive(Default)]
struct Heard {
    messages: BTreeMap<u64, Vec<String>>,
    /// How it ended, if it did.
    ended: Option<String>,
}

struct Session {
    heard: Arc<Mutex<Heard>>,
    /// Messages below this number were acknowledged a while before it began, so that it must not hear them.
    begun: usize,
}

/// A message as the test knows it.
struct Said {
    place: Place,
    acknowledged: Option<u64>,
    removed: bool,
}

struct Run {
    dice: Dice,
    clock: Arc<TestClock>,
    store: Arc<FakeStore>,
    ownership: Arc<FakeOwnership>,
    log: Arc<MemoryBus>,
    weather: Arc<Weather>,
    bus: Arc<Bus>,
    switch: Arc<Switch>,
    client: DataClient,
    places: Vec<Place>,
    said: Vec<Said>,
    imported: u64,
    sessions: Vec<Session>,
}

fn token(user_id: u64) -> BotToken {
    BotToken::generate(UserId::try_from(user_id).unwrap(), 1, &[9; 27])
}

impl Run {
    async fn new(seed: u64) -> Self {
        let clock = TestClock::new();
        let log = Arc::new(MemoryBus::new(100_000));
        let weather = Arc::<Weather>::default();
        let bus =
            Bus { log: log.clone(), weather: weather.clone(), dice: Dice::new(seed), dead: false.into() };
        let switch = Arc::<Switch>::default();
        let mut run = Self {
            dice: Dice::new(seed),
            store: FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, seed),
            clock,
            ownership: FakeOwnership::new(1),
            log,
            weather,
            bus: Arc::new(bus),
            client: DataClient::new(switch.clone()),
            switch,
            places: Vec::new(),
            said: Vec::new(),
            imported: 0,
            sessions: Vec::new(),
        };
        run.start().await;
        run.settle().await;
        run
    }

    async fn start(&self) {
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            bus: Arc::clone(&self.bus) as Arc<dyn EventBus>,
            ownership: Arc::clone(&self.ownership) as _,
            clock: Arc::clone(&self.clock) as _,
            mint_above_us: 0,
            registry: Registry::new(),
            readiness: Readiness::new(),
        };
        let service = DataService::open(small(), parts, CancellationToken::new()).await.unwrap();
        *self.switch.0.lock().unwrap() = Some(Arc::new(InProcess::new(service.admin_dispatch())));
    }

    fn kill(&mut self) {
        *self.switch.0.lock().unwrap() = None;
        self.store.kill();
        self.bus.dead.store(true, SeqCst);
        self.store = self.store.fork();
        let (log, weather) = (self.log.clone(), self.weather.clone());
        self.bus =
            Arc::new(Bus { log, weather, dice: Dice::new(self.dice.roll(1 << 32)), dead: false.into() });
    }

    /// A guild with its channels, and users with credentials.
    async fn settle(&mut self) {
        let mut users = Vec::new();
        for id in [77 << 22, 78 << 22_u64] {
            let user = Some(User { id, username: format!("bot{id}"), bot: true, ..User::default() });
            let request = CreateUserRequest { user, token_hash: token(id).hash().0.to_vec() };
            self.client.create_user(&request, &options()).await.unwrap();
            users.push(id);
        }
        let channel = |index: usize| Channel { name: format!("c{index}"), ..Channel::default() };
        let request = CreateGuildRequest {
            guild: Some(Guild { name: "g".into(), owner_id: users[0], ..Guild::default() }),
            roles: vec![Role { name: "@everyone".into(), permissions: VIEW, ..Role::default() }],
            channels: (0..CHANNELS).map(channel).collect(),
            members: users.iter().map(|id| Member { user_id: *id, ..Member::default() }).collect(),
        };
        let state = self.client.create_guild(&request, &options()).await.unwrap().message.state.unwrap();
        let guild = state.guild.unwrap().id;
        let place = |channel: &Channel| Place { guild, channel: channel.id, user: users[0] };
        self.places = state.channels.iter().map(place).collect();
        begin_import(&*self.store, state.channels.iter().map(|channel| channel.id).collect()).await;
        // Otherwise its creation is so young that the sessions' first moments are not what this is about.
        sleep(Duration::from_secs(1)).await;
    }

    fn place(&self) -> Place {
        self.places[usize::try_from(self.dice.roll(CHANNELS as u64)).unwrap()]
    }

    /// Says something; whether it was acknowledged is noted. `patience` bounds a call that a kill leaves
    /// without an answer.
    async fn say(&mut self, place: Place) {
        let number = self.said.len();
        self.said.push(Said { place, acknowledged: None, removed: false });
        let made =
            timeout(Duration::from_secs(5), Talk(&self.client, place).create(&number.to_string())).await;
        self.said[number].acknowledged = made.ok().and_then(Result::ok).map(|row| row.id);
    }

    async fn remove(&mut self) {
        let live: Vec<usize> = (0..self.said.len())
            .filter(|at| self.said[*at].acknowledged.is_some() && !self.said[*at].removed)
            .collect();
        if live.is_empty() {
            return;
        }
        // Often the newest: its row is gone before anybody fetches it.
        let at = if self.dice.roll(2) == 0 {
            live[live.len() - 1]
        } else {
            live[usize::try_from(self.dice.roll(live.len() as u64)).unwrap()]
        };
        let said = &mut self.said[at];
        said.removed = true;
        let (place, id) = (said.place, said.acknowledged.unwrap());
        drop(timeout(Duration::from_secs(5), Talk(&self.client, place).delete(id)).await);
    }

    async fn import(&mut self) {
        let place = self.place();
        let rows = 1 + self.dice.roll(3);
        let messages = (0..rows).map(|_| {
            self.imported += 1;
            Message {
                id: imported(1_000_000_000 + self.imported, 0),
                channel_id: place.channel,
                author_id: place.user,
                content: "imported".into(),
                ..Message::default()
            }
        });
        let messages: Vec<Message> = messages.collect();
        import(&self.client, place.channel, [messages]).await.unwrap();
    }

    /// The data service dies at a moment of a create, and another one starts a while later.
    async fn killed_while_saying(&mut self) {
        let place = self.place();
        let (number, client) = (self.said.len(), self.client.clone());
        self.said.push(Said { place, acknowledged: None, removed: false });
        let saying = tokio::spawn(async move { Talk(&client, place).create(&number.to_string()).await });
        sleep(Duration::from_micros(self.dice.roll(12_000))).await;
        // Between commit and publication: what is acknowledged now is with the bus only after the next start.
        let unpublished = self.dice.roll(2) == 0;
        self.weather.down.store(unpublished, SeqCst);
        sleep(Duration::from_micros(self.dice.roll(12_000))).await;
        self.kill();
        self.weather.down.store(false, SeqCst);
        let made = timeout(Duration::from_millis(1), saying).await;
        self.said[number].acknowledged =
            made.ok().and_then(Result::ok).and_then(Result::ok).map(|row| row.id);
        sleep(Duration::from_millis(500 + self.dice.roll(4_000))).await;
        self.start().await;
    }

    async fn session(&mut self, gateway: &Gateway, user_id: u64) {
        // What was acknowledged a second ago is with the bus, or noted as behind.
        sleep(Duration::from_secs(1)).await;
        let begun = self.said.len();
        let (near, far) = tokio::io::duplex(1 << 20);
        gateway.serve(far);
        let (mut ws, _) = client_async("ws://gateway/?v=10&encoding=json", near).await.unwrap();
        let identify = json!({"op": 2, "d": {
            "token": format!("Bot {}", token(user_id).reveal()), "intents": INTENTS, "properties": {},
        }});
        ws.send(Frame::text(identify.to_string())).await.unwrap();
        let heard = Arc::<Mutex<Heard>>::default();
        let ready = CancellationToken::new();
        let (noting, told) = (heard.clone(), ready.clone());
        tokio::spawn(async move {
            while let Some(Ok(frame)) = ws.next().await {
                let Frame::Text(text) = frame else {
                    noting.lock().unwrap().ended = Some(format!("{frame:?}"));
                    return;
                };
                let payload: Value = serde_json::from_str(text.as_str()).unwrap();
                let mut heard = noting.lock().unwrap();
                if payload["op"] == 9 {
                    heard.ended = Some("INVALID_SESSION".to_owned());
                } else if payload["t"] == "GUILD_CREATE" {
                    told.cancel();
                } else if payload["t"] == "MESSAGE_CREATE" {
                    let channel: u64 = payload["d"]["channel_id"].as_str().unwrap().parse().unwrap();
                    let content = payload["d"]["content"].as_str().unwrap().to_owned();
                    heard.messages.entry(channel).or_default().push(content);
                }
            }
            noting.lock().unwrap().ended = Some("cut".to_owned());
        });
        timeout(Duration::from_secs(60), ready.cancelled()).await.expect("a session begins");
        self.sessions.push(Session { heard, begun });
    }

    fn check(&self, seed: u64) {
        for (at, session) in self.sessions.iter().enumerate() {
            let heard = session.heard.lock().unwrap();
            assert_eq!(heard.ended, None, "seed {seed}: session {at} ended");
            for place in &self.places {
                let told: Vec<usize> = heard
                    .messages
                    .get(&place.channel)
                    .into_iter()
                    .flatten()
                    .map(|text| text.parse().expect("imported rows are no events"))
                    .collect();
                assert!(
                    told.is_sorted_by(|one, next| one < next),
                    "seed {seed}: session {at}: not once, or not in order: {told:?}"
                );
                let told: BTreeSet<usize> = told.into_iter().collect();
                for (number, said) in self.said.iter().enumerate().skip(session.begun) {
                    let owed =
                        said.place.channel == place.channel && said.acknowledged.is_some() && !said.removed;
                    assert!(!owed || told.contains(&number), "seed {seed}: session {at} misses {number}");
                }
                let early: Vec<_> = told.range(..session.begun).collect();
                assert!(early.is_empty(), "seed {seed}: session {at} is told what was before it: {early:?}");
            }
        }
    }
}

async fn run(seed: u64) {
    let mut run = Run::new(seed).await;
    let day = Duration::from_secs(86_400);
    let config = GatewayConfig {
        heartbeat_interval: day,
        heartbeat_timeout: day,
        identify_timeout: day,
        ..GatewayConfig::default()
    };
    let deps = Deps {
        data: DataClient::new(run.switch.clone()),
        inbox: run.log.clone(),
        sessions: run.log.clone(),
        metrics: GatewayMetrics::new(&Registry::new()),
        budget: weir_connect::Budget::default(),
    };
    let gateway = Gateway::without_listener(config, deps, CancellationToken::new()).await.unwrap();
    run.session(&gateway, 77 << 22).await;
    if run.dice.roll(2) == 0 {
        run.store.slow(Duration::from_millis(5));
    }
    let steps = 10 + run.dice.roll(30);
    let second_at = run.dice.roll(steps);
    for step in 0..steps {
        if step == second_at {
            run.session(&gateway, 78 << 22).await;
        }
        match run.dice.roll(16) {
            0..=5 => run.say(run.place()).await,
            6 | 7 => run.remove().await,
            8 | 9 => sleep(Duration::from_millis(run.dice.roll(5_000))).await,
            10 | 11 => run.killed_while_saying().await,
            12 => run.weather.down.store(run.dice.roll(2) == 0, SeqCst),
            13 | 14 => run.weather.bad.store(run.dice.roll(2) == 0, SeqCst),
            _ => run.import().await,
        }
    }
    run.weather.down.store(false, SeqCst);
    run.weather.bad.store(false, SeqCst);
    sleep(Duration::from_secs(5)).await;
    // The newest record of a channel, lost, shows with the next one.
    for place in run.places.clone() {
        run.say(place).await;
    }
    sleep(Duration::from_secs(90)).await;
    run.check(seed);
    // The gateway's clock is not asked for what the data service knows.
    assert!(run.clock.wall_us() > 0);
}

#[test]
fn sessions_hear_everything_once_whatever_the_data_service_and_the_bus_do() {
    for seed in 0..SEEDS {
        paused(run(seed));
    }
}
