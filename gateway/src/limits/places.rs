//! Places among the open connections, and which connection makes room when all are taken.
//!
//! Problem: with a bound alone, the first connections keep all places, and one address with silent
//! connections locks out everybody. Guarantee: while some connection neither has a session nor begins one, a
//! new connection gets a place. The address with the most connections without a session, the new one
//! included, loses the oldest of them. A session is never cut for this, so sessions may take all places.
//!
//! Taking and leaving a place takes time that grows with the logarithm of the number of addresses. The lock
//! is of this module alone: publications do not wait for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use weir_connect::budget::Peer;

/// The places of a gateway.
#[derive(Debug)]
pub(crate) struct Places {
    table: Mutex<Table>,
    /// Number of places.
    max: usize,
}

/// Connections without a session, the oldest first, each with the notification by which it is displaced.
type Waiting = BTreeMap<u64, Arc<Notify>>;

#[derive(Debug, Default)]
struct Table {
    /// Places taken by connections with or without a session.
    taken: usize,
    /// Number of the next connection: older ones have smaller numbers.
    next: u64,
    /// The connections without a session, by address. Addresses without any are not in the map.
    waiting: HashMap<Peer, Waiting>,
    /// The addresses by the number of their connections without a session. Of two with the same number, the
    /// one with the oldest connection comes last.
    by_count: BTreeSet<(usize, Reverse<u64>, Peer)>,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    places: Arc<Places>,
    peer: Peer,
    number: u64,
    displaced: Arc<Notify>,
    /// The connection has a session, so it is not among those that wait.
    settled: bool,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self { table: Mutex::default(), max }
    }

    // If a holder of the lock panicked, the data is still whole: no statement leaves it half changed.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `address`, if one is free or can be made free.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPlace> {
        let peer = Peer::of(address);
        let displaced = Arc::new(Notify::new());
        let mut table = self.table();
        if table.taken >= self.max && !table.make_room(peer) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.taken += 1;
        table.wait(peer, number, displaced.clone());
        drop(table);
        Some(ConnectionPlace { places: self.clone(), peer, number, displaced, settled: false })
    }
}

impl Table {
    /// Takes a place from the address with the most connections that wait, the new one included. False if
    /// none waits.
    fn make_room(&mut self, newcomer: Peer) -> bool {
        let own = self.waiting.get(&newcomer).map_or(0, BTreeMap::len);
        // An address that would have as many as any other makes room among its own connections, if it has
        // any.
        let others = |(count, ..): &&(usize, Reverse<u64>, Peer)| own == 0 || *count > own + 1;
        let greediest = self.by_count.last().filter(others).map_or(newcomer, |(.., peer)| *peer);
        let Some((_, displaced)) = self.of(greediest, Waiting::pop_first) else { return false };
        displaced.notify_one();
        self.taken -= 1;
        true
    }

    /// Changes the waiting connections of an address.
    fn of<T>(&mut self, peer: Peer, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let place = |waiting: &Waiting| {
            waiting.first_key_value().map(|(oldest, _)| (waiting.len(), Reverse(*oldest), peer))
        };
        let waiting = self.waiting.entry(peer).or_default();
        let before = place(waiting);
        let changed = change(waiting);
        let after = place(waiting);
        before.map(|before| self.by_count.remove(&before));
        match after {
            Some(after) => {
                self.by_count.insert(after);
            }
            None => {
                self.waiting.remove(&peer);
            }
        }
        changed
    }

    /// Adds a connection to those that wait.
    fn wait(&mut self, peer: Peer, number: u64, displaced: Arc<Notify>) {
        self.of(peer, |waiting| waiting.insert(number, displaced));
    }

    /// Removes a connection from those that wait. False if it was displaced.
    fn stop_waiting(&mut self, peer: Peer, number: u64) -> bool {
        self.of(peer, |waiting| waiting.remove(&number)).is_some()
    }
}

impl ConnectionPlace {
    /// The notification that the connection has lost its place and must close.
    pub(crate) fn displaced(&self) -> Arc<Notify> {
        self.displaced.clone()
    }

    /// Counts the place for the client behind a proxy, once the client's address is known. This has no effect
    /// if the connection has a session already.
    pub(crate) fn is_of(&mut self, client: IpAddr) {
        let client = Peer::of(client);
        if client == self.peer {
            return;
        }
        let mut table = self.places.table();
        if !self.settled && table.stop_waiting(self.peer, self.number) {
            table.wait(client, self.number, self.displaced.clone());
            self.peer = client;
        }
    }

