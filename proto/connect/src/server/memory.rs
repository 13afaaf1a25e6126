//! The parts of the process's budget that a server fills: replies that are not sent yet, and request bodies that are collected.

use crate::budget::{Bounds, Budget, Part};

/// Most bytes of replies that are handed over and not sent. 64 MiB in all, as much as bodies; half of it for one peer, so that the others
/// always have the other half. A client that reads holds a reply for microseconds.
const REPLIES: Bounds = Bounds { total: 64 << 20, peer: 32 << 20 };

/// Most bytes of request bodies, from their first byte until their call is done. 64 MiB in all: sixteen of the largest (4 MiB); half of it
/// for one peer.
const BODIES: Bounds = Bounds { total: 64 << 20, peer: 32 << 20 };

/// What a server's clients may make it hold.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Replies handed over and not sent yet.
    pub replies: Part,
    /// Request bodies that are collected or worked on.
    pub bodies: Part,
}

impl Memory {
    /// The parts `replies` and `bodies` of `budget`, with the default bounds: 64 MiB in all and 32 MiB for one peer, of each.
    pub fn of(budget: &Budget, replies: &'static str, bodies: &'static str) -> Memory {
        Memory { replies: budget.part(replies, REPLIES), bodies: budget.part(bodies, BODIES) }
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::of(&Budget::default(), "replies", "request_bodies")
    }
}
