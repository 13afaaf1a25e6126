//! Reads: let in, answered from memory or by a shared read of the database, put together to pages.
//!
//! A page of history is put together from partitions: the tail of a warm channel answers at once; otherwise
//! each (channel, bucket) that the page touches is read through the protection layer, so that two callers
//! whose pages share a partition share its read.
//!
//! - [`pipeline`]: the order of the gates; nothing is read without what its first two return.
//! - [`query`]: what lies behind the gates; `tails`: what answers before them.
//! - [`page`]: how a page is put together.
//! - `newest`: the newest message of each channel of a guild.
//! - `listed`: rows of described tables; `pins`: a channel's pinned messages; `reactions`: a viewer's own.
//! - [`directory`]: users, guilds, channels and members, and the changes of a scope.

pub mod directory;
mod listed;
mod newest;
pub mod page;
pub(crate) mod pins;
pub mod pipeline;
pub mod query;
mod reactions;
mod tails;

pub(crate) use self::{
    newest::NEWEST_AT_ONCE,
    pipeline::{Failure, ReadOptions, ReadPath, Reading, Served},
    tails::Tails,
};
