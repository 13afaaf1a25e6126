//! The bus between machines, on Redis Streams.
//!
//! | key | what it is |
//! |--|--|
//! | `epoch` | a random word; a publisher that sees another one than before knows that records may be missing |
//! | `gateway:{id}` | exists while the gateway lives; expires |
//! | `interest:{topic}` | ids of gateways with sessions of the guild or user |
//! | `inbox:{id}` | the stream of one gateway: entries `1-0`, `2-0`, … without gaps, so that a gap shows |
//! | `count:{id}` | number of the newest entry |
//!
//! A publisher hands a batch to Redis in one script (`publisher`): the script reads which gateways have
//! interest and adds to their inboxes in one step. A gateway (`inbox`) registers under a random id, and
//! follows its stream on a connection of its own (`reader`) into a ring in memory.
//!
//! **When records may be missing.** Redis remembers nothing that the outbox does not hold. A gateway that
//! Redis no longer knows (Redis restarted empty, failed over to an older copy, or the gateway was away for
//! longer than its key lives) registers under a new id, registers all its interests again, and only then sets
//! a new epoch. So every publisher learns at its next call, an empty one included, that it must publish its
//! recovered window again, and by then the gateway listens. If the gateway was away for longer than that
//! window reaches back, or its own inbox overflowed, its readers are cut off instead
//! ([`RecordRing::skip`](crate::RecordRing::skip)): no reader is left with a gap that does not show.
//!
//! The scripts touch keys of many slots, so the bus works on one primary (with replicas or Sentinel), not on
//! Redis Cluster.

mod config;
mod inbox;
mod publisher;
mod reader;
mod scripts;
mod shared;

pub use config::{RedisConfig, RedisError};
pub use inbox::RedisInbox;
pub use publisher::RedisBus;
