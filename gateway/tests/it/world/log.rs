//! The log of the world, and the sessions beside it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use weir_bus::{Batch, Inbox, InboxError, Position, SessionStore, Topic, memory::MemoryBus};
use weir_proto::id::{GuildId, UserId};

/// The topics of a record: its guild, or the users of its direct message.
pub(super) fn topics(guild_id: u64, recipient_ids: &[u64]) -> Vec<Topic> {
    match GuildId::try_from(guild_id) {
        Ok(guild_id) => vec![Topic::Guild(guild_id)],
        Err(_) => recipient_ids.iter().map(|id| Topic::User(UserId::try_from(*id).unwrap())).collect(),
    }
}

/// The inbox of a test: a memory log that may claim to outlive the process.
pub(crate) struct TestLog {
    pub(crate) log: MemoryBus,
    pub(super) durable: bool,
}

#[async_trait]
impl Inbox for TestLog {
    fn head(&self) -> Position {
        self.log.head()
    }
    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        self.log.read(after, max).await
    }
    async fn wait(&self, after: Position) {
        self.log.wait(after).await;
    }
    async fn add_interest(&self, topic: Topic) -> Result<(), InboxError> {
        self.log.add_interest(topic).await
    }
    async fn remove_interest(&self, topic: Topic) {
        self.log.remove_interest(topic).await;
    }
    fn subscribe_ephemeral(&self) -> tokio::sync::broadcast::Receiver<Bytes> {
        self.log.subscribe_ephemeral()
    }
    fn durable(&self) -> bool {
        self.durable
    }
}

/// The session store beside the log.
pub(super) struct Sessions(pub(super) Arc<TestLog>);

#[async_trait]
impl SessionStore for Sessions {
    async fn put(&self, row: weir_bus::SessionRow) -> Result<(), weir_bus::SessionStoreError> {
        self.0.log.put(row).await
    }
    async fn get(&self, id: &str) -> Result<Option<weir_bus::SessionRow>, weir_bus::SessionStoreError> {
        self.0.log.get(id).await
    }
    async fn delete(&self, id: &str) -> Result<(), weir_bus::SessionStoreError> {
        self.0.log.delete(id).await
    }
    async fn list(&self, max: usize) -> Result<Vec<weir_bus::SessionRow>, weir_bus::SessionStoreError> {
        self.0.log.list(max).await
    }
}
