//! The parts of the process's budget that a server fills: connections, replies that are not sent yet, and
//! request bodies that are collected.

use crate::budget::{Bounds, Budget, Part};

/// Most bytes of replies that are handed over and not sent. 64 MiB in all, as much as bodies; half of it for
/// one peer and a quarter for one token, so that there is always room for others. A client that reads holds a
/// reply for microseconds.
const REPLIES: usize = 64 << 20;

/// Most bytes of request bodies, from their first byte until their call is done. 64 MiB in all: sixteen of
/// the largest (4 MiB); half of it for one peer, and a quarter for one token.
const BODIES: usize = 64 << 20;

/// Bytes that an open connection counts for, whatever it does: its task, its buffers (hyper's grow to 8 KiB
/// before anything is read), its part of the tables, 10 KiB measured for an idle one, and the allocator's
/// share.
pub const CONNECTION_BYTES: usize = 16 << 10;

/// Most bytes that a server's clients may make it hold, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMax {
    /// Replies handed over and not sent yet. Default 64 MiB.
    pub replies: usize,
    /// Request bodies, until their call is done. Default 64 MiB.
    pub bodies: usize,
}

impl Default for MemoryMax {
    fn default() -> MemoryMax {
        MemoryMax { replies: REPLIES, bodies: BODIES }
    }
}

/// The names under which a server's parts are shown.
#[derive(Clone, Copy, Debug)]
pub struct MemoryNames {
    /// Open connections.
    pub connections: &'static str,
    /// Replies that are not sent yet.
    pub replies: &'static str,
    /// Request bodies.
    pub bodies: &'static str,
}

/// The memory that a server's clients may make it hold.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Open connections, [`CONNECTION_BYTES`] each. Their number has bounds of its own, so this part only
    /// shows them.
    pub connections: Part,
    /// Replies handed over and not sent yet.
    pub replies: Part,
    /// Request bodies, until their call is done.
    pub bodies: Part,
}

impl Memory {
    /// The parts `names` of `budget` for a server of at most `connections_max` connections. One peer has half
    /// of what there is for replies and bodies, and one token a quarter.
    pub fn of(budget: &Budget, names: MemoryNames, connections_max: usize, max: MemoryMax) -> Memory {
        let connections = connections_max.saturating_mul(CONNECTION_BYTES);
        let unshared = Bounds { total: connections, peer: connections, token: connections };
        Memory {
            connections: budget.part(names.connections, unshared),
            replies: budget.part(names.replies, Bounds::halves(max.replies)),
            bodies: budget.part(names.bodies, Bounds::halves(max.bodies)),
        }
    }
}

impl Default for Memory {
    /// Parts of a budget of their own, for a server that stands alone, with any number of connections.
    fn default() -> Memory {
        let names = MemoryNames { connections: "connections", replies: "replies", bodies: "request_bodies" };
        Memory::of(&Budget::default(), names, usize::MAX, MemoryMax::default())
    }
}
