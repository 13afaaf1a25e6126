//! The event bus: how records travel from the data service to gateways.
//!
//! - [`publish`]: the data service's side.
//! - [`inbox`]: the gateway's side, a log of dense positions that it can follow and read again.
//! - [`session`]: sessions kept beside the log, so that RESUME can outlive a process.
//! - [`ring`]: the newest records of a log in memory, which every inbox reads from.
//! - [`memory`]: a bounded log in one process. The durable log of the embedded store implements the same
//!   traits in weir-store.
//! - [`redis`]: between machines: one stream for each gateway.
//!
//! The bus carries records and remembers nothing: the outbox in the database is the truth. A bus that is down
//! delays delivery, never an acknowledgement.

pub mod inbox;
pub mod memory;
pub mod publish;
pub mod redis;
pub mod ring;
pub mod session;

pub use inbox::{Batch, EPHEMERAL_MAX, Inbox, InboxError, Position};
pub use publish::{EventBus, Outgoing, PublishError, Published, Topic};
pub use ring::RecordRing;
pub use session::{SessionRow, SessionStore, SessionStoreError};
