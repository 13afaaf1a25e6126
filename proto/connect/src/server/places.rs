//! The places for a server's open connections, and which connection makes room when all are taken.
//!
//! Problem: with a bound alone, the first to come keep all places, and idle connections lock out everybody,
//! the operator too. Guarantee: a newcomer gets a place while some connection is idle whose peer has more
//! connections than the newcomer's peer or is the same peer. Of those peers the one with the most connections
//! makes room, so that no peer loses a place to one that has more.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id};

use super::connected::Connected;
use crate::budget;

/// In milliseconds: a connection with a request under way may be cut to make room once it has neither begun
/// nor ended one for this long. 10 s: five times the store's own timeout, so that a call that is only slow is
/// not cut.
const BUSY_QUIET: u64 = 10_000;

/// The open connections, at most [`super::ServerConfig::connections_max`].
#[derive(Debug, Default)]
pub(super) struct Places {
    open: HashMap<Id, Place>,
    of_peer: HashMap<budget::Peer, usize>,
}

#[derive(Debug)]
struct Place {
    peer: Arc<Connected>,
    task: AbortHandle,
}

impl Places {
    pub(super) fn taken(&self) -> usize {
        self.open.len()
    }

    pub(super) fn take(&mut self, peer: Arc<Connected>, task: AbortHandle) {
        *self.of_peer.entry(of(&peer)).or_default() += 1;
        self.open.insert(task.id(), Place { peer, task });
    }

    /// Frees the place of a connection that has ended. It may have been freed before, to make room.
    pub(super) fn leave(&mut self, task: Id) {
        let Some(place) = self.open.remove(&task) else { return };
        let peer = of(&place.peer);
        let left = self.of_peer.get_mut(&peer).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            self.of_peer.remove(&peer);
        }
    }

    /// Cuts one connection for a newcomer. It belongs to the peer with most connections that has one to cut.
    /// It is the longest quiet one without a request under way, or else the longest quiet of all, if that one
    /// has not moved for long. Gives false if there is none.
    pub(super) fn make_room(&mut self, newcomer: &Connected) -> bool {
        let newcomer = of(newcomer);
        let count = |peer| self.of_peer.get(&peer).copied().unwrap_or(0) + usize::from(peer == newcomer);
        let own = count(newcomer);
        let cut = |place: &Place| {
            let (peer, idle, quiet) = (of(&place.peer), place.peer.idle(), place.peer.quiet());
            let may = (idle || quiet >= BUSY_QUIET) && (peer == newcomer || count(peer) >= own);
            may.then_some((count(peer), peer == newcomer, idle, quiet))
        };
        let leaving = self.open.iter().filter_map(|(id, place)| Some((cut(place)?, *id, &place.task)));
        let leaving = leaving.max_by_key(|(order, ..)| *order).map(|(_, id, task)| (id, task.clone()));
        let Some((id, task)) = leaving else { return false };
        task.abort();
        self.leave(id);
        true
    }
}

fn of(peer: &Connected) -> budget::Peer {
    budget::Peer::of(peer.addr.0.ip())
}

#[cfg(test)]
mod tests {
    use super::super::connected::CoarseClock;
    use super::super::memory::Memory;
    use super::*;

    struct Fixture {
        places: Places,
        memory: Memory,
        clock: CoarseClock,
    }

    impl Fixture {
        fn peer(&self, last: u8) -> Arc<Connected> {
            Arc::new(Connected::new(([192, 0, 2, last], 1).into(), &self.memory, self.clock.clone()))
        }

        /// Opens a connection; whether it was cut shows in its task.
        fn open(&mut self, last: u8) -> (Arc<Connected>, tokio::task::JoinHandle<()>) {
            let peer = self.peer(last);
            let task = tokio::spawn(std::future::pending());
            self.places.take(Arc::clone(&peer), task.abort_handle());
            (peer, task)
        }
    }

    fn fixture() -> Fixture {
        Fixture { places: Places::default(), memory: Memory::default(), clock: CoarseClock::default() }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_greediest_peer_makes_room() {
        let mut f = fixture();
        let (_, _innocent) = f.open(1);
        f.clock.set(10);
        let (older, oldest_task) = f.open(2);
        f.clock.set(20);
        let (_, newer_task) = f.open(2);
        assert!(f.places.make_room(&f.peer(3)));
        assert!(oldest_task.await.unwrap_err().is_cancelled());
        assert!(!newer_task.is_finished());
        assert_eq!(f.places.taken(), 2);
        assert!(older.idle());
    }

    #[tokio::test]
    async fn who_has_as_many_as_the_others_makes_its_own_room() {
        let mut f = fixture();
        let (_, other) = f.open(1);
        let (_, own) = f.open(2);
        assert!(f.places.make_room(&f.peer(2)), "with the newcomer the second peer is the greediest");
        assert!(own.await.unwrap_err().is_cancelled());
        assert!(!other.is_finished());
    }

    #[tokio::test]
    async fn an_idle_connection_makes_room_beside_a_peer_with_more_busy_ones() {
        let mut f = fixture();
        for _ in 0..3 {
            f.open(1).0.begin();
        }
        f.open(2);
        f.open(2);
        assert!(f.places.make_room(&f.peer(3)));
        assert_eq!((f.places.taken(), f.places.of_peer[&of(&f.peer(2))]), (4, 1));
        // A peer that has more takes no place of theirs.
        assert!(!f.places.make_room(&f.peer(1)));
    }

    #[tokio::test]
    async fn a_busy_connection_is_cut_only_after_long_without_a_move() {
        let mut f = fixture();
        let (busy, task) = f.open(1);
        busy.begin();
        assert!(!f.places.make_room(&f.peer(1)));
        f.clock.set(BUSY_QUIET - 1);
        assert!(!f.places.make_room(&f.peer(2)));
        f.clock.set(BUSY_QUIET);
        assert!(f.places.make_room(&f.peer(2)));
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((f.places.taken(), f.places.of_peer.len()), (0, 0));
    }
}
