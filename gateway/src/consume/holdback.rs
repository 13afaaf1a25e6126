//! Hold-back queues: while a record of a guild is being completed, the guild's later records wait here, and
//! the records of all other guilds pass.
//!
//! Order matters within a guild, because what its channels show depends on its roles and members. Between
//! guilds there is no order to keep. The channel of a direct message has a queue of its own.
//!
//! What waits is bounded twice. A single queue that is full is given up (its sessions begin again), so that a
//! busy guild cannot take the room of all others. When all queues together are full, nothing more is read
//! until one of them moves.

use std::collections::{HashMap, VecDeque};

use weir_proto::event::Record;

use crate::{fanout::entry, limits::weight::ByteGauge};

/// Records that wait in one queue; as many as are fetched for one gap.
const QUEUE_RECORDS_MAX: usize = 10_000;
/// Bytes of one queue: an eighth of what all queues may hold.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Bytes in all queues: half of what the ring keeps by default.
pub(crate) const HELD_BYTES_MAX: usize = 64 << 20;

/// The queue that a record belongs to: that of its guild, or that of its direct message's channel. No guild
/// and channel have the same id.
pub(crate) fn queue_of(record: &Record) -> u64 {
    if record.guild_id == 0 { record.scope_id } else { record.guild_id }
}

/// What comes next out of a queue.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// A record and its size on the bus.
    Record(Box<Record>, usize),
    /// Records of the queue were given up because they were too many.
    GivenUp(GivenUp),
}

/// Records that were given up.
#[derive(Debug, PartialEq)]
pub(crate) struct GivenUp {
    /// One of them, which shows whose records they were.
    pub(crate) record: Box<Record>,
    /// The last revision of each of their scopes: everything up to here is reported as lost. There are as
    /// many as the guild has channels.
    pub(crate) last_revs: HashMap<u64, u64>,
}

impl GivenUp {
    fn note(&mut self, record: &Record) {
        // The bus may repeat an older one.
        let last = self.last_revs.entry(record.scope_id).or_default();
        *last = record.rev.max(*last);
    }
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<(Box<Record>, usize)>,
    /// Bytes that it counts for: those of its records, and those of the record that is being completed.
    bytes: usize,
    given_up: Option<GivenUp>,
}

/// The queues that are open.
#[derive(Debug)]
pub(crate) struct HoldBack {
    queues: HashMap<u64, Queue>,
    bytes: ByteGauge,
    bytes_max: usize,
}

