//! A bounded log in the memory of one process: the bus of `--bus memory` with a store that keeps no log, and of tests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, broadcast};

use crate::{
    Batch, EPHEMERAL_MAX, EventBus, Inbox, InboxError, Outgoing, Position, PublishError, Published, SessionRow, SessionStore,
    SessionStoreError,
};

/// Records kept by default: at 1 KiB each 64 MiB, about a minute of 1,000 records a second. A guess, to be measured.
pub const RECORDS_MAX: usize = 65_536;

/// The log, and sessions beside it. Both end with the process.
#[derive(Debug)]
pub struct MemoryBus {
    /// Oldest first; the front has position `head - len + 1`.
    records: Mutex<VecDeque<Bytes>>,
    /// Position of the newest record; written under the lock of `records`, read without it.
    head: AtomicU64,
    appended: Notify,
    records_max: usize,
    ephemeral: broadcast::Sender<Bytes>,
    sessions: Mutex<HashMap<String, Bytes>>,
}

/// A lock whose holder panicked guards plain data that is whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryBus {
    /// A log that keeps the newest `records_max` records.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self {
            records: Mutex::new(VecDeque::new()),
            head: AtomicU64::new(0),
            appended: Notify::new(),
            records_max: records_max.max(1),
            ephemeral: broadcast::Sender::new(EPHEMERAL_MAX),
            sessions: Mutex::new(HashMap::new()),
        }
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, outgoing: Vec<Outgoing>) -> Result<Published, PublishError> {
        {
            let mut records = lock(&self.records);
            let count = outgoing.len() as u64;
            records.extend(outgoing.into_iter().map(|out| out.record));
            while records.len() > self.records_max {
                records.pop_front();
            }
            self.head.fetch_add(count, Ordering::Release);
        }
        self.appended.notify_waiters();
        Ok(Published::Kept)
    }

    async fn publish_ephemeral(&self, out: Outgoing) {
        // An error means that nobody listens now.
        let _ = self.ephemeral.send(out.record);
    }
}

#[async_trait]
impl Inbox for MemoryBus {
    fn head(&self) -> Position {
        self.head.load(Ordering::Acquire)
    }

    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        let records = lock(&self.records);
        let head = self.head();
        let floor = head - records.len() as u64;
        if after < floor {
            return Err(InboxError::Truncated { floor });
        }
        // `after - floor` is at most the ring's length, which is a usize.
        let skip = (after - floor) as usize;
        let found = records.iter().skip(skip).take(max);
        Ok(Batch { records: (after + 1..).zip(found.cloned()).collect() })
    }

    async fn wait(&self, after: Position) {
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            // Registered before the look at the head, so an append between the two is not missed.
            appended.as_mut().enable();
            if self.head() > after {
                return;
            }
            appended.await;
        }
    }

    async fn add_interest(&self, _guild_id: u64) -> Result<(), InboxError> {
        Ok(())
    }

    async fn remove_interest(&self, _guild_id: u64) {}

    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes> {
        self.ephemeral.subscribe()
    }

    fn durable(&self) -> bool {
        false
    }
}

#[async_trait]
impl SessionStore for MemoryBus {
    async fn put(&self, row: SessionRow) -> Result<(), SessionStoreError> {
        lock(&self.sessions).insert(row.id, row.state);
        Ok(())
    }

    async fn get(&self, id: &str) -> Result<Option<SessionRow>, SessionStoreError> {
        Ok(lock(&self.sessions).get(id).map(|state| SessionRow { id: id.to_owned(), state: state.clone() }))
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        lock(&self.sessions).remove(id);
        Ok(())
    }

    async fn list(&self, max: usize) -> Result<Vec<SessionRow>, SessionStoreError> {
        let sessions = lock(&self.sessions);
        Ok(sessions.iter().take(max).map(|(id, state)| SessionRow { id: id.clone(), state: state.clone() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> Outgoing {
        Outgoing { guild_id: 1, record: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn positions_are_dense_and_a_trimmed_log_says_so() {
        let bus = MemoryBus::new(2);
        bus.publish(vec![out("a"), out("b"), out("c")]).await.expect("memory takes all");
        assert_eq!(bus.head(), 3);
        assert!(matches!(bus.read(0, 10).await, Err(InboxError::Truncated { floor: 1 })));
        let batch = bus.read(1, 10).await.expect("kept");
        assert_eq!(batch.records, vec![(2, Bytes::from_static(b"b")), (3, Bytes::from_static(b"c"))]);
        assert!(bus.read(3, 10).await.expect("the head itself").records.is_empty());
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
    async fn a_waiter_wakes_on_an_append_and_returns_at_once_below_the_head() {
        let bus = std::sync::Arc::new(MemoryBus::new(8));
        let waiter = tokio::spawn({
            let bus = bus.clone();
            async move { bus.wait(0).await }
        });
        tokio::task::yield_now().await;
        bus.publish(vec![out("a")]).await.expect("memory takes all");
        waiter.await.expect("woken");
        bus.wait(0).await;
    }
}
