//! Who has a place among the open connections, and who makes room when all are taken.
//!
//! Problem: with a bound alone, whoever comes first keeps all places, and one address with silent connections locks out everybody.
//! Guarantee: while some connection neither has a session nor begins one, a newcomer gets a place. Room is made by the address with the most connections without a
//! session, the newcomer counted: the longest-lived of them. A session is never cut for it, so that sessions may take all places.
//!
//! Taking and leaving a place cost the logarithm of the number of addresses, and the lock is the places' own: publications do not wait for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use weir_connect::budget::Peer;

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    table: Mutex<Table>,
    /// How many there are.
    max: usize,
}

/// Connections without a session, the oldest first, each with what tells it to go.
type Waiting = BTreeMap<u64, Arc<Notify>>;

#[derive(Debug, Default)]
struct Table {
    /// With a session or without.
    taken: usize,
    /// Number of the next connection: older ones have smaller numbers.
    next: u64,
    /// Those that have connections without a session, and no others.
    waiting: HashMap<Peer, Waiting>,
    /// The same by how many each has, and of equals the one with the oldest last.
    by_count: BTreeSet<(usize, Reverse<u64>, Peer)>,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    places: Arc<Places>,
    peer: Peer,
    number: u64,
    displaced: Arc<Notify>,
    /// It has a session, and so is not among those that wait.
    settled: bool,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self { table: Mutex::default(), max }
    }

    // A lock whose holder panicked guards plain data that is whole between statements.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`, if one is free or can be made.
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
    /// Takes a place from the address with the most connections that wait, the newcomer counted. False if none waits.
    fn make_room(&mut self, newcomer: Peer) -> bool {
        let own = self.waiting.get(&newcomer).map_or(0, BTreeMap::len);
        // Who would have as many as another makes its own room, if it has any to make.
        let others = |(count, ..): &&(usize, Reverse<u64>, Peer)| own == 0 || *count > own + 1;
        let greediest = self.by_count.last().filter(others).map_or(newcomer, |(.., peer)| *peer);
        let Some((_, displaced)) = self.of(greediest, Waiting::pop_first) else { return false };
        displaced.notify_one();
        self.taken -= 1;
        true
    }

    /// Changes a peer's connections that wait.
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

    /// Puts a connection among those that wait.
    fn wait(&mut self, peer: Peer, number: u64, displaced: Arc<Notify>) {
        self.of(peer, |waiting| waiting.insert(number, displaced));
    }

    /// Takes a connection out of those that wait. False if it had to go.
    fn stop_waiting(&mut self, peer: Peer, number: u64) -> bool {
        self.of(peer, |waiting| waiting.remove(&number)).is_some()
    }
}

impl ConnectionPlace {
    /// Is told when the connection has lost its place and must go.
    pub(crate) fn displaced(&self) -> Arc<Notify> {
        self.displaced.clone()
    }

    /// Counts the place for the client behind a proxy, once its address is known. Of a connection that has no session yet.
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

    /// Notes that the connection begins a session, or has one: it keeps its place. False if it has lost it already.
    pub(crate) fn settle(&mut self) -> bool {
        if !self.settled {
            self.settled = self.places.table().stop_waiting(self.peer, self.number);
        }
        self.settled
    }

    /// Notes that the session has ended, and the connection may begin another.
    pub(crate) fn unsettle(&mut self) {
        if std::mem::take(&mut self.settled) {
            self.places.table().wait(self.peer, self.number, self.displaced.clone());
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut table = self.places.table();
        // Whoever had to go has given its place back already.
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
        // Too late: its place is another's.
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
        // One silent connection each: the older one goes.
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
