//! Spare file descriptors. They are held so that nothing else can take them, and released when there are no
//! others, so that fjall can end the work it has begun.
//!
//! fjall opens files in threads of its own (a journal when the last one is full, a table when a buffer is,
//! every input of a merge), and the first refusal poisons it. So while few descriptors are left it gets no
//! new work; see [`Spare::check`].

use std::{fs::File, io, os::fd::AsRawFd as _};

use rustix::process::{Resource, getrlimit};

/// Most descriptors that are spare: as many as two threads of fjall's have open at once when each merges some
/// thirty tables, the most that was seen.
const SPARE_MAX: u64 = 64;
/// At most one in this many of the descriptors that the process may open is spare: where those are few,
/// connections need them too.
const SPARE_SHARE: u64 = 8;
/// Most tables that fjall keeps open, its own default.
const CACHED_MAX: u64 = 900;
/// At most one in this many of the descriptors that the process may open is for these tables.
const CACHED_SHARE: u64 = 8;
/// Fewest tables that fjall accepts.
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
    /// The file of which the spare descriptors are copies.
    null: File,
    spare: Vec<File>,
    /// How many are held while there are enough; as many more must be free then.
    wanted: usize,
}

impl Spare {
    /// Takes the spare descriptors. If there are too few, the next check reports it.
    pub(super) fn take(limit: u64) -> io::Result<Self> {
        let wanted = usize::try_from((limit / SPARE_SHARE).clamp(1, SPARE_MAX)).unwrap_or(1);
        let mut spare = Self { null: File::open("/dev/null")?, spare: Vec::new(), wanted };
        spare.check();
        Ok(spare)
    }

    /// Checks whether the store has the descriptors that it may need: the spare ones, and as many that are
    /// free, so that a shortage is noticed in time (twice as many to begin again). If not, releases the spare
    /// ones.
    pub(super) fn check(&mut self) -> bool {
        let missing = self.wanted - self.spare.len();
        let free = if missing == 0 { self.wanted } else { 2 * self.wanted };
        let tried: io::Result<Vec<File>> = (0..missing + free).map(|_| self.null.try_clone()).collect();
        match tried {
            Ok(mut taken) => {
                taken.truncate(missing);
                self.spare.append(&mut taken);
                true
            }
            Err(_none_left) => {
                self.spare.clear();
                false
            }
        }
    }

    /// Does the same at a fraction of the cost, before each batch: the number of the lowest free descriptor
    /// shows how many there can be. While there were too few, it tries nothing: each try takes the free ones
    /// for a moment, and fjall may need just those.
    pub(super) fn check_quickly(&mut self) -> bool {
        let well = self.spare.len() == self.wanted;
        well && (self.is_far_from(limit()) || self.check())
    }

    /// False if fewer than twice as many descriptors as are spare can be free. A connect storm takes what is
    /// free within a batch or two, and it is too late when none is.
    fn is_far_from(&self, limit: u64) -> bool {
        // The system gives out the lowest number that is free.
        let lowest = self.null.try_clone().ok().and_then(|file| u64::try_from(file.as_raw_fd()).ok());
        lowest.is_some_and(|lowest| lowest.saturating_add(2 * self.wanted as u64) < limit)
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
            assert_eq!((spare.wanted, spare.spare.len()), (wanted, wanted), "{limit}");
            assert!(spare.check_quickly() && spare.check());
        }
    }
}
