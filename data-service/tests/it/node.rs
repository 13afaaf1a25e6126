//! A data service under test, with its whole environment.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use weir_bus::EventBus;
use weir_data_client::{CallOptions, DataClient, DataError, transport::InProcess};
use weir_data_service::{
    clock::{Clock, SystemClock},
    node::{DataService, DataServiceConfig, Parts},
    ownership::{Ownership, WholeStore},
};
use weir_proto::{
    admin::{BeginImportResponse, WriteImportRequest},
    data::{
        Channel, CreateGuildRequest, CreateMessageRequest, CreateUserRequest, DeleteMessageRequest,
        DeleteMessagesRequest, DeleteMessagesResponse, EditMessageRequest, EventContext, GetMessageRequest,
        Guild, ImportMessagesRequest, ListMessagesRequest, Member, Message, User,
    },
    id::IMPORT_WORKER,
};
use weir_runtime::{Readiness, Registry};
use weir_store::{
    Store,
    embedded::{EmbeddedConfig, EmbeddedStore},
};

use crate::{
    fake_bus::FakeBus,
    fake_store::FakeStore,
    ownership::{FakeOwnership, TestClock},
};

/// A running data service and its client.
pub(crate) struct Node {
    pub(crate) service: Arc<DataService>,
    pub(crate) client: DataClient,
    pub(crate) stop: CancellationToken,
    pub(crate) registry: Registry,
    pub(crate) readiness: Readiness,
}

impl Node {
    pub(crate) async fn open(config: DataServiceConfig, parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let (registry, readiness) = (parts.registry.clone(), parts.readiness.clone());
        let service = DataService::open(config, parts, stop.clone()).await.expect("opens");
        let client = DataClient::new(Arc::new(InProcess::new(service.admin_dispatch())));
        Self { service, client, stop, registry, readiness }
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.service.closed().await;
    }

    /// A guild with one channel and one member.
    pub(crate) async fn place(&self) -> Place {
        place(&self.client).await
    }
}

/// A guild, its first channel, and a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) guild: u64,
    pub(crate) channel: u64,
    pub(crate) user: u64,
}

/// Makes a guild with one channel and one member.
pub(crate) async fn place(client: &DataClient) -> Place {
    let user = User { username: "ada".into(), ..User::default() };
    let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
    let user = client.create_user(&request, &options()).await.expect("a user").message.user.unwrap().id;
    let request = CreateGuildRequest {
        guild: Some(Guild { name: "g".into(), owner_id: user, ..Guild::default() }),
        channels: vec![Channel { name: "c".into(), ..Channel::default() }],
        members: vec![Member { user_id: user, ..Member::default() }],
        ..CreateGuildRequest::default()
    };
    let made = client.create_guild(&request, &options()).await.expect("a guild").message.state.unwrap();
    Place { guild: made.guild.unwrap().id, channel: made.channels[0].id, user }
}

/// The `number`th id of an import's rows from a millisecond on, which counts from the snowflake's epoch.
pub(crate) fn imported(ms: u64, number: u64) -> u64 {
    (ms + (number >> 12)) << 22 | u64::from(IMPORT_WORKER) << 12 | number & 4_095
}

/// The hash of the file whose rows tests import.
const FILE: [u8; 32] = [1; 32];

/// Begins the file's job with channels that are there already; with others if it was begun before.
pub(crate) async fn begin_import(store: &dyn Store, channel_ids: Vec<u64>) {
    let begun = BeginImportResponse { channel_ids, ..BeginImportResponse::default() };
    store.write_setting("import", &FILE, Some(begun.encode_to_vec().into())).await.expect("a job");
}

/// Imports batches of rows into one of the job's channels, all at once; how many rows were written.
pub(crate) async fn import(
    client: &DataClient,
    channel_id: u64,
    batches: impl IntoIterator<Item = Vec<Message>>,
) -> Result<u64, DataError> {
    let batch = |messages| ImportMessagesRequest { channel_id, messages }.encode_to_vec();
    let batches = batches.into_iter().map(batch).collect();
    let request = WriteImportRequest { job: FILE.into(), batches, lines_done: 0 };
    Ok(client.write_import(&request, &options()).await?.message.written)
}

/// Options with a deadline far away.
pub(crate) fn options() -> CallOptions {
    CallOptions::within(Duration::from_secs(60))
}

/// Which rows a page is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Latest,
    Before(u64),
    After(u64),
    Around(u64),
}

pub(crate) fn page_of(channel_id: u64, at: At, limit: u32) -> ListMessagesRequest {
    let mut request = ListMessagesRequest { channel_id, limit, ..ListMessagesRequest::default() };
    match at {
        At::Latest => {}
        At::Before(id) => request.before = Some(id),
        At::After(id) => request.after = Some(id),
        At::Around(id) => request.around = Some(id),
    }
    request
}

/// A create whose guild is told along, as the api does it.
pub(crate) fn create_in(place: Place, content: &str) -> CreateMessageRequest {
    let message = Message {
        channel_id: place.channel,
        author_id: place.user,
        content: content.into(),
        ..Message::default()
    };
    let context = EventContext { guild_id: place.guild, ..EventContext::default() };
    CreateMessageRequest { message: Some(message), context: Some(context), ..CreateMessageRequest::default() }
}

/// The calls that most tests make, short.
pub(crate) struct Talk<'a>(pub(crate) &'a DataClient, pub(crate) Place);

