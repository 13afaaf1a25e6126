//! A bounded log in the memory of one process. It is the bus of `--bus memory` with a store that keeps no
//! log, and of tests.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::{
    Batch, EventBus, Inbox, InboxError, Outgoing, Position, PublishError, Published, RecordRing, SessionRow,
    SessionStore, SessionStoreError, Topic,
};

/// Records kept by default: at 1 KiB each 64 MiB, about a minute of 1,000 records a second. A guess, to be
/// measured.
pub const RECORDS_MAX: usize = 65_536;

/// Most bytes of records that are kept, however many records they are.
pub const BYTES_MAX: usize = 256 * 1024 * 1024;

/// The log, and sessions beside it. Both end with the process.
#[derive(Debug)]
pub struct MemoryBus {
    ring: RecordRing,
    sessions: Mutex<HashMap<String, Bytes>>,
}

impl MemoryBus {
    /// A log that keeps the newest `records_max` records, and at most [`BYTES_MAX`].
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { ring: RecordRing::new(0, records_max, BYTES_MAX), sessions: Mutex::default() }
    }

    /// Recovers a poisoned lock: it guards plain data that is consistent between any two statements.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, outgoing: Vec<Outgoing>) -> Result<Published, PublishError> {
        self.ring.append(outgoing.into_iter().map(|out| out.record).collect());
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, out: Outgoing) {
        self.ring.send_ephemeral(out.record);
    }
}

#[async_trait]
impl Inbox for MemoryBus {
    fn head(&self) -> Position {
        self.ring.head()
    }

    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        self.ring.read(after, max)
    }

    async fn wait(&self, after: Position) {
        self.ring.wait(after).await;
    }

    async fn add_interest(&self, _topic: Topic) -> Result<(), InboxError> {
        Ok(())
    }

    async fn remove_interest(&self, _topic: Topic) {}

    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes> {
        self.ring.subscribe_ephemeral()
    }

    fn durable(&self) -> bool {
        false
    }
}

#[async_trait]
impl SessionStore for MemoryBus {
    async fn put(&self, row: SessionRow) -> Result<(), SessionStoreError> {
        self.sessions().insert(row.id, row.state);
        Ok(())
    }

    async fn get(&self, id: &str) -> Result<Option<SessionRow>, SessionStoreError> {
        Ok(self.sessions().get(id).map(|state| SessionRow { id: id.to_owned(), state: state.clone() }))
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        self.sessions().remove(id);
        Ok(())
    }

    async fn list(&self, max: usize) -> Result<Vec<SessionRow>, SessionStoreError> {
        let sessions = self.sessions();
        Ok(sessions
            .iter()
            .take(max)
            .map(|(id, state)| SessionRow { id: id.clone(), state: state.clone() })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> Outgoing {
        Outgoing { topics: vec![Topic::All], record: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn published_records_are_read_in_order() {
        let bus = MemoryBus::new(8);
        bus.publish(vec![out("a"), out("b")]).await.expect("memory takes all");
        let batch = bus.read(0, 10).await.expect("kept");
        assert_eq!(batch.records, vec![(1, Bytes::from_static(b"a")), (2, Bytes::from_static(b"b"))]);
    }

    #[tokio::test]
    async fn ephemeral_records_take_no_position() {
        let bus = MemoryBus::new(2);
        bus.publish_ephemeral(out("nobody listens yet")).await;
        let mut typing = bus.subscribe_ephemeral();
        bus.publish_ephemeral(out("a")).await;
        assert_eq!(typing.recv().await.expect("sent"), Bytes::from_static(b"a"));
        assert_eq!(bus.head(), 0);
    }

    #[tokio::test]
    async fn sessions_are_kept_replaced_and_forgotten() {
        let bus = MemoryBus::new(1);
        let row = |state: &'static str| SessionRow {
            id: "s".to_owned(),
            state: Bytes::from_static(state.as_bytes()),
        };
        bus.put(row("old")).await.expect("memory takes all");
        bus.put(row("new")).await.expect("memory takes all");
        assert_eq!(bus.get("s").await.expect("memory answers"), Some(row("new")));
        assert_eq!(bus.list(10).await.expect("memory answers"), vec![row("new")]);
        bus.delete("s").await.expect("memory takes all");
        assert_eq!(bus.get("s").await.expect("memory answers"), None);
    }
}
