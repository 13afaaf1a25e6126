//! What a sequence number `s` means: pure arithmetic over positions of the log.
//!
//! A session fixes two numbers when it identifies: `head`, the position up to which the state in its READY includes every record, and
//! `initial`, the number of dispatches that introduce it (READY and one for each guild). READY is s = 1, the guilds are s = 2 ..= initial, and
//! the record at position p > head is s = p - head + initial. So nothing has to be stored for each dispatch, and numbers have gaps where a
//! record was not for this session.

use weir_bus::Position;

/// The greatest `s` that every client library can hold: one keeps it in 31 bits.
pub(crate) const SEQUENCE_MAX: u64 = i32::MAX as u64;

/// How a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbering {
    head: Position,
    initial: u64,
}

/// Where a session goes on after the client named the last `s` it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumePoint {
    /// Guilds of the introduction from this index (0-based) on are missing, then every record above `head`.
    Guilds(usize),
    /// Every record above this position.
    After(Position),
    /// READY itself was never seen: there is nothing to resume.
    BeforeReady,
    /// A number that was never sent.
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

    /// The number of the guild at `index` of the introduction.
    pub(crate) fn of_guild(index: usize) -> u64 {
        2 + index as u64
    }

    /// The number of the record at `position`; positions up to `head` are part of the introduction.
    pub(crate) fn of(self, position: Position) -> u64 {
        position.saturating_sub(self.head) + self.initial
    }

    /// Where to go on after `seq`, if `passed` is the highest position the session can have been told of.
    pub(crate) fn resume_after(self, seq: u64, passed: Position) -> ResumePoint {
        if seq > self.of(passed.max(self.head)) {
            ResumePoint::Ahead
        } else if seq == 0 {
            ResumePoint::BeforeReady
        } else if seq < self.initial {
            // READY is 1 and guild i is 2 + i, so after s = k the next guild is k - 1. Below `initial`, which came from a usize.
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
                // Having seen what came before guild `index`, the client misses it and those after.
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