impl Talk<'_> {
    pub(crate) async fn create(&self, content: &str) -> Result<Message, DataError> {
        let reply = self.0.create_message(&create_in(self.1, content), &options()).await?;
        Ok(reply.message.message.unwrap())
    }

    pub(crate) async fn edit(&self, id: u64, content: &str) -> Result<Message, DataError> {
        let request = EditMessageRequest {
            channel_id: self.1.channel,
            message_id: id,
            content: Some(content.into()),
            context: Some(EventContext { guild_id: self.1.guild, ..EventContext::default() }),
            ..EditMessageRequest::default()
        };
        Ok(self.0.edit_message(&request, &options()).await?.message.message.unwrap())
    }

    pub(crate) async fn delete(&self, id: u64) -> Result<u64, DataError> {
        let context = Some(EventContext { guild_id: self.1.guild, ..EventContext::default() });
        let request = DeleteMessageRequest { channel_id: self.1.channel, message_id: id, context };
        Ok(self.0.delete_message(&request, &options()).await?.message.rev)
    }

    pub(crate) async fn delete_together(&self, ids: &[u64]) -> Result<DeleteMessagesResponse, DataError> {
        let context = Some(EventContext { guild_id: self.1.guild, ..EventContext::default() });
        let request =
            DeleteMessagesRequest { channel_id: self.1.channel, message_ids: ids.to_vec(), context };
        Ok(self.0.delete_messages(&request, &options()).await?.message)
    }

    pub(crate) async fn list(&self, at: At, limit: u32) -> Result<Vec<Message>, DataError> {
        let request = page_of(self.1.channel, at, limit);
        Ok(self.0.list_messages(&request, &options()).await?.message.messages)
    }

    pub(crate) async fn contents(&self, at: At, limit: u32) -> Vec<String> {
        let rows = self.list(at, limit).await.expect("a page");
        rows.into_iter().map(|row| row.content).collect()
    }

    pub(crate) async fn get(&self, id: u64) -> Result<Option<Message>, DataError> {
        let request = GetMessageRequest { channel_id: self.1.channel, message_id: id, viewer_id: 0 };
        match self.0.get_message(&request, &options()).await {
            Ok(reply) => Ok(reply.message.message),
            Err(DataError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The scripted surroundings, which outlive the nodes that are started in them.
pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) bus: Arc<FakeBus>,
    pub(crate) ownership: Arc<FakeOwnership>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = TestClock::new();
        let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, seed);
        Self { clock, store, bus: FakeBus::new(), ownership: FakeOwnership::new(1) }
    }

    /// New surroundings with a node.
    pub(crate) async fn with_node(seed: u64) -> (Self, Node) {
        let world = Self::new(seed);
        let node = world.node().await;
        (world, node)
    }

    /// New surroundings with a node, and in it a guild with one channel and one member.
    pub(crate) async fn with_place(seed: u64) -> (Self, Node, Place) {
        let (world, node) = Self::with_node(seed).await;
        let place = node.place().await;
        (world, node, place)
    }

    /// New surroundings, a channel with 60 messages, and a node that never saw it.
    pub(crate) async fn with_cold_place(seed: u64) -> (Self, Node, Place) {
        let (world, writer, place) = Self::with_place(seed).await;
        for index in 0..60 {
            Talk(&writer.client, place).create(&format!("m{index}")).await.unwrap();
        }
        let node = world.node().await;
        // What a node reads for itself when it starts is over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        (world, node, place)
    }

    /// A node in these surroundings.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(small()).await
    }

    pub(crate) async fn node_with(&self, config: DataServiceConfig) -> Node {
        self.node_as(config, Arc::clone(&self.ownership) as _, Arc::clone(&self.clock) as _).await
    }

    /// A node with an ownership and a clock of its own.
    pub(crate) async fn node_as(
        &self,
        config: DataServiceConfig,
        ownership: Arc<dyn Ownership>,
        clock: Arc<dyn Clock>,
    ) -> Node {
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            bus: Arc::clone(&self.bus) as Arc<dyn EventBus>,
            ownership,
            clock,
            mint_above_us: 0,
            registry: Registry::new(),
            readiness: Readiness::default(),
        };
        Node::open(config, parts).await
    }
}

impl World {
    /// The node's process is killed at this moment; the next one finds what is in the database and the bus.
    pub(crate) fn crash(&mut self) {
        self.store.kill();
        self.bus.kill();
        self.store = self.store.fork();
        self.bus = self.bus.fork();
    }
}

/// A configuration that costs little memory.
pub(crate) fn small() -> DataServiceConfig {
    DataServiceConfig {
        cache_bytes: 4 << 20,
        limit_slots: 1_024,
        generation_cells: 1 << 10,
        ..DataServiceConfig::default()
    }
}

/// A node over an embedded store in `directory`, whose log is the bus.
pub(crate) async fn embedded(directory: &std::path::Path) -> (Node, Arc<EmbeddedStore>) {
    let store = open(directory).await;
    let bus = Arc::clone(&store) as Arc<dyn EventBus>;
    (over(&store, bus).await, store)
}

/// An embedded store in `directory`.
pub(crate) async fn open(directory: &std::path::Path) -> Arc<EmbeddedStore> {
    let config = EmbeddedConfig::new(directory);
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(config)).await.unwrap();
    opened.expect("an embedded store")
}

/// A node over an embedded store and any bus.
pub(crate) async fn over(store: &Arc<EmbeddedStore>, bus: Arc<dyn EventBus>) -> Node {
    let parts = Parts {
        store: Arc::clone(store) as Arc<dyn Store>,
        bus,
        ownership: WholeStore::new(0),
        clock: Arc::new(SystemClock),
        mint_above_us: 0,
        registry: Registry::new(),
        readiness: Readiness::default(),
    };
    Node::open(small(), parts).await
}
