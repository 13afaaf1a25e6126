//! The gap detector: it remembers the last revision seen in each scope, from which follows whether a record
//! is new, repeated, or follows on missing ones. It does no I/O.
//!
//! Within a scope (a channel or a guild) revisions rise, and each record promises that nothing lies between
//! its `prev_rev` and its `rev`. So a record whose `rev` is not above the last one seen is a repetition. If
//! its `prev_rev` is above the last one seen, records between the two may be missing.

use std::collections::HashMap;

use crate::limits::{memory::SCOPE_BYTES, weight::ByteGauge};

/// How a record continues its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// It is the next one.
    Next,
    /// It was seen before.
    Repeated,
    /// Records above this revision and below this record's may be missing.
    Missing {
        /// Everything up to this revision was seen.
        after_rev: u64,
    },
}

/// The last revision seen in each scope. The number of scopes is bounded.
///
/// The scopes are kept in two generations. A scope that is touched moves to the young one. When that is full,
/// the old one is forgotten and the young one becomes the old one. So a scope is kept for at least
/// `scopes_max / 2` touches of other scopes. A scope that was forgotten counts as never seen: a repetition of
/// its last record would be published, and a loss just before its next record would not be noticed.
#[derive(Debug)]
pub(crate) struct GapDetector {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
    generation_max: usize,
    bytes: ByteGauge,
}

impl GapDetector {
    /// Keeps at most `scopes_max` scopes (at least 2), [`SCOPE_BYTES`] each.
    pub(crate) fn new(scopes_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: (scopes_max / 2).max(1),
            bytes: ByteGauge::default(),
        }
    }

    /// The last revision seen in a scope.
    pub(crate) fn last(&self, scope: u64) -> Option<u64> {
        self.young.get(&scope).or_else(|| self.old.get(&scope)).copied()
    }

    /// Notes that everything up to `rev` was seen. A revision below the last one changes nothing.
    pub(crate) fn seen(&mut self, scope: u64, rev: u64) {
        let rev = self.last(scope).map_or(rev, |last| last.max(rev));
        let before = self.len();
        if self.young.len() >= self.generation_max && !self.young.contains_key(&scope) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(scope, rev);
        self.bytes.add(self.len() * SCOPE_BYTES);
        self.bytes.sub(before * SCOPE_BYTES);
    }

    /// The gauge of its bytes.
    pub(crate) fn bytes(&self) -> &ByteGauge {
        &self.bytes
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lower_revision_does_not_take_anything_back() {
        let mut gaps = GapDetector::new(8);
        gaps.seen(1, 10);
        gaps.seen(1, 9);
        assert_eq!((gaps.last(1), gaps.last(2)), (Some(10), None));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_recent_scopes_are_kept(scopes in prop::collection::vec(0..200_u64, 1..400)) {
            let mut gaps = GapDetector::new(32);
            for (rev, scope) in (1_u64..).zip(&scopes) {
                gaps.seen(*scope, rev);
                prop_assert!(gaps.len() <= 32);
                prop_assert_eq!(gaps.bytes().get(), gaps.len() * SCOPE_BYTES);
                prop_assert_eq!(gaps.last(*scope), Some(rev));
            }
            // The last 16 distinct scopes survive.
            let mut recent: Vec<u64> = Vec::new();
            for scope in scopes.iter().rev() {
                if !recent.contains(scope) && recent.len() < 16 {
                    recent.push(*scope);
                }
            }
            for scope in recent {
                prop_assert!(gaps.last(scope).is_some());
            }
        }
    }
}
