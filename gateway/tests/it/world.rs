//! A small guild world: a data service behind the real typed client, and a bus whose faults the test decides.
//!
//! Length: the calls are answered from one state under one lock; bus and outbox are in files of their own.

mod log;
mod outbox;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use tokio::{io::DuplexStream, sync::watch};
use tokio_util::sync::CancellationToken;
use weir_bus::{EventBus as _, Outgoing, SessionStore as _, memory::MemoryBus};
use weir_connect::{
    dispatch::{UnaryRequest, UnaryResponse},
    error::ConnectError,
};
use weir_data_client::{DataClient, Transport, TransportError};
use weir_discord::token::BotToken;
use weir_gateway::{Deps, Gateway, GatewayConfig, GatewayMetrics, IdentifyLimits};
use weir_proto::{
    data::*,
    event::{
        GuildDeleted, MemberChanged, MemberRemoved, MessageDeleted, MessagesDeleted, Record, Typing,
        record::Change,
    },
    id::UserId,
};

use self::{
    log::{Sessions, TestLog},
    outbox::{apply, newest, rebuilt},
};
use crate::client::Client;

pub(crate) const VIEW: u64 = 1 << 10;
/// The guild of most tests, its open and its hidden channel, and a role that sees the latter.
pub(crate) const GUILD: u64 = 1 << 22;
pub(crate) const OPEN: u64 = 2 << 22;
pub(crate) const HIDDEN: u64 = 3 << 22;
pub(crate) const SEER: u64 = 4 << 22;
/// Users.
pub(crate) const BOT: u64 = 50 << 22;
pub(crate) const ALICE: u64 = 51 << 22;
pub(crate) const OWNER: u64 = 52 << 22;

/// What becomes of a record on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Once,
    Twice,
    Lost,
}

#[derive(Default)]
struct State {
    users: HashMap<u64, User>,
    tokens: HashMap<Vec<u8>, u64>,
    guilds: BTreeMap<u64, GuildState>,
    members: BTreeMap<(u64, u64), Member>,
    /// The users of each direct message's channel.
    direct: HashMap<u64, Vec<u64>>,
    /// Every record by scope: the outbox.
    outbox: HashMap<u64, Vec<Record>>,
    outbox_floor: u64,
}

/// How lists of members are answered.
#[derive(Default)]
pub(crate) struct Lists {
    pub(crate) fail: AtomicBool,
    /// Answers are kept back; by then they say what was when they were asked for.
    pub(crate) held: watch::Sender<bool>,
    pub(crate) asked: AtomicU64,
}

pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) bus: Arc<TestLog>,
    clock_us: AtomicU64,
    next_id: AtomicU64,
    pub(crate) down: AtomicBool,
    /// The scope whose list of changes is not answered; 0 for none.
    pub(crate) stuck: watch::Sender<u64>,
    pub(crate) lists: Lists,
    /// Tokens that were looked up.
    pub(crate) resolved: AtomicU64,
    /// Members that were looked up.
    pub(crate) members_asked: AtomicU64,
    /// Answers to look-ups of tokens are kept back.
    pub(crate) resolving: watch::Sender<bool>,
}

impl World {
    /// A guild with an open and a hidden channel; the bot and Alice are members without roles.
    pub(crate) fn new(durable: bool, records_max: usize) -> Arc<Self> {
        let world = Arc::new(Self {
            state: Mutex::default(),
            bus: Arc::new(TestLog { log: MemoryBus::new(records_max), durable }),
            // Revisions follow the clock, as the data service's do.
            clock_us: AtomicU64::new(weir_runtime::WallClock::wall_us(&weir_runtime::SystemClock)),
            next_id: AtomicU64::new(1_000 << 22),
            down: AtomicBool::new(false),
            stuck: watch::Sender::new(0),
            lists: Lists::default(),
            resolved: AtomicU64::new(0),
            members_asked: AtomicU64::new(0),
            resolving: watch::Sender::new(false),
        });
        for (id, name, bot) in [(BOT, "bot", true), (ALICE, "alice", false), (OWNER, "owner", false)] {
            world.add_user(id, name, bot);
        }
        world.put_guild(GUILD, &[BOT, ALICE, OWNER]);
        world
    }

