//! The data service's side of the bus.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use weir_proto::id::{GuildId, UserId};

/// What a record is published under, and what a gateway asks for. It prints as its number, which is its name
/// between machines: 0, or the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Every gateway with a session follows it. No id is 0.
    All,
    /// A guild.
    Guild(GuildId),
    /// A user: its memberships and direct messages.
    User(UserId),
}

impl Topic {
    /// The raw number.
    #[must_use]
    pub fn get(self) -> u64 {
        match self {
            Self::All => 0,
            Self::Guild(id) => id.get(),
            Self::User(id) => id.get(),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A record on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// A gateway with interest in any of them gets the record, once.
    pub topics: Vec<Topic>,
    /// An encoded `weir.event.v1.Record`, opaque to the bus.
    pub record: Bytes,
}

/// What the bus found out while it published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The bus holds everything that this process published before.
    Kept,
    /// Records may be missing since this process last published: the bus restarted without its memory, or a
    /// gateway was away for so long that the bus had forgotten it. The caller must publish the recovered
    /// window again.
    Lost,
}

/// Why records could not be handed to the bus. It is always safe to publish the same records again: consumers
/// drop those that they have.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The bus does not answer; the records may or may not have been taken.
    #[error("the event bus does not answer: {reason}")]
    Unavailable {
        /// What the transport said.
        reason: String,
    },
}

/// The bus to which the data service hands its records.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// Hands over records in order. The caller publishes one scope's records one call after another, so their
    /// order is that of the scope's revisions. An empty call carries nothing, but its reply still says
    /// whether records may be missing. A process that has nothing to publish makes one each second: otherwise
    /// it would not learn of a loss before its next record.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`]: keep the scope's last published revision and publish again from the
    /// outbox later.
    ///
    /// # Cancel safety
    /// A dropped call may have published a prefix.
    async fn publish(&self, records: Vec<Outgoing>) -> Result<Published, PublishError>;

    /// Hands over an ephemeral record (typing). Nothing keeps it: if the bus is down or a gateway is slow,
    /// the record is lost without notice.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have published.
    async fn publish_ephemeral(&self, out: Outgoing);

    /// True if the store's own commit already made the records durable in the log that gateways read, so that
    /// nothing needs recovery.
    fn committed_with_store(&self) -> bool {
        false
    }
}
