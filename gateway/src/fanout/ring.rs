//! The shared ring: the newest positions of the log, from which every session is served by its own cursor.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use weir_bus::Position;

use super::entry::Entry;
use crate::limits::weight::{ByteGauge, Weight};

/// A position in the ring. Positions that concern no session here are empty, so that an index follows from
/// its position.
#[derive(Debug)]
struct Slot {
    /// True if it may concern sessions by their user and not only by their guilds: a member joined, changed
    /// or left, or records were lost.
    by_user: bool,
    entry: Option<Arc<Entry>>,
    /// Bytes of states that no guild holds any more, and that this entry or earlier ones may keep. They are
    /// freed with this slot.
    kept: Option<Weight>,
}

impl Slot {
    fn weight(&self) -> usize {
        self.entry.as_ref().map_or(0, |entry| entry.weight()) + self.kept.as_ref().map_or(0, Weight::get)
    }
}

#[derive(Debug)]
struct Slots {
    /// Slot `i` is position `floor + 1 + i`.
    slots: VecDeque<Slot>,
    floor: Position,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The entries that the caller wants, oldest first.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Everything up to here was looked at.
    pub(crate) up_to: Position,
}

/// The positions directly above the given one are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records up to position {floor} are no longer kept")]
pub(crate) struct Fallen {
    /// A scan from this position works.
    pub(crate) floor: Position,
}

/// The ring, bounded by records and by bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    slots: RwLock<Slots>,
    bytes: ByteGauge,
    records_max: usize,
    bytes_max: usize,
}

impl Ring {
    /// An empty ring whose next position is `head + 1`.
    pub(crate) fn new(head: Position, records_max: usize, bytes_max: usize) -> Self {
        Self {
            slots: RwLock::new(Slots { slots: VecDeque::new(), floor: head }),
            bytes: ByteGauge::default(),
            records_max: records_max.max(1),
            bytes_max,
        }
    }

    /// The gauge in which this ring's entries are counted.
    pub(crate) fn bytes(&self) -> &ByteGauge {
        &self.bytes
    }

    // If a holder of the lock panicked, the data is still whole: no statement leaves it half changed.
    fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest position.
    pub(crate) fn head(&self) -> Position {
        self.read().head()
    }

    /// The lowest position from which a scan works.
    pub(crate) fn floor(&self) -> Position {
        self.read().floor
    }

    /// Puts an entry, or nothing, at `position`. If positions before it were skipped, everything older is
    /// forgotten, so that no scan passes over the gap.
    pub(crate) fn push(&self, position: Position, by_user: bool, entry: Option<Arc<Entry>>) {
        // Evicted slots are dropped after the lock: an entry's strings take longer to free than a slot takes
        // to push.
        let mut evicted = Vec::new();
        let mut ring = self.write();
        if position != ring.head() + 1 {
            evicted.extend(ring.slots.drain(..));
            ring.floor = position - 1;
        }
        ring.slots.push_back(Slot { by_user, entry, kept: None });
        self.evict(&mut ring, &mut evicted);
        drop(ring);
    }

    /// Counts bytes of guilds' states that from now on only entries keep, up to the newest entry. The newest
    /// state of a guild belongs to the guild. A state that was replaced belongs to the ring, until the last
    /// entry whose visibility it decides is gone.
    pub(crate) fn keep(&self, states_bytes: usize) {
        if states_bytes == 0 {
            return;
        }
        let mut evicted = Vec::new();
        let mut ring = self.write();
        // Without entries nothing keeps them.
        let Some(newest) = ring.slots.back_mut() else { return };
        match &newest.kept {
            Some(kept) => kept.grow(states_bytes),
            None => newest.kept = Some(Weight::new(&self.bytes, states_bytes)),
        }
        self.evict(&mut ring, &mut evicted);
        drop(ring);
    }

    fn evict(&self, ring: &mut Slots, evicted: &mut Vec<Slot>) {
        let mut over = self.bytes.get().saturating_sub(self.bytes_max);
        // One slot always stays: it marks the head.
        while ring.slots.len() > 1 && (ring.slots.len() > self.records_max || over > 0) {
            let Some(slot) = ring.slots.pop_front() else { break };
            ring.floor += 1;
            over = over.saturating_sub(slot.weight());
            evicted.push(slot);
        }
    }

