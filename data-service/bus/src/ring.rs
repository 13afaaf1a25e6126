//! The newest records of a log, in memory: dense positions, bounded in records and bytes, any number of
//! readers.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::{Batch, EPHEMERAL_MAX, InboxError, Position};

/// Records, oldest first; the front has position `head - len + 1`.
#[derive(Debug, Default)]
struct Records {
    records: VecDeque<Bytes>,
    bytes: usize,
    /// Position of the newest record.
    head: Position,
}

impl Records {
    /// Greatest position that the ring has dropped.
    fn floor(&self) -> Position {
        self.head - self.records.len() as u64
    }
}

/// A ring of records that readers follow by position, and ephemeral records beside it.
#[derive(Debug)]
pub struct RecordRing {
    records: Mutex<Records>,
    records_max: usize,
    bytes_max: usize,
    /// Set after the records are in the ring, so that a waiter finds them.
    head: watch::Sender<Position>,
    ephemeral: broadcast::Sender<Bytes>,
}

impl RecordRing {
    /// An empty ring whose next record gets position `head + 1`. It keeps the newest `records_max` records
    /// (at least 1) of at most `bytes_max` bytes together.
    #[must_use]
    pub fn new(head: Position, records_max: usize, bytes_max: usize) -> Self {
        Self {
            records: Mutex::new(Records { head, ..Records::default() }),
            records_max: records_max.max(1),
            bytes_max,
            head: watch::Sender::new(head),
            ephemeral: broadcast::Sender::new(EPHEMERAL_MAX),
        }
    }

    /// Recovers a poisoned lock: it guards plain data that is consistent between any two statements.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records in order and wakes readers. Drops the oldest beyond the bounds.
    pub fn append(&self, added: Vec<Bytes>) {
        if added.is_empty() {
            return;
        }
        let mut ring = self.lock();
        ring.head += added.len() as u64;
        ring.bytes += added.iter().map(Bytes::len).sum::<usize>();
        ring.records.extend(added);
        while ring.records.len() > self.records_max || ring.bytes > self.bytes_max {
            let Some(oldest) = ring.records.pop_front() else { break };
            ring.bytes -= oldest.len();
        }
        // Under the lock, so that two appends announce their heads in order.
        self.head.send_replace(ring.head);
    }

    /// Notes that records were lost: one position stays empty, and every reader below it gets
    /// [`InboxError::Truncated`].
    pub fn skip(&self) {
        let mut ring = self.lock();
        ring.records.clear();
        ring.bytes = 0;
        ring.head += 1;
        self.head.send_replace(ring.head);
    }

    /// Position of the newest record.
    #[must_use]
    pub fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// At most `max` records above `after`; none if `after` is the head or beyond.
    ///
    /// # Errors
    /// [`InboxError::Truncated`] if records directly above `after` are gone.
    pub fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError> {
        let ring = self.lock();
        let floor = ring.floor();
        let Some(skip) = after.checked_sub(floor) else { return Err(InboxError::Truncated { floor }) };
        // The ring's length is a usize, so there is nothing to skip beyond that.
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let found = ring.records.iter().skip(skip).take(max);
        Ok(Batch { records: (after.saturating_add(1)..).zip(found.cloned()).collect() })
    }

    /// Waits until the head is above `after`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&self, after: Position) {
        let mut head = self.head.subscribe();
        // It cannot fail: the sender lives as long as `self`.
        let _ = head.wait_for(|head| *head > after).await;
    }

    /// Sends an ephemeral record to the present subscribers.
    pub fn send_ephemeral(&self, record: Bytes) {
        // An error means that there is no subscriber.
        let _ = self.ephemeral.send(record);
    }

    /// Subscribes to ephemeral records from now on.
    #[must_use]
    pub fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes> {
        self.ephemeral.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn read(ring: &RecordRing, after: Position) -> Result<Vec<(Position, Bytes)>, Position> {
        match ring.read(after, 5) {
            Ok(batch) => Ok(batch.records),
            Err(InboxError::Truncated { floor }) => Err(floor),
            Err(error @ InboxError::Unavailable { .. }) => panic!("a ring is always there: {error}"),
        }
    }

    #[test]
    fn positions_are_dense_and_a_trimmed_ring_says_so() {
        let ring = RecordRing::new(10, 2, 1_000);
        assert_eq!((read(&ring, 10), read(&ring, 9)), (Ok(vec![]), Err(10)));
        ring.append(vec![bytes("a"), bytes("b"), bytes("c")]);
        assert_eq!(ring.head(), 13);
        assert_eq!(read(&ring, 10), Err(11));
        assert_eq!(read(&ring, 11), Ok(vec![(12, bytes("b")), (13, bytes("c"))]));
        assert_eq!(read(&ring, 13), Ok(vec![]));
        assert_eq!(ring.read(11, 1).expect("kept").records, vec![(12, bytes("b"))]);
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_even_by_one_record() {
        let ring = RecordRing::new(0, 100, 4);
        ring.append(vec![bytes("abc"), bytes("de")]);
        assert_eq!(read(&ring, 1), Ok(vec![(2, bytes("de"))]));
        ring.append(vec![bytes("too long")]);
        assert_eq!((read(&ring, 2), read(&ring, 3)), (Err(3), Ok(vec![])));
    }

    #[test]
    fn a_loss_cuts_off_readers_that_were_caught_up_too() {
        let ring = RecordRing::new(0, 100, 1_000);
        ring.append(vec![bytes("a")]);
        ring.skip();
        assert_eq!((read(&ring, 0), read(&ring, 1), read(&ring, 2)), (Err(2), Err(2), Ok(vec![])));
        ring.append(vec![bytes("b")]);
        assert_eq!(read(&ring, 2), Ok(vec![(3, bytes("b"))]));
    }

    #[tokio::test]
    async fn a_waiter_wakes_on_an_append_and_returns_at_once_below_the_head() {
        let ring = std::sync::Arc::new(RecordRing::new(0, 8, 1_000));
        let waiter = tokio::spawn({
            let ring = ring.clone();
            async move { ring.wait(0).await }
        });
        tokio::task::yield_now().await;
        ring.append(vec![bytes("a")]);
        waiter.await.expect("woken");
        ring.wait(0).await;
    }
}