    /// Notes that the connection begins a session, or has one, and so keeps its place. False if it has lost
    /// the place already.
    pub(crate) fn settle(&mut self) -> bool {
        if !self.settled {
            self.settled = self.places.table().stop_waiting(self.peer, self.number);
        }
        self.settled
    }

    /// Notes that the session has ended, and that the connection may begin another.
    pub(crate) fn unsettle(&mut self) {
        if std::mem::take(&mut self.settled) {
            self.places.table().wait(self.peer, self.number, self.displaced.clone());
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut table = self.places.table();
        // A displaced connection has given its place back already.
        if self.settled || table.stop_waiting(self.peer, self.number) {
            table.taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn has_to_go(place: &ConnectionPlace) -> bool {
        let table = place.places.table();
        let waits = table.waiting.get(&place.peer).is_some_and(|waiting| waiting.contains_key(&place.number));
        !place.settled && !waits
    }

    #[test]
    fn a_client_behind_a_proxy_is_counted_by_its_own_address() {
        let places = Arc::new(Places::new(3));
        let mut clients: Vec<ConnectionPlace> = (0..3).map(|_| places.take(at(9)).expect("free")).collect();
        for (place, last) in clients.iter_mut().zip([1, 2, 2]) {
            place.is_of(at(last));
        }
        let _newcomer = places.take(at(9)).expect("made");
        assert_eq!(clients.iter().map(has_to_go).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_session_that_ended_leaves_its_connection_as_old_as_it_is() {
        let places = Arc::new(Places::new(2));
        let (mut first, second) = (places.take(at(1)).expect("free"), places.take(at(1)).expect("free"));
        first.settle();
        first.unsettle();
        let _newcomer = places.take(at(2)).expect("made");
        assert!(has_to_go(&first) && !has_to_go(&second));
        // It is too late: another connection has the place.
        first.settle();
        assert!(!first.settled);
    }

    #[test]
    fn silent_connections_make_room_beside_an_address_with_more_sessions() {
        let places = Arc::new(Places::new(6));
        let mut sessions: Vec<ConnectionPlace> = (0..4).map(|_| places.take(at(1)).expect("free")).collect();
        assert!(sessions.iter_mut().all(ConnectionPlace::settle));
        let mut silent: Vec<ConnectionPlace> = (0..2).map(|_| places.take(at(2)).expect("free")).collect();
        let mut newcomer = places.take(at(3)).expect("made by who is silent");
        assert_eq!(silent.iter().map(has_to_go).collect::<Vec<_>>(), [true, false]);
        // Each address has one silent connection, so the older one is displaced.
        let second = places.take(at(4)).expect("made too");
        assert!(has_to_go(&silent.remove(1)) && !has_to_go(&newcomer));
        assert!(newcomer.settle());
        drop(second);
        let mut last = places.take(at(4)).expect("free");
        assert!(last.settle());
        assert!(places.take(at(5)).is_none(), "sessions are not cut");
    }

    proptest! {
        #[test]
        fn places_are_counted_and_nobody_loses_one_to_who_has_more(
            steps in prop::collection::vec((0..5_u8, 0..4_u8, any::<prop::sample::Index>()), 1..200)
        ) {
            let places = Arc::new(Places::new(6));
            let mut open: Vec<ConnectionPlace> = Vec::new();
            for (step, last, which) in steps {
                let waiting = |open: &[ConnectionPlace], peer| {
                    open.iter().filter(|place| place.peer == peer && !place.settled).count()
                };
                match step {
                    0 | 1 => {
                        let newcomer = Peer::of(at(last));
                        let own = waiting(&open, newcomer);
                        let taken = places.take(at(last));
                        prop_assert!(taken.is_some() || open.len() == 6 && open.iter().all(|open| open.settled));
                        if let Some(gone) = open.iter().position(has_to_go) {
                            let theirs = waiting(&open, open[gone].peer);
                            prop_assert!(theirs > own || open[gone].peer == newcomer);
                            open.remove(gone);
                        }
                        open.extend(taken);
                    }
                    _ if open.is_empty() => {}
                    2 => drop(open.swap_remove(which.index(open.len()))),
                    3 => {
                        which.get_mut(&mut open).settle();
                    }
                    _ => which.get_mut(&mut open).unsettle(),
                }
                let table = places.table();
                prop_assert!(table.taken == open.len() && open.len() <= 6);
                let waiting = open.iter().filter(|place| !place.settled).count();
                prop_assert_eq!(table.by_count.iter().map(|(count, ..)| *count).sum::<usize>(), waiting);
                prop_assert_eq!(table.by_count.len(), table.waiting.len());
            }
            drop(open);
            let table = places.table();
            prop_assert!(table.waiting.is_empty() && table.by_count.is_empty() && table.taken == 0);
        }
    }
}
