//! A served [`Api`] with users, and a client that speaks plain HTTP to it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use weir_api::{Api, ApiConfig, ApiMetrics, Drained};
use weir_discord::token::{BotToken, SECRET_BYTES};
use weir_proto::{
    data::{Channel, Member, Message, Role, User},
    id::UserId,
};
use weir_runtime::metrics::Registry;

use crate::data_service::DataService;

/// Gateway address that the tests configure.
pub(crate) const GATEWAY: &str = "ws://127.0.0.1:8081";

/// How long a stopped tier waits for requests under way: long for a loopback, short for a test that lets it
/// pass.
const DRAIN: Duration = Duration::from_millis(500);

/// A user with a token.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) id: u64,
    pub(crate) token: String,
}

/// An answer, its body complete.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Status and Discord's error code; code 0 if the body has none.
    pub(crate) fn outcome(&self) -> (u16, u64) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        (self.status.as_u16(), body["code"].as_u64().unwrap_or(0))
    }

    /// The JSON of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {:?}", self.status, self.body);
        self.json()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }
}

/// The ids of an array of objects.
pub(crate) fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|object| id(&object["id"])).collect()
}

/// An id out of JSON, where it must be a string.
pub(crate) fn id(value: &Value) -> u64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).parse().unwrap()
}

/// A served tier.
pub(crate) struct Served {
    pub(crate) data: DataService,
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<Drained>,
    connection: Mutex<SendRequest<Full<Bytes>>>,
}

impl Served {
    /// With rate limits off.
    pub(crate) async fn start() -> Self {
        Self::with(|config| config.rate_limits = None).await
    }

    /// With rate limits off, and a guild of a bot of this name.
    pub(crate) async fn with_guild(owner: &str) -> (Self, Bot, Place) {
        let served = Self::start().await;
        let owner = served.bot(owner);
        let place = served.guild(&owner).await;
        (served, owner, place)
    }

    /// The same, with a member.
    pub(crate) async fn with_member(owner: &str, member: &str) -> (Self, Bot, Bot, Place) {
        let served = Self::start().await;
        let (owner, member) = (served.bot(owner), served.bot(member));
        let place = served.guild(&owner).await;
        served.join(&member, place.guild, &[]);
        (served, owner, member, place)
    }

