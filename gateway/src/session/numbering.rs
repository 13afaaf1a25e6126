//! What a sequence number `s` means: arithmetic over positions of the log, without state.
//!
//! A session fixes two numbers when it identifies: `head`, the position up to which the state in its READY
//! includes every record, and `initial`, the number of its first dispatches (READY, and GUILD_CREATE for each
//! guild). READY is s = 1, the guilds are s = 2 ..= initial, and the record at position p > head is s = p -
//! head + initial. So nothing has to be stored for each dispatch, and the numbers have gaps where a record
//! was not for this session.

use weir_bus::Position;

/// The greatest `s` that every client library can hold: one of them keeps it in 31 bits.
pub(crate) const SEQUENCE_MAX: u64 = i32::MAX as u64;

/// How a session numbers its dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbering {
    head: Position,
    initial: u64,
}

/// Where a session goes on after the client named the last `s` that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumePoint {
    /// Send the initial guilds from this index (0-based) on, then every record above `head`.
    Guilds(usize),
    /// Send every record above this position.
    After(Position),
    /// The client never saw READY, so there is nothing to resume.
    BeforeReady,
    /// The number was never sent.
    Ahead,
}

impl Numbering {
    /// The numbering of a session with `guilds` guilds whose state includes every record up to `head`.
    pub(crate) fn new(head: Position, guilds: usize) -> Self {
        Self { head, initial: 1 + guilds as u64 }
    }

    pub(crate) fn head(self) -> Position {
        self.head
    }

    /// The number of the initial guild at `index`.
    pub(crate) fn of_guild(index: usize) -> u64 {
        2 + index as u64
    }

    /// The number of the record at `position`; a position up to `head` has the number of the last initial
    /// dispatch.
    pub(crate) fn of(self, position: Position) -> u64 {
        position.saturating_sub(self.head) + self.initial
    }

    /// Where to go on after `seq`. `passed` is the highest position that the session can have been sent.
    pub(crate) fn resume_after(self, seq: u64, passed: Position) -> ResumePoint {
        if seq > self.of(passed.max(self.head)) {
            ResumePoint::Ahead
        } else if seq == 0 {
            ResumePoint::BeforeReady
        } else if seq < self.initial {
            // READY is 1 and guild i is 2 + i, so after s = k the next guild is k - 1. The number is below
            // `initial`, which came from a usize.
            ResumePoint::Guilds((seq - 1) as usize)
        } else {
            ResumePoint::After(self.head + (seq - self.initial))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_leads_back_to_its_record(head in 0..1_u64 << 40, guilds in 0..=2_500_usize, above in 1..1_u64 << 30) {
            let numbering = Numbering::new(head, guilds);
            let position = head + above;
            let s = numbering.of(position);
            prop_assert!(s > numbering.initial);
            prop_assert_eq!(numbering.of(position + 1), s + 1);
            prop_assert_eq!(numbering.resume_after(s, position), ResumePoint::After(position));
            prop_assert_eq!(numbering.resume_after(s + 1, position), ResumePoint::Ahead);
        }

        #[test]
        fn every_number_of_the_introduction_leads_to_what_follows_it(head in 0..1_u64 << 40, guilds in 0..=2_500_usize) {
            let numbering = Numbering::new(head, guilds);
            prop_assert_eq!(numbering.resume_after(0, head), ResumePoint::BeforeReady);
            for index in 0..guilds {
                // A client that has seen everything before guild `index` misses that guild and those after
                // it.
                let seen = Numbering::of_guild(index) - 1;
                prop_assert_eq!(numbering.resume_after(seen, head), ResumePoint::Guilds(index));
            }
            prop_assert_eq!(numbering.resume_after(numbering.initial, head), ResumePoint::After(head));
            prop_assert_eq!(numbering.resume_after(numbering.initial + 1, head), ResumePoint::Ahead);
        }
    }

    #[test]
    fn positions_of_the_introduction_have_its_number() {
        let numbering = Numbering::new(10, 2);
        assert_eq!((numbering.of(0), numbering.of(10), numbering.of(11)), (3, 3, 4));
    }
}
