//! The contract of Weir: protobuf messages, id newtypes and bucket arithmetic. It depends on no other crate
//! of the workspace.
//!
//! - [`id`]: snowflakes, the newtypes over them, and scopes.
//! - [`page`]: a page of history on its way without its rows being decoded.
//! - [`pair`]: two users, the key of their direct messages.
//! - [`overwrite`], [`extent`]: which overwrites of a channel, and which parts of a guild, apply to a member.
//! - [`change`]: what a record's change is about.
//! - [`bucket`]: ten-day buckets of a channel's history.
//! - [`refusal`]: the cause of a refusal, and its word in metrics.
//! - [`data`], [`event`], [`admin`]: the generated messages of `weir.data.v1`, `weir.event.v1` and
//!   `weir.admin.v1`, described by [`contract`].

pub mod bucket;
pub mod change;
pub mod extent;
#[cfg(test)]
mod fuzz;
pub mod id;
pub mod overwrite;
pub mod page;
pub mod pair;
pub mod refusal;

use prost_reflect::DescriptorPool;

/// Generated types. They are nested as the packages are, because they name each other by those paths. Their
/// comments are in the .proto files.
#[allow(missing_docs, clippy::all, unreachable_pub, rustdoc::all, reason = "generated code")]
mod weir {
    pub mod data {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/weir.data.v1.rs"));
        }
    }
    pub mod event {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/weir.event.v1.rs"));
        }
    }
    pub mod admin {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/weir.admin.v1.rs"));
        }
    }
}

/// The contract's descriptors, which define protobuf's JSON mapping of its messages. Each call decodes them
/// anew; clones are cheap.
///
/// # Panics
/// Never: the build has compiled them.
pub fn contract() -> DescriptorPool {
    DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"))[..])
        .expect("the build has compiled them")
}

pub use weir::{admin::v1 as admin, data::v1 as data, event::v1 as event};
