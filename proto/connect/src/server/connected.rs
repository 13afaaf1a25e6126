//! The server's record of an open connection: its peer, what it holds, and when it last began or ended a
//! request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::memory::{CONNECTION_BYTES, Memory};
use super::slow::Slow;
use crate::budget::{Account, Hold};

/// The address at the other end of the connection that a request came on. The server puts it into every
/// request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

/// The account on which a request's body is held, which is the account of its connection's peer. The server
/// puts it into every request's extensions.
#[derive(Clone, Debug)]
pub struct BodyAccount(pub Account);

/// Milliseconds since the server's start. The accept loop sets them and all connections read them: they are
/// as exact as its tick, and free to read.
#[derive(Clone, Debug, Default)]
pub(super) struct CoarseClock(Arc<AtomicU64>);

impl CoarseClock {
    pub(super) fn set(&self, milliseconds: u64) {
        self.0.store(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's record.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) addr: Peer,
    pub(super) bodies: BodyAccount,
    pub(super) replies: Account,
    /// The bytes that an open connection counts for. `None` only for the connection above the bound, for
    /// which another is being closed.
    _open: Option<Hold>,
    clock: CoarseClock,
    /// Requests whose reply is not sent yet.
    under_way: AtomicUsize,
    /// When the connection last began or ended a request; before the first, when it was accepted.
    quiet_since: AtomicU64,
    /// Bytes of replies that the protocol holds and the socket has not taken.
    pub(super) unsent: AtomicUsize,
    /// Grows with every piece of a reply that the socket takes.
    pub(super) moves: AtomicU64,
    /// The connection's replies that were not taken at once.
    pub(super) slow: Slow,
    /// Microseconds for which the socket is to be left unread. The next read takes them.
    pause: AtomicU64,
}

impl Connected {
    pub(super) fn new(addr: SocketAddr, memory: &Memory, clock: CoarseClock) -> Connected {
        Connected {
            addr: Peer(addr),
            bodies: BodyAccount(memory.bodies.account(addr.ip())),
            replies: memory.replies.account(addr.ip()),
            _open: memory.connections.account(addr.ip()).hold(CONNECTION_BYTES).ok(),
            under_way: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(clock.now()),
            clock,
            unsent: AtomicUsize::new(0),
            moves: AtomicU64::new(0),
            slow: Slow::default(),
            pause: AtomicU64::new(0),
        }
    }

    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.quiet_since.store(self.clock.now(), Ordering::Relaxed);
    }

    /// Leaves the socket unread for `length`, from its next read on.
    pub(super) fn pause(&self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        self.pause.fetch_max(micros, Ordering::Relaxed);
    }

    /// Takes the pause that is due.
    pub(super) fn take_pause(&self) -> Option<Duration> {
        // This is called before every read, and the value is nearly always 0.
        if self.pause.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Duration::from_micros(self.pause.swap(0, Ordering::Relaxed)))
    }

    pub(super) fn end(&self) {
        self.quiet_since.store(self.clock.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no request is under way.
    pub(super) fn idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// Milliseconds since a request began or ended.
    pub(super) fn quiet(&self) -> u64 {
        self.clock.now().saturating_sub(self.quiet_since.load(Ordering::Relaxed))
    }
}
