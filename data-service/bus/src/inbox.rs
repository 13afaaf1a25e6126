//! The gateway's side of the bus: a log of records with dense positions.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// Ephemeral records an inbox holds for a subscriber that is behind; the oldest are dropped first, and the subscriber is told how many.
/// A typing notice is worth a few seconds: 1,024 is about a second of a busy node. A guess, to be measured.
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
    /// Records above the asked position are gone: the log is bounded.
    #[error("records up to position {floor} are no longer kept")]
    Truncated {
        /// Reading from here works.
        floor: Position,
    },
    /// The bus does not answer. Try again; positions stay valid.
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

    /// Asks for the records of a topic: a guild, or a user for its memberships and direct messages. When it returns, every record committed afterwards comes to this inbox, so a snapshot read after it
    /// has no gap to the first record.
    ///
    /// # Errors
    /// [`InboxError::Unavailable`]: interest may or may not be registered; ask again.
    async fn add_interest(&self, topic: u64) -> Result<(), InboxError>;

    /// No longer asks for them. Records may still come for a while.
    async fn remove_interest(&self, topic: u64);

    /// Follows ephemeral records (typing) from now on: they have no position, are never read again, and a subscriber more than
    /// [`EPHEMERAL_MAX`] behind loses the oldest. They come beside the log, in no order with it.
    fn subscribe_ephemeral(&self) -> broadcast::Receiver<Bytes>;

    /// True if positions and records outlive this process, so that sessions may too.
    fn durable(&self) -> bool;
}