    /// Looks through at most `slots_max` positions above `after`, for at most `entries_max` entries that the
    /// caller `wants` or that may concern it by its user. The scan ends after an entry that `changes` what
    /// the caller wants.
    pub(crate) fn scan(
        &self,
        after: Position,
        (slots_max, entries_max): (usize, usize),
        wants: impl Fn(&Entry) -> bool,
        changes: impl Fn(&Entry) -> bool,
    ) -> Result<Scan, Fallen> {
        let ring = self.read();
        let Some(skip) = after.checked_sub(ring.floor) else { return Err(Fallen { floor: ring.floor }) };
        let mut scan = Scan { entries: Vec::new(), up_to: after };
        // Positions in the ring fit the length of a deque; from beyond the head everything is skipped.
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for slot in ring.slots.iter().skip(skip).take(slots_max) {
            if let Some(entry) = &slot.entry
                && (slot.by_user || wants(entry))
            {
                if scan.entries.len() == entries_max {
                    break;
                }
                scan.entries.push(entry.clone());
                if slot.by_user && changes(entry) {
                    scan.up_to += 1;
                    break;
                }
            }
            scan.up_to += 1;
        }
        Ok(scan)
    }
}

impl Slots {
    fn head(&self) -> Position {
        self.floor + self.slots.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::entry::{Body, Publication};
    use proptest::prelude::*;
    use weir_proto::{event::Record, id::GuildId};

    fn ring(records_max: usize, bytes_max: usize) -> Ring {
        Ring::new(10, records_max, bytes_max)
    }

    fn put(ring: &Ring, position: Position, guild_id: u64, size: usize) {
        let publication = Publication { record: Record::default(), context: None, encoded_len: size };
        let body = Body::Change(Box::new(publication));
        let entry = Entry::new(position, GuildId::try_from(guild_id).ok(), body, None, ring.bytes());
        ring.push(position, false, Some(Arc::new(entry)));
    }

    fn positions(scan: &Scan) -> Vec<Position> {
        scan.entries.iter().map(|entry| entry.position).collect()
    }

    #[test]
    fn a_scan_takes_what_it_wants_and_says_how_far_it_looked() {
        let ring = ring(100, usize::MAX);
        for (position, guild) in (11..).zip([1, 2, 1, 3, 1]) {
            put(&ring, position, guild, 0);
        }
        ring.push(16, false, None);
        let first = GuildId::try_from(1_u64).ok();
        let scan = ring.scan(10, (100, 100), |entry| entry.guild_id == first, |_| false).expect("kept");
        assert_eq!((positions(&scan), scan.up_to), (vec![11, 13, 15], 16));
        let scan = ring.scan(10, (100, 2), |entry| entry.guild_id == first, |_| false).expect("kept");
        assert_eq!((positions(&scan), scan.up_to), (vec![11, 13], 14), "stops before the third");
        let scan = ring.scan(10, (3, 100), |entry| entry.guild_id == first, |_| false).expect("kept");
        assert_eq!((positions(&scan), scan.up_to), (vec![11, 13], 13));
        let scan = ring.scan(16, (3, 100), |_| true, |_| false).expect("the head itself");
        assert_eq!((positions(&scan), scan.up_to), (vec![], 16));
        assert_eq!(ring.scan(9, (1, 1), |_| true, |_| false).expect_err("older"), Fallen { floor: 10 });
    }

    #[test]
    fn a_skipped_position_forgets_everything_before_it() {
        let ring = ring(100, usize::MAX);
        put(&ring, 11, 1, 0);
        put(&ring, 20, 1, 0);
        assert_eq!((ring.floor(), ring.head()), (19, 20));
        assert_eq!(ring.scan(11, (9, 9), |_| true, |_| false).expect_err("skipped"), Fallen { floor: 19 });
    }

    proptest! {
        #[test]
        fn records_and_bytes_are_bounded_and_positions_stay_dense(sizes in prop::collection::vec(0..20_000_usize, 1..80)) {
            let ring = ring(16, 60_000);
            for (position, size) in (11..).zip(&sizes) {
                put(&ring, position, 1, *size);
                let (floor, head) = (ring.floor(), ring.head());
                prop_assert_eq!(head, position);
                prop_assert!(head - floor <= 16);
                prop_assert!(ring.bytes().get() <= 60_000 || head - floor == 1);
                let scan = ring.scan(floor, (100, 100), |_| true, |_| false).expect("kept");
                prop_assert_eq!(positions(&scan), (floor + 1..=head).collect::<Vec<_>>());
            }
            drop(ring);
        }
    }
}
