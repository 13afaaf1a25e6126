//! Which ids of lines have been seen, so that the second line with one is found.

use std::collections::BTreeMap;

/// Runs of ids that are remembered: 16 bytes each and about as many for the tree. A file whose ids count up is one run, whatever its length;
/// one whose ids jump at every line has a run for each. Beyond it the least ids are forgotten, and their repetition goes unnoticed.
const RUNS_MAX: usize = 4_000_000;

/// A set of ids, kept as runs of consecutive ones.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Last id of each run, by its first.
    runs: BTreeMap<u64, u64>,
    max: usize,
}

impl Default for Taken {
    fn default() -> Self {
        Self::new(RUNS_MAX)
    }
}

impl Taken {
    fn new(max: usize) -> Self {
        Self { runs: BTreeMap::new(), max }
    }

    /// Takes an id; false if it was taken before.
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
        }
        true
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
        assert!(!taken.take(4_000) && taken.take(5), "the least ones were forgotten");
    }
}