    pub(crate) fn add_user(&self, id: u64, name: &str, bot: bool) {
        let mut state = self.state.lock().unwrap();
        state.users.insert(id, User { id, username: name.into(), bot, ..User::default() });
        state.tokens.insert(token(id).hash().0.to_vec(), id);
    }

    /// A guild that exists without having been announced.
    pub(crate) fn put_guild(&self, id: u64, members: &[u64]) {
        let hide = Overwrite { id, r#type: 0, allow: 0, deny: VIEW };
        let show = Overwrite { id: SEER, r#type: 0, allow: VIEW, deny: 0 };
        let channel = |channel_id, name: &str| Channel {
            id: channel_id,
            guild_id: id,
            name: name.into(),
            ..Channel::default()
        };
        let offset = id - GUILD;
        let state = GuildState {
            guild: Some(Guild { id, name: format!("guild {id}"), owner_id: OWNER, rev: 1 }),
            roles: vec![
                Role { id, guild_id: id, name: "@everyone".into(), permissions: VIEW, ..Role::default() },
                Role { id: SEER, guild_id: id, name: "seer".into(), ..Role::default() },
            ],
            channels: vec![
                channel(OPEN + offset, "open"),
                Channel { overwrites: vec![hide, show], ..channel(HIDDEN + offset, "hidden") },
            ],
            member_count: members.len() as u32,
            rev: 1,
        };
        let mut all = self.state.lock().unwrap();
        all.guilds.insert(id, state);
        for &user_id in members {
            all.members.insert(
                (id, user_id),
                Member { guild_id: id, user_id, joined_at_ms: 1, rev: 1, ..Member::default() },
            );
        }
    }

    /// Gives a guild's open channel so many overwrites.
    pub(crate) fn overwrite(&self, guild_id: u64, count: u64) {
        let mut all = self.state.lock().unwrap();
        let overwrites =
            (0..count).map(|i| Overwrite { id: (900 << 32) + i, r#type: 1, allow: VIEW, deny: 2_048 });
        all.guilds.get_mut(&guild_id).unwrap().channels[0].overwrites = overwrites.collect();
    }

    /// Takes a guild away as if it had never been.
    pub(crate) fn remove_guild(&self, id: u64) {
        let mut all = self.state.lock().unwrap();
        all.guilds.remove(&id);
        all.members.retain(|(guild, _), _| *guild != id);
    }

    /// Everything committed has a revision at or below it, nothing that will be committed has.
    fn as_of_us(&self) -> u64 {
        self.clock_us.load(Ordering::Relaxed) - 1
    }

    fn rev(&self) -> u64 {
        self.clock_us.fetch_add(1, Ordering::Relaxed)
    }

    fn id(&self) -> u64 {
        self.next_id.fetch_add(1 << 22, Ordering::Relaxed)
    }

    /// Commits a change: state, outbox, bus.
    pub(crate) async fn commit(&self, scope_id: u64, guild_id: u64, change: Change, fate: Fate) -> Record {
        let record = {
            let mut state = self.state.lock().unwrap();
            let rev = self.rev();
            let own = scope_id == guild_id;
            let outbox = state.outbox.entry(scope_id).or_default();
            let prev_rev = outbox.last().map_or(u64::from(own), |last| last.rev);
            let user = |id| User { id, username: format!("user{id}"), ..User::default() };
            let context = match &change {
                Change::MessageCreated(row) | Change::MessageEdited(row) => {
                    Some(EventContext { author: Some(user(row.author_id)), ..EventContext::default() })
                }
                Change::ChannelCreated(row) => Some(EventContext {
                    recipients: row.recipient_ids.iter().copied().map(user).collect(),
                    ..EventContext::default()
                }),
                Change::ChannelUpdated(row) | Change::ChannelDeleted(row) => {
                    let last_message_id = newest(&state, row.id);
                    Some(EventContext { last_message_id, ..EventContext::default() })
                }
                _ => None,
            };
            let record = Record {
                scope_id,
                guild_id,
                rev,
                prev_rev,
                change: Some(change),
                context,
                recipient_ids: if guild_id == 0 { state.direct[&scope_id].clone() } else { vec![] },
                ..Record::default()
            };
            let outbox = state.outbox.entry(scope_id).or_default();
            outbox.push(record.clone());
            apply(&mut state, &record);
            record
        };
        self.put_on_bus(&record, fate).await;
        record
    }

    pub(crate) async fn put_on_bus(&self, record: &Record, fate: Fate) {
        let copies = match fate {
            Fate::Lost => 0,
            Fate::Once => 1,
            Fate::Twice => 2,
        };
        let bytes = Bytes::from(record.encode_to_vec());
        let topics = log::topics(record.guild_id, &record.recipient_ids);
        let out = vec![Outgoing { topics, record: bytes }; copies];
        if copies > 0 {
            self.bus.log.publish(out).await.unwrap();
        }
    }

    /// The outbox forgets everything it has.
    pub(crate) fn truncate_outbox(&self) {
        self.state.lock().unwrap().outbox_floor = u64::MAX;
    }

    pub(crate) async fn say(&self, channel_id: u64, content: &str) -> u64 {
        self.say_as(channel_id, ALICE, content, Fate::Once).await
    }

    pub(crate) async fn say_as(&self, channel_id: u64, author_id: u64, content: &str, fate: Fate) -> u64 {
        let id = self.id();
        let guild_id = self.guild_of(channel_id);
        let message = Message { id, channel_id, author_id, content: content.into(), ..Message::default() };
        self.commit(channel_id, guild_id, Change::MessageCreated(message), fate).await;
        id
    }

    /// Opens direct messages between two users, in a channel of the test's choice.
    pub(crate) async fn open_direct(&self, channel_id: u64, users: [u64; 2], fate: Fate) -> Record {
        let row = Channel { id: channel_id, r#type: 1, recipient_ids: users.to_vec(), ..Channel::default() };
        self.state.lock().unwrap().direct.insert(channel_id, users.to_vec());
        self.commit(channel_id, 0, Change::ChannelCreated(row), fate).await
    }

    /// A message whose record the bus never gets, for a test that publishes it in its own way.
    pub(crate) async fn say_unpublished(&self, channel_id: u64, content: &str) -> Record {
        let message = Message {
            id: self.id(),
            channel_id,
            author_id: ALICE,
            content: content.into(),
            ..Message::default()
        };
        let change = Change::MessageCreated(message);
        self.commit(channel_id, self.guild_of(channel_id), change, Fate::Lost).await
    }

    pub(crate) async fn unsay(&self, channel_id: u64, id: u64) {
        self.unsay_with(channel_id, id, Fate::Once).await;
    }

    pub(crate) async fn unsay_with(&self, channel_id: u64, id: u64, fate: Fate) {
        let change = Change::MessageDeleted(MessageDeleted { id, channel_id });
        self.commit(channel_id, self.guild_of(channel_id), change, fate).await;
    }

    pub(crate) async fn unsay_together(&self, channel_id: u64, ids: &[u64], fate: Fate) {
        let change = Change::MessagesDeleted(MessagesDeleted { ids: ids.to_vec(), channel_id });
        self.commit(channel_id, self.guild_of(channel_id), change, fate).await;
    }

    pub(crate) async fn typing(&self, channel_id: u64, user_id: u64) {
        let guild_id = self.guild_of(channel_id);
        let typing = Typing { channel_id, user_id, timestamp_ms: 1_000 };
        let recipient_ids = self.state.lock().unwrap().direct.get(&channel_id).cloned().unwrap_or_default();
        let topics = log::topics(guild_id, &recipient_ids);
        let record = Record {
            scope_id: channel_id,
            guild_id,
            recipient_ids,
            change: Some(Change::Typing(typing)),
            ..Record::default()
        };
        let out = Outgoing { topics, record: record.encode_to_vec().into() };
        self.bus.log.publish_ephemeral(out).await;
    }

    pub(crate) async fn set_roles(&self, guild_id: u64, user_id: u64, role_ids: &[u64]) {
        let old = self.state.lock().unwrap().members.get(&(guild_id, user_id)).unwrap().clone();
        let member = Member { role_ids: role_ids.to_vec(), ..old };
        let change = MemberChanged { member: Some(member), user: self.user(user_id) };
        self.commit(guild_id, guild_id, Change::MemberUpdated(change), Fate::Once).await;
    }

    pub(crate) async fn join(&self, guild_id: u64, user_id: u64) {
        let member = Member { guild_id, user_id, joined_at_ms: 2, ..Member::default() };
        let change = MemberChanged { member: Some(member), user: self.user(user_id) };
        self.commit(guild_id, guild_id, Change::MemberAdded(change), Fate::Once).await;
    }

    pub(crate) async fn leave(&self, guild_id: u64, user_id: u64) {
        let change = MemberRemoved { guild_id, user: self.user(user_id) };
        self.commit(guild_id, guild_id, Change::MemberRemoved(change), Fate::Once).await;
    }

    pub(crate) async fn delete_guild(&self, guild_id: u64) {
        self.commit(guild_id, guild_id, Change::GuildDeleted(GuildDeleted { guild_id }), Fate::Once).await;
    }

    pub(crate) fn channel(&self, channel_id: u64) -> Channel {
        let state = self.state.lock().unwrap();
        let mut all = state.guilds.values().flat_map(|guild| &guild.channels);
        all.find(|channel| channel.id == channel_id).unwrap().clone()
    }

    fn user(&self, id: u64) -> Option<User> {
        self.state.lock().unwrap().users.get(&id).cloned()
    }

    fn guild_of(&self, channel_id: u64) -> u64 {
        if self.state.lock().unwrap().direct.contains_key(&channel_id) {
            return 0;
        }
        // By construction of ids: GUILD + n, OPEN + n and HIDDEN + n belong together, in steps of 100 << 22.
        GUILD + (channel_id - OPEN) / (100 << 22) * (100 << 22)
    }

    // ---- the gateway in front of it ----------------------------------------------------------------------

    /// A new world and a gateway in front of it, as it is set by default.
    pub(crate) async fn with_gateway(durable: bool, records_max: usize) -> (Arc<Self>, Running) {
        let world = Self::new(durable, records_max);
        let gateway = world.gateway(GatewayConfig::default()).await;
        (world, gateway)
    }

    /// The same, with a client of this user's that was shown its guilds.
    pub(crate) async fn with_session(
        durable: bool,
        records_max: usize,
        user_id: u64,
    ) -> (Arc<Self>, Running, Client) {
        let (world, gateway) = Self::with_gateway(durable, records_max).await;
        let client = Client::identified(&gateway, user_id).await;
        (world, gateway, client)
    }

    /// A gateway without limits on identifies: most tests identify with one token many times.
    pub(crate) async fn gateway(self: &Arc<Self>, config: GatewayConfig) -> Running {
        self.gateway_as_set(GatewayConfig { identify_limits: IdentifyLimits::Off, ..config }).await
    }

    pub(crate) async fn gateway_as_set(self: &Arc<Self>, config: GatewayConfig) -> Running {
        let stop = CancellationToken::new();
        let gateway = Gateway::without_listener(config, self.deps(), stop.clone()).await.unwrap();
        Running { gateway, stop }
    }

    pub(crate) fn deps(self: &Arc<Self>) -> Deps {
        Deps {
            data: DataClient::new(self.clone()),
            inbox: self.bus.clone(),
            sessions: Arc::new(Sessions(self.bus.clone())),
            metrics: GatewayMetrics::new(&weir_runtime::Registry::new()),
            budget: weir_connect::Budget::default(),
        }
    }

    pub(crate) async fn session_rows(&self) -> usize {
        self.bus.log.list(1_000).await.unwrap().len()
    }
}

pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) stop: CancellationToken,
}

impl Running {
    /// A pipe to the gateway whose direction to the client holds `room` bytes.
    pub(crate) fn pipe(&self, room: usize) -> DuplexStream {
        let (near, far) = tokio::io::duplex(room);
        self.gateway.serve(far);
        near
    }

    /// The same from an address, over the network or a proxy.
    pub(crate) fn pipe_from(&self, room: usize, peer: &str) -> DuplexStream {
        let (near, far) = tokio::io::duplex(room);
        self.gateway.serve_peer(far, peer.parse().unwrap());
        near
    }

    /// Stops it as a crash would, as far as sessions can tell: nothing is written.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.gateway.stopped().await;
    }
}

pub(crate) fn token(user_id: u64) -> BotToken {
    BotToken::generate(UserId::try_from(user_id).unwrap(), 1, &[9; 27])
}

#[async_trait]
impl Transport for World {
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(TransportError::Unknown { reason: "down".into() });
        }
        let body = request.body;
        if request.path.ends_with("/ResolveToken") {
            self.resolved.fetch_add(1, Ordering::Relaxed);
            self.resolving.subscribe().wait_for(|held| !held).await.unwrap();
        }
        if request.path.ends_with("/ListChanges") {
            let scope = ListChangesRequest::decode(body.clone()).unwrap().scope_id;
            let answers = async { self.stuck.subscribe().wait_for(|stuck| *stuck != scope).await.map(drop) };
            if tokio::time::timeout(request.timeout.unwrap_or(Duration::MAX), answers).await.is_err() {
                return Err(TransportError::Unknown { reason: "too late".into() });
            }
        }
        let reply = self.reply(&request.path, body)?;
        if request.path.ends_with("/ListMembers") {
            self.lists.held.subscribe().wait_for(|held| !held).await.unwrap();
        }
        Ok(UnaryResponse { headers: http::HeaderMap::new(), body: reply.into() })
    }
}

