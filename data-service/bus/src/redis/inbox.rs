//! The gateway's side: the records that its sessions read, and the topics that it asks for.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::{Pool, redis};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};

use super::{RedisConfig, RedisError, config::random_word, reader::Reader, scripts::Scripts, shared::Shared};
use crate::{Batch, Inbox, InboxError, Position, RecordRing, Topic};

/// A gateway's inbox on Redis. Its positions begin at 1 when the process starts and end with the process.
pub struct RedisInbox {
    shared: Arc<Shared>,
    config: RedisConfig,
    pool: Pool,
    reader: JoinHandle<()>,
}

impl std::fmt::Debug for RedisInbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisInbox").field("id", &*self.shared.id.borrow()).finish_non_exhaustive()
    }
}

impl RedisInbox {
    /// Starts an inbox and its reader, on the runtime it is called in. Redis need not be there yet.
    ///
    /// # Errors
    /// [`RedisError`]
    pub fn start(config: RedisConfig) -> Result<Arc<Self>, RedisError> {
        // Proves that ids can be made. The reader makes more of them later, and could do nothing but wait if
        // that failed.
        random_word()?;
        let pool = config.pool()?;
        let shared = Arc::new(Shared {
            ring: RecordRing::new(0, config.ring_records_max, config.ring_bytes_max),
            scripts: Scripts::new(),
            interest: Mutex::default(),
            id: watch::Sender::new(None),
            connected: AtomicBool::new(false),
        });
        let reader = Reader::new(shared.clone(), config.clone(), config.client()?);
        let reader = tokio::spawn(reader.run());
        Ok(Arc::new(Self { shared, config, pool, reader }))
    }

    /// Whether Redis knows this gateway, as far as its reader has seen.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.shared.id.borrow().is_some()
    }

    /// Whether Redis answers and knows this gateway. The reader's view may be about two seconds old, which is
    /// the time for its longest question.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.registered() && self.shared.connected.load(Ordering::Acquire)
    }

    /// Waits until Redis knows this gateway for the first time.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait_registered(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.shared.id.subscribe().wait_for(Option::is_some).await;
    }

    /// Removes this gateway from Redis at once, instead of leaving that to the expiry of its keys. Nothing is
    /// read afterwards.
    pub async fn close(&self) {
        self.reader.abort();
        let Some(id) = self.shared.id.borrow().clone() else { return };
        let prefix = &self.config.prefix;
        let keys = ["gateway", "inbox", "count"].map(|kind| format!("{prefix}{kind}:{id}"));
        let forgotten = self.command(redis::cmd("DEL").arg(&keys)).await;
        if let Err(error) = forgotten {
            tracing::debug!(%error, "the gateway's keys will expire by themselves");
        }
    }

    async fn command(&self, command: &redis::Cmd) -> Result<(), InboxError> {
        let unavailable = |reason: String| InboxError::Unavailable { reason };
        let run = async {
            let mut connection = self.pool.get().await.map_err(|error| unavailable(error.to_string()))?;
            command.query_async::<()>(&mut connection).await.map_err(|error| unavailable(error.to_string()))
        };
        let elapsed = || unavailable(format!("no answer within {:?}", self.config.timeout));
        tokio::time::timeout(self.config.timeout, run).await.unwrap_or_else(|_| Err(elapsed()))
    }

    /// Registers an interest in Redis under this gateway id. Gives false if Redis does not know the id.
    async fn register_interest(&self, id: &str, topic: Topic) -> Result<bool, InboxError> {
        let unavailable = |reason: String| InboxError::Unavailable { reason };
        let mut call = self.shared.scripts.interest.prepare_invoke();
        call.arg(&self.config.prefix).arg(id).arg(topic.get());
        let registered = async {
            let mut connection = self.pool.get().await.map_err(|error| unavailable(error.to_string()))?;
            call.invoke_async::<bool>(&mut connection).await.map_err(|error| unavailable(error.to_string()))
        };
        let elapsed = || unavailable(format!("no answer within {:?}", self.config.timeout));
        tokio::time::timeout(self.config.timeout, registered).await.unwrap_or_else(|_| Err(elapsed()))
    }
}

impl Drop for RedisInbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[async_trait]
impl Inbox for RedisInbox {
    fn head(&self) -> Position {
        self.shared.ring.head()
    }

    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        self.shared.ring.read(after, max)
    }

    async fn wait(&self, after: Position) {
        self.shared.ring.wait(after).await;
    }

    /// Registers the interest: Redis has it when this returns. The topic is noted here first. If the reader
    /// registers anew meanwhile, it either takes the topic along, or Redis refuses the old id and the caller
    /// asks again.
    async fn add_interest(&self, topic: Topic) -> Result<(), InboxError> {
        self.shared.interest().insert(topic);
        let id = self.shared.id.borrow().clone();
        let known = match &id {
            Some(id) => self.register_interest(id, topic).await?,
            None => false,
        };
        if known && *self.shared.id.borrow() == id {
            return Ok(());
        }
        Err(InboxError::Unavailable { reason: "the gateway is being registered with Redis".to_owned() })
    }

    async fn remove_interest(&self, topic: Topic) {
        self.shared.interest().remove(&topic);
        let Some(id) = self.shared.id.borrow().clone() else { return };
        let key = format!("{}interest:{topic}", self.config.prefix);
        if let Err(error) = self.command(redis::cmd("SREM").arg(key).arg(id)).await {
            tracing::debug!(%error, topic = topic.get(), "records of the topic will come until the gateway registers again");
        }
    }

    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes> {
        self.shared.ring.subscribe_ephemeral()
    }

    fn durable(&self) -> bool {
        false
    }
}