    /// With a changed configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::in_front_of(DataService::default(), change).await
    }

    /// Another process of the tier, in front of the same data service.
    pub(crate) async fn beside(&self) -> Self {
        Self::in_front_of(self.data.clone(), |config| config.rate_limits = None).await
    }

    async fn in_front_of(data: DataService, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = ApiConfig::new(GATEWAY);
        change(&mut config);
        let registry = Registry::new();
        let api = Api::new(config, data.client(), ApiMetrics::register(&registry));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move { api.serve(listener, &weir_connect::Budget::default(), stop, DRAIN).await }
        });
        let connection = Mutex::new(connect(address).await);
        Self { data, registry, address, stop, serving, connection }
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let mut connection = self.connection.lock().await;
        if connection.ready().await.is_err() {
            // The server closed it, as it does when it answers before it has read a whole body.
            *connection = connect(self.address).await;
        }
        answer(&mut connection, request).await
    }

    /// Asks as a bot; `body` null sends none.
    pub(crate) async fn ask(&self, bot: &Bot, method: Method, path: &str, body: Value) -> Answer {
        self.send(asking(bot, method, path, body)).await
    }

    /// Asks on a connection of its own, so that other requests are answered meanwhile.
    pub(crate) async fn ask_aside(&self, bot: &Bot, method: Method, path: &str, body: Value) -> Answer {
        let mut connection = connect(self.address).await;
        answer(&mut connection, asking(bot, method, path, body)).await
    }

    /// Reads under `/api/v10`.
    pub(crate) async fn get(&self, bot: &Bot, path: &str) -> Answer {
        self.ask(bot, Method::GET, &format!("/api/v10{path}"), Value::Null).await
    }

    /// Posts under `/api/v10`.
    pub(crate) async fn post(&self, bot: &Bot, path: &str, body: Value) -> Answer {
        self.ask(bot, Method::POST, &format!("/api/v10{path}"), body).await
    }

    /// Patches under `/api/v10`.
    pub(crate) async fn patch(&self, bot: &Bot, path: &str, body: Value) -> Answer {
        self.ask(bot, Method::PATCH, &format!("/api/v10{path}"), body).await
    }

    /// Puts under `/api/v10`.
    pub(crate) async fn put(&self, bot: &Bot, path: &str, body: Value) -> Answer {
        self.ask(bot, Method::PUT, &format!("/api/v10{path}"), body).await
    }

    /// Deletes under `/api/v10`.
    pub(crate) async fn delete(&self, bot: &Bot, path: &str) -> Answer {
        self.ask(bot, Method::DELETE, &format!("/api/v10{path}"), Value::Null).await
    }

    /// A new bot with a token.
    pub(crate) fn bot(&self, name: &str) -> Bot {
        let mut world = self.data.world();
        let id = world.mint();
        let secret = [(id >> 22) as u8; SECRET_BYTES];
        let token = BotToken::generate(UserId::try_from(id).unwrap(), 1_790_000_000, &secret);
        world.users.insert(id, User { id, username: name.to_owned(), bot: true, ..User::default() });
        world.tokens.insert(token.hash().0.to_vec(), id);
        Bot { id, token: token.reveal().to_owned() }
    }

    /// A guild made through the api.
    pub(crate) async fn guild(&self, owner: &Bot) -> Place {
        let created = self.post(owner, "/guilds", json!({"name": "a guild"})).await.ok();
        let guild = id(&created["id"]);
        let channels = self.get(owner, &format!("/guilds/{guild}/channels")).await.ok();
        Place { guild, channel: ids(&channels)[0] }
    }

    /// Makes the bot a member with these roles.
    pub(crate) fn join(&self, bot: &Bot, guild_id: u64, role_ids: &[u64]) {
        let member = Member {
            guild_id,
            user_id: bot.id,
            role_ids: role_ids.to_vec(),
            joined_at_ms: 1,
            ..Member::default()
        };
        self.data.world().members.insert((guild_id, bot.id), member);
    }

    /// A role with these permissions at a position.
    pub(crate) fn role(&self, guild_id: u64, permissions: u64, position: u32) -> u64 {
        let mut world = self.data.world();
        let id = world.mint();
        let role =
            Role { id, guild_id, name: format!("role {id}"), permissions, position, ..Role::default() };
        world.roles.insert(id, role);
        id
    }

    /// A channel row, as it is or changed.
    pub(crate) fn channel(&self, guild_id: u64, change: impl FnOnce(&mut Channel)) -> u64 {
        let mut world = self.data.world();
        let mut row = Channel { id: world.mint(), guild_id, name: "side".to_owned(), ..Channel::default() };
        change(&mut row);
        let id = row.id;
        world.channels.insert(id, row);
        id
    }

    /// A message row by an author, as it is or changed.
    pub(crate) fn message(&self, channel_id: u64, author_id: u64, change: impl FnOnce(&mut Message)) -> u64 {
        let mut world = self.data.world();
        let id = world.mint();
        let mut row =
            Message { id, channel_id, author_id, content: format!("row {id}"), ..Message::default() };
        change(&mut row);
        world.messages.insert((channel_id, id), row);
        id
    }
}

/// A guild and its first channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) guild: u64,
    pub(crate) channel: u64,
}

impl Place {
    /// The channel's messages, below the version.
    pub(crate) fn messages(&self) -> String {
        format!("/channels/{}/messages", self.channel)
    }
}

/// What a letter of a matrix of callers and routes stands for: a status and Discord's code.
pub(crate) fn outcome(letter: char) -> (u16, u64) {
    match letter {
        'k' => (200, 0),
        'c' => (201, 0),
        'd' => (204, 0),
        // No access; not in a direct message; not the author; no permission; not the owner.
        'n' => (403, 50_001),
        'm' => (403, 50_003),
        'a' => (403, 50_005),
        'p' => (403, 50_013),
        'o' => (403, 20_018),
        other => panic!("{other} stands for nothing"),
    }
}

/// A request to the server; the host is what HTTP/1.1 asks for.
pub(crate) fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost")
}

fn asking(bot: &Bot, method: Method, path: &str, body: Value) -> Request<Full<Bytes>> {
    let request = request(method, path).header("authorization", format!("Bot {}", bot.token));
    let request = if body.is_null() {
        request.body(Full::default())
    } else {
        request.header("content-type", "application/json").body(Full::from(body.to_string()))
    };
    request.unwrap()
}

pub(crate) async fn answer(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Answer {
    let (head, body) = connection.send_request(request).await.unwrap().into_parts();
    Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
