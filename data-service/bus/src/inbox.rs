//! The gateway's side of the bus: a log of records with dense positions.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::Topic;

/// Ephemeral records that an inbox holds for a subscriber that is behind. The oldest are dropped first, and
/// the subscriber learns how many. A typing notice is worth a few seconds: 1,024 is about a second of a busy
/// node. A guess, to be measured.
pub const EPHEMERAL_MAX: usize = 1_024;

/// Place of a record in an inbox: 1 for the first, then without gaps. 0 is before the first.
pub type Position = u64;

/// Records read from an inbox, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Position and encoded `weir.event.v1.Record`.
    pub records: Vec<(Position, Bytes)>,
}

/// Why an inbox could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InboxError {
    /// Records directly above the asked position are gone, because the log is bounded.
    #[error("records up to position {floor} are no longer kept")]
    Truncated {
        /// The log can be read from this position on.
        floor: Position,
    },
    /// The bus does not answer. The caller may try again; positions stay valid.
    #[error("the event bus does not answer: {reason}")]
    Unavailable {
        /// What the transport said.
        reason: String,
    },
}

/// A gateway's inbox.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Position of the newest record that can be read.
    fn head(&self) -> Position;

    /// Reads at most `max` records (1 to 4,096) above `after`; an empty batch if there are none.
    ///
    /// # Errors
    /// [`InboxError::Truncated`] if records directly above `after` are gone.
    ///
    /// # Cancel safety
    /// Safe: reading changes nothing.
    async fn read(&self, after: Position, max: usize) -> Result<Batch, InboxError>;

    /// Waits until [`head`](Self::head) is above `after`.
    ///
    /// # Cancel safety
    /// Safe.
    async fn wait(&self, after: Position);

    /// Asks for the records of a topic. When it returns, every record committed afterwards comes to this
    /// inbox, so a snapshot read after it has no gap to the first record.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: interest may or may not be registered; ask again.
    async fn add_interest(&self, topic: Topic) -> Result<(), InboxError>;

    /// Withdraws the interest. Records of the topic may still come for a while.
    async fn remove_interest(&self, topic: Topic);

    /// Subscribes to ephemeral records (typing) from now on. They have no position, are never read again, and
    /// arrive beside the log, in no order with it. A subscriber that is more than [`EPHEMERAL_MAX`] behind
    /// loses the oldest.
    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes>;

    /// True if positions and records outlive this process, so that sessions may outlive it too.
    fn durable(&self) -> bool;
}