impl HoldBack {
    /// Queues of at most `bytes_max` bytes together.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { queues: HashMap::new(), bytes: ByteGauge::default(), bytes_max }
    }

    /// True if the queue's records have to wait.
    pub(crate) fn is_open(&self, queue: u64) -> bool {
        self.queues.contains_key(&queue)
    }

    /// The gauge of the bytes in all queues.
    pub(crate) fn bytes(&self) -> &ByteGauge {
        &self.bytes
    }

    /// True if more records may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.get() < self.bytes_max
    }

    /// Opens a queue, whose records then wait behind one of this size that is being completed.
    pub(crate) fn open(&mut self, queue: u64, encoded_len: usize) {
        let weight = entry::weight(encoded_len);
        self.queues.entry(queue).or_default().bytes += weight;
        self.bytes.add(weight);
    }

    /// Notes that the record that a queue waited for is complete.
    pub(crate) fn completed(&mut self, queue: u64, encoded_len: usize) {
        let weight = entry::weight(encoded_len);
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.bytes -= weight;
            self.bytes.sub(weight);
        }
    }

    /// Puts a record at the end of an open queue. If the queue is full, all of its records are given up, and
    /// so are further ones until it closes.
    pub(crate) fn hold(&mut self, queue: u64, record: Record, encoded_len: usize) {
        let Some(queue) = self.queues.get_mut(&queue) else { return };
        if let Some(given_up) = &mut queue.given_up {
            given_up.note(&record);
            return;
        }
        let weight = entry::weight(encoded_len);
        if queue.records.len() == QUEUE_RECORDS_MAX || queue.bytes + weight > QUEUE_BYTES_MAX {
            let mut given_up = GivenUp { record: Box::new(record.clone()), last_revs: HashMap::new() };
            for (record, encoded_len) in std::mem::take(&mut queue.records) {
                given_up.note(&record);
                queue.bytes -= entry::weight(encoded_len);
                self.bytes.sub(entry::weight(encoded_len));
            }
            given_up.note(&record);
            queue.given_up = Some(given_up);
            return;
        }
        queue.records.push_back((Box::new(record), encoded_len));
        queue.bytes += weight;
        self.bytes.add(weight);
    }

    /// Takes the next item out of a queue. An empty queue is closed.
    pub(crate) fn next(&mut self, id: u64) -> Option<Next> {
        let queue = self.queues.get_mut(&id)?;
        if let Some((record, encoded_len)) = queue.records.pop_front() {
            let weight = entry::weight(encoded_len);
            queue.bytes -= weight;
            self.bytes.sub(weight);
            return Some(Next::Record(record, encoded_len));
        }
        let given_up = queue.given_up.take().map(Next::GivenUp);
        if given_up.is_none() {
            self.queues.remove(&id);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rev: u64) -> Record {
        Record { scope_id: 5, guild_id: 1, rev, ..Record::default() }
    }

    fn revs(held: &mut HoldBack, queue: u64) -> Vec<u64> {
        let mut revs = Vec::new();
        while let Some(Next::Record(record, _)) = held.next(queue) {
            revs.push(record.rev);
        }
        revs
    }

    #[test]
    fn a_queue_keeps_its_order_and_closes_when_it_is_empty() {
        let mut held = HoldBack::new(HELD_BYTES_MAX);
        held.open(1, 10);
        held.open(2, 10);
        (1..4).for_each(|rev| held.hold(1, record(rev), 10));
        held.completed(1, 10);
        assert_eq!(revs(&mut held, 1), [1, 2, 3]);
        assert!(!held.is_open(1) && held.is_open(2));
        held.completed(2, 10);
        assert_eq!((held.next(2), held.bytes.get()), (None, 0));
    }

    #[test]
    fn a_full_queue_is_given_up_once_and_takes_no_room() {
        let small = (QUEUE_RECORDS_MAX as u64, 1);
        let large = (QUEUE_BYTES_MAX as u64 / (1 << 20), 1 << 20);
        for (count, encoded_len) in [small, large] {
            let mut held = HoldBack::new(HELD_BYTES_MAX);
            held.open(1, 0);
            (0..=count).for_each(|rev| held.hold(1, record(rev), encoded_len));
            held.hold(1, record(count + 1), encoded_len);
            held.completed(1, 0);
            assert_eq!(held.bytes.get(), 0);
            let Some(Next::GivenUp(given_up)) = held.next(1) else { panic!("too many") };
            assert_eq!(given_up.last_revs, HashMap::from([(5, count + 1)]));
            assert_eq!((held.next(1), held.is_open(1)), (None, false));
        }
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let mut held = HoldBack::new(HELD_BYTES_MAX);
        for queue in 0..(HELD_BYTES_MAX / QUEUE_BYTES_MAX) as u64 * 2 {
            held.open(queue, 0);
            while held.queues[&queue].bytes + entry::weight(1 << 20) <= QUEUE_BYTES_MAX && held.has_room() {
                held.hold(queue, record(1), 1 << 20);
            }
        }
        assert!(!held.has_room());
        assert_eq!(held.queues.values().map(|queue| queue.bytes).sum::<usize>(), held.bytes.get());
        held.completed(0, 0);
        assert!(!revs(&mut held, 0).is_empty());
        assert!(held.has_room());
    }
}
