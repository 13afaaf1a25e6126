//! The event log as the bus of one machine, with the sessions beside it.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;
use weir_bus::{
    Batch, EventBus, Inbox, InboxError, Outgoing, Position, PublishError, Published, SessionRow,
    SessionStore, SessionStoreError, Topic,
};

use super::{EmbeddedStore, committer::Act, tables::Table};
use crate::{ReadError, WriteError};

/// Bytes of a session's row beside its id and state. Only the committer's bounds use it.
const SESSION_ROW_BYTES: usize = 32;

fn inbox_error(error: ReadError) -> InboxError {
    InboxError::Unavailable { reason: error.to_string() }
}

fn unread(error: ReadError) -> SessionStoreError {
    SessionStoreError::Unavailable { reason: error.to_string() }
}

fn unwritten(error: WriteError) -> SessionStoreError {
    SessionStoreError::Unavailable { reason: error.to_string() }
}

#[async_trait]
impl EventBus for EmbeddedStore {
    /// Does nothing: the commit that made the records durable also put them into the log and woke its
    /// readers.
    async fn publish(&self, _records: Vec<Outgoing>) -> Result<Published, PublishError> {
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, out: Outgoing) {
        self.log.send_ephemeral(out.record);
    }

    fn committed_with_store(&self) -> bool {
        true
    }
}

#[async_trait]
impl Inbox for EmbeddedStore {
    fn head(&self) -> Position {
        self.log.head()
    }

    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        // The ring serves readers that keep up; records that it has dropped may still be in the tree.
        if let Ok(batch) = self.log.read(after, max) {
            return Ok(batch);
        }
        let head = self.log.head();
        let (records, floor) = self
            .readers
            .read(move |view| Ok((view.events(after, max)?, view.log_floor()?)))
            .await
            .map_err(inbox_error)?;
        match records.first() {
            Some((first, _)) if *first == after + 1 => Ok(Batch { records }),
            _ if after < floor => Err(InboxError::Truncated { floor }),
            _ => Err(InboxError::Unavailable {
                reason: format!(
                    "the log has no record at position {} although its head is {head}",
                    after + 1
                ),
            }),
        }
    }

    async fn wait(&self, after: Position) {
        self.log.wait(after).await;
    }

    /// Does nothing: every record is in the machine's one log.
    async fn add_interest(&self, _topic: Topic) -> Result<(), InboxError> {
        Ok(())
    }

    async fn remove_interest(&self, _topic: Topic) {}

    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes> {
        self.log.subscribe_ephemeral()
    }

    fn durable(&self) -> bool {
        true
    }
}

#[async_trait]
impl SessionStore for EmbeddedStore {
    async fn put(&self, row: SessionRow) -> Result<(), SessionStoreError> {
        let bytes = row.id.len() + row.state.len() + SESSION_ROW_BYTES;
        let act = Act::Set(Table::Sessions, vec![(row.id.into_bytes(), Some(row.state))]);
        self.write(act, bytes).await.map(drop).map_err(unwritten)
    }

    async fn get(&self, id: &str) -> Result<Option<SessionRow>, SessionStoreError> {
        let id = id.to_owned();
        let key = id.clone();
        let state = self
            .readers
            .read(move |view| view.small(Table::Sessions, key.as_bytes()))
            .await
            .map_err(unread)?;
        Ok(state.map(|state| SessionRow { id, state }))
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        let act = Act::Set(Table::Sessions, vec![(id.as_bytes().to_vec(), None)]);
        self.write(act, SESSION_ROW_BYTES).await.map(drop).map_err(unwritten)
    }

    async fn list(&self, max: usize) -> Result<Vec<SessionRow>, SessionStoreError> {
        let rows =
            self.readers.read(move |view| view.under(Table::Sessions, &[], max)).await.map_err(unread)?;
        rows.into_iter()
            .map(|(id, state)| {
                let id = String::from_utf8(id);
                let id = id.map_err(|_| SessionStoreError::Unavailable {
                    reason: "a session's id is not text".to_owned(),
                })?;
                Ok(SessionRow { id, state })
            })
            .collect()
    }
}
