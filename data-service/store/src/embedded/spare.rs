//! Spare file descriptors: held so that nobody else can take them, and given back when there are no others, so that what fjall has begun
//! can be ended.
//!
//! fjall opens files in threads of its own (a journal when the last one is full, a table when a buffer is, every input of a merge), and the
//! first refusal poisons it. So while few descriptors are left no new work is given to it; see [`Spare::look`].

use std::{fs::File, io};

use rustix::process::{Resource, getrlimit};

/// Descriptors held at most: what two threads of fjall's hold open at once when each merges some thirty tables, the most that was seen.
const HELD_MAX: u64 = 64;
/// The part of the process's limit that is held at most: where few may be opened, connections need them too.
const HELD_SHARE: u64 = 8;
/// Tables that fjall keeps open at most, its own default.
const CACHED_MAX: u64 = 900;
/// The part of the limit that these may take.
const CACHED_SHARE: u64 = 8;
/// fjall asks for as many at least.
const CACHED_MIN: u64 = 10;

/// How many files this process may have open.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many tables fjall may keep open under a limit.
pub(super) fn cached_files(limit: u64) -> usize {
    let files = (limit / CACHED_SHARE).clamp(CACHED_MIN, CACHED_MAX);
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// The spare descriptors of one store.
#[derive(Debug)]
pub(super) struct Spare {
    /// What the others are copies of.
    null: File,
    held: Vec<File>,
    /// How many are held while all is well; as many more must be free then.
    wanted: usize,
}

impl Spare {
    /// Takes them. If there are too few the next look says so.
    pub(super) fn take(limit: u64) -> io::Result<Self> {
        let wanted = usize::try_from((limit / HELD_SHARE).clamp(1, HELD_MAX)).unwrap_or(1);
        let mut spare = Self { null: File::open("/dev/null")?, held: Vec::new(), wanted };
        spare.look();
        Ok(spare)
    }

    /// Whether the store has the descriptors that it may need: those that are held, and, to notice it before they are needed, as many that
    /// are free (twice as many to begin again). If not, those that were held are free from now on.
    pub(super) fn look(&mut self) -> bool {
        let missing = self.wanted - self.held.len();
        let free = if missing == 0 { self.wanted } else { 2 * self.wanted };
        let tried: io::Result<Vec<File>> = (0..missing + free).map(|_| self.null.try_clone()).collect();
        match tried {
            Ok(mut taken) => {
                taken.truncate(missing);
                self.held.append(&mut taken);
                true
            }
            Err(_none_left) => {
                self.held.clear();
                false
            }
        }
    }

    /// The same at a fraction of the cost, before each batch: whether there is one at all. While there were none nothing is tried: each try
    /// takes what there is for a moment, and fjall may need just that.
    pub(super) fn glance(&mut self) -> bool {
        let well = self.held.len() == self.wanted;
        well && (self.null.try_clone().is_ok() || self.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fjall_keeps_open_follows_the_limit() {
        assert_eq!([64, 300, 1_024, 20_000, u64::MAX].map(cached_files), [10, 37, 128, 900, 900]);
    }

    #[test]
    fn the_spare_is_a_part_of_a_low_limit() {
        for (limit, wanted) in [(4, 1), (256, 32), (512, 64), (u64::MAX, 64)] {
            let mut spare = Spare::take(limit).expect("there are some");
            assert_eq!((spare.wanted, spare.held.len()), (wanted, wanted), "{limit}");
            assert!(spare.glance() && spare.look());
        }
    }
}
