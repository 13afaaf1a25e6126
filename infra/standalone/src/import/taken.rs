//! Remembers the ids of lines that were seen, so that a second line with the same id is found.

use std::collections::BTreeMap;

/// Most runs of ids that are remembered. Each takes 16 bytes and about as many for the tree. A file whose ids
/// count up is one run, whatever its length; one whose ids jump at every line has a run for each line. Beyond
/// the bound the smallest ids are forgotten, and their repetition goes unnoticed.
const RUNS_MAX: usize = 4_000_000;

/// A set of ids, kept as runs of consecutive ones.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Last id of each run, by its first id.
    runs: BTreeMap<u64, u64>,
    max: usize,
    /// True if there were more runs than are remembered.
    forgot: bool,
}

impl Default for Taken {
    fn default() -> Self {
        Self::new(RUNS_MAX)
    }
}

impl Taken {
    fn new(max: usize) -> Self {
        Self { runs: BTreeMap::new(), max, forgot: false }
    }

    /// Adds an id; false if the set had it already.
    pub(crate) fn take(&mut self, id: u64) -> bool {
        let below = self.runs.range(..=id).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| last >= id) {
            return false;
        }
        let first = match below {
            Some((first, last)) if last.checked_add(1) == Some(id) => first,
            _ => id,
        };
        // The run that begins right above is joined to this one.
        let last = id.checked_add(1).and_then(|next| self.runs.remove(&next)).unwrap_or(id);
        self.runs.insert(first, last);
        if self.runs.len() > self.max {
            self.runs.pop_first();
            self.forgot = true;
        }
        true
    }

    /// True once ids were forgotten. From then on a repetition may go unnoticed.
    pub(crate) fn forgot(&self) -> bool {
        self.forgot
    }

    /// Number of runs that are remembered.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// True if the set has no id.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// True if the set has the id.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.runs.range(..=id).next_back().is_some_and(|(_, last)| *last >= id)
    }

    /// The first id from this one on that the set does not have.
    pub(crate) fn free_from(&self, id: u64) -> u64 {
        match self.runs.range(..=id).next_back() {
            Some((_, last)) if *last >= id => last.saturating_add(1),
            Some(_) | None => id,
        }
    }

    /// The last id up to this one that the set does not have.
    pub(crate) fn free_to(&self, id: u64) -> Option<u64> {
        match self.runs.range(..=id).next_back() {
            Some((first, last)) if *last >= id => first.checked_sub(1),
            Some(_) | None => Some(id),
        }
    }

    /// Adds all ids below this one.
    pub(crate) fn take_below(&mut self, id: u64) {
        if let Some(last) = id.checked_sub(1) {
            self.runs.insert(0, last);
        }
    }

    /// Forgets the runs outside of these ids, for a caller that will not ask for them again. Returns true if
    /// any lay above.
    pub(crate) fn keep(&mut self, from: u64, to: u64) -> bool {
        let above = self.runs.last_key_value().is_some_and(|(first, _)| *first > to);
        self.runs.retain(|first, last| *last >= from && *first <= to);
        above
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(ids in proptest::collection::vec(0_u64..60, 0..200)) {
            let (mut taken, mut model) = (Taken::default(), HashSet::new());
            for id in ids {
                prop_assert_eq!(taken.take(id), model.insert(id));
            }
            for id in 0..61 {
                prop_assert_eq!(taken.contains(id), model.contains(&id));
                prop_assert_eq!(Some(taken.free_from(id)), (id..).find(|id| !model.contains(id)));
                prop_assert_eq!(taken.free_to(id), (0..=id).rev().find(|id| !model.contains(id)));
            }
        }
    }

    #[test]
    fn ids_that_count_up_cost_one_run_and_others_are_bounded() {
        let mut taken = Taken::new(3);
        assert!((0..1_000).all(|id| taken.take(id)));
        assert_eq!(taken.runs.len(), 1);
        assert!(taken.take(u64::MAX) && !taken.take(u64::MAX));
        assert!([2_000, 3_000, 4_000].into_iter().all(|id| taken.take(id)));
        assert_eq!(taken.runs.len(), 3);
        assert!(taken.forgot());
        assert!(!taken.take(4_000) && taken.take(5), "the least ones were forgotten");
    }
}