impl World {
    fn reply(&self, path: &str, body: Bytes) -> Result<Vec<u8>, ConnectError> {
        let state = self.state.lock().unwrap();
        Ok(match path.rsplit('/').next().unwrap() {
            "ResolveToken" => {
                let asked = ResolveTokenRequest::decode(body).unwrap();
                let id = state.tokens.get(asked.token_hash.as_ref() as &[u8]);
                let user =
                    id.map(|id| state.users[id].clone()).ok_or_else(|| ConnectError::not_found("token"))?;
                ResolveTokenResponse { user: Some(user) }.encode_to_vec()
            }
            "GetUsers" => {
                let ids = GetUsersRequest::decode(body).unwrap().ids;
                let users = ids.iter().filter_map(|id| state.users.get(id).cloned()).collect();
                GetUsersResponse { users }.encode_to_vec()
            }
            "ListUserGuilds" => {
                let asked = ListUserGuildsRequest::decode(body).unwrap();
                let mut guild_ids: Vec<u64> = state
                    .members
                    .keys()
                    .filter(|(guild, user)| *user == asked.user_id && *guild > asked.after)
                    .map(|(guild, _)| *guild)
                    .collect();
                guild_ids.truncate(asked.limit as usize);
                ListUserGuildsResponse { guild_ids, as_of_us: self.as_of_us() }.encode_to_vec()
            }
            "GetGuild" => {
                let id = GetGuildRequest::decode(body).unwrap().guild_id;
                let guild = state.guilds.get(&id).cloned().ok_or_else(|| ConnectError::not_found("guild"))?;
                let last_message_ids = guild.channels.iter().map(|row| newest(&state, row.id)).collect();
                let as_of_us = self.as_of_us();
                GetGuildResponse { state: Some(guild), as_of_us, last_message_ids }.encode_to_vec()
            }
            "GetMember" => {
                self.members_asked.fetch_add(1, Ordering::Relaxed);
                let asked = GetMemberRequest::decode(body).unwrap();
                let member = state.members.get(&(asked.guild_id, asked.user_id)).cloned();
                let member = member.ok_or_else(|| ConnectError::not_found("member"))?;
                let user = state.users.get(&asked.user_id).cloned();
                GetMemberResponse { member: Some(member), user }.encode_to_vec()
            }
            "ListMembers" => {
                self.lists.asked.fetch_add(1, Ordering::Relaxed);
                if self.lists.fail.load(Ordering::Relaxed) {
                    return Err(ConnectError::not_found("guild"));
                }
                let asked = ListMembersRequest::decode(body).unwrap();
                let members: Vec<Member> = state
                    .members
                    .range((asked.guild_id, asked.after + 1)..=(asked.guild_id, u64::MAX))
                    .take(asked.limit as usize)
                    .map(|(_, member)| member.clone())
                    .collect();
                let users = members.iter().filter_map(|m| state.users.get(&m.user_id).cloned()).collect();
                ListMembersResponse { members, users }.encode_to_vec()
            }
            "ListChanges" => {
                let asked = ListChangesRequest::decode(body).unwrap();
                let all = state.outbox.get(&asked.scope_id).map(Vec::as_slice).unwrap_or_default();
                let rebuilt = rebuilt(all, asked.after_rev);
                let records = rebuilt.iter().take(asked.limit as usize).map(|r| r.encode_to_vec()).collect();
                let truncated = asked.after_rev < state.outbox_floor;
                ListChangesResponse { records, more: rebuilt.len() > asked.limit as usize, truncated }
                    .encode_to_vec()
            }
            other => panic!("the gateway does not call {other}"),
        })
    }
}
