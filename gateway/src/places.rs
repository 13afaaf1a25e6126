//! Who has a place among the open connections, and who makes room when all are taken.
//!
//! Problem: with a bound alone, whoever comes first keeps all places, and one address with silent connections locks out everybody.
//! Guarantee: when all places are taken, room is made by the address that has most, the newcomer counted, as long as it has a connection
//! without a session: the longest-lived of them. A session is never cut for it, so that one address may have all places with sessions.
//!
//! Taking and leaving a place cost the logarithm of the number of addresses, and the lock is the places' own: publications do not wait for it.

use std::{
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

#[derive(Debug, Default)]
struct Table {
    taken: usize,
    /// Number of the next connection: older ones have smaller numbers.
    next: u64,
    /// Those that have a place, and no others.
    owned: HashMap<Peer, Owned>,
    /// The same by how many places each has.
    by_count: BTreeSet<(usize, Peer)>,
}

/// What one address has.
#[derive(Debug, Default)]
struct Owned {
    count: usize,
    /// Its connections without a session, the oldest first, each with what tells it to go.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
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
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = Peer::of(address);
        let displaced = Arc::new(Notify::new());
        let mut table = self.table();
        if table.taken >= self.max && !table.make_room(peer) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.enter(peer).waiting.insert(number, displaced.clone());
        drop(table);
        Some(Place { places: self.clone(), peer, number, displaced, settled: false })
    }
}

impl Table {
    /// Takes a place from whoever has most, the newcomer counted. False if that address has only sessions.
    fn make_room(&mut self, newcomer: Peer) -> bool {
        let own = self.owned.get(&newcomer).map_or(0, |owned| owned.count) + 1;
        // Who has as many as another makes its own room.
        let greediest =
            self.by_count.last().filter(|(count, _)| *count > own).map_or(newcomer, |(_, peer)| *peer);
        let oldest = self.owned.get_mut(&greediest).and_then(|owned| owned.waiting.pop_first());
        let Some((_, displaced)) = oldest else { return false };
        displaced.notify_one();
        self.leave(greediest);
        true
    }

    /// One place more of a peer.
    fn enter(&mut self, peer: Peer) -> &mut Owned {
        let owned = self.owned.entry(peer).or_default();
        self.by_count.remove(&(owned.count, peer));
        owned.count += 1;
        self.by_count.insert((owned.count, peer));
        self.taken += 1;
        owned
    }

    /// One place less.
    fn leave(&mut self, peer: Peer) {
        let Some(owned) = self.owned.get_mut(&peer) else { return };
        self.by_count.remove(&(owned.count, peer));
        owned.count -= 1;
        self.taken -= 1;
        if owned.count == 0 {
            self.owned.remove(&peer);
        } else {
            self.by_count.insert((owned.count, peer));
        }
    }

    /// Takes a connection out of those that wait. False if it had to go.
    fn stop_waiting(&mut self, peer: Peer, number: u64) -> bool {
        self.owned.get_mut(&peer).is_some_and(|owned| owned.waiting.remove(&number).is_some())
    }
}

impl Place {
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
            table.leave(self.peer);
            table.enter(client).waiting.insert(self.number, self.displaced.clone());
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
        if std::mem::take(&mut self.settled)
            && let Some(owned) = self.places.table().owned.get_mut(&self.peer)
        {
            owned.waiting.insert(self.number, self.displaced.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.table();
        if self.settled || table.stop_waiting(self.peer, self.number) {
            table.leave(self.peer);
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

    fn has_to_go(place: &Place) -> bool {
        !place.settled
            && !place
                .places
                .table()
                .owned
                .get(&place.peer)
                .is_some_and(|owned| owned.waiting.contains_key(&place.number))
    }

    #[test]
    fn a_client_behind_a_proxy_is_counted_by_its_own_address() {
        let places = Arc::new(Places::new(3));
        let mut clients: Vec<Place> = (0..3).map(|_| places.take(at(9)).expect("free")).collect();
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

    proptest! {
        #[test]
        fn places_are_counted_and_nobody_loses_one_to_who_has_more(
            steps in prop::collection::vec((0..5_u8, 0..4_u8, any::<prop::sample::Index>()), 1..200)
        ) {
            let places = Arc::new(Places::new(6));
            let mut open: Vec<Place> = Vec::new();
            for (step, last, which) in steps {
                let count = |open: &[Place], peer| open.iter().filter(|place| place.peer == peer).count();
                match step {
                    0 | 1 => {
                        let newcomer = Peer::of(at(last));
                        let own = count(&open, newcomer) + 1;
                        let taken = places.take(at(last));
                        prop_assert!(taken.is_some() || open.len() == 6);
                        if let Some(gone) = open.iter().position(has_to_go) {
                            let theirs = count(&open, open[gone].peer);
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
                prop_assert_eq!(table.by_count.iter().map(|(count, _)| *count).sum::<usize>(), open.len());
                prop_assert_eq!(table.by_count.len(), table.owned.len());
            }
            drop(open);
            prop_assert!(places.table().owned.is_empty());
        }
    }
}
