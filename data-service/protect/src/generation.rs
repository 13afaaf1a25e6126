//! The barrier: two generations for each partition, in a fixed array of striped cells.
//!
//! A writer commits, bumps, then acknowledges. A read carries the generation that it saw before its store
//! read began, and its answer may be shared or served again only while that generation is current. There is
//! no table to grow and nothing to evict: partitions in the same cell share its generations, which costs a
//! read, never correctness.

use std::hash::{BuildHasher, Hash};

use crate::sync::{AtomicU32, AtomicU64, Ordering, RandomState};

/// Default number of cells: 2^20 of 8 bytes each, 8 MiB. With `p` partitions written within a page's life in
/// the cache, the share of needless invalidations is about `p / 2^20`: one in ten with 100,000 partitions
/// being written.
pub const CELLS_DEFAULT: usize = 1 << 20;

/// Cells that count unresolved writes: 2^12 of 4 bytes each, 16 KiB. Such writes are rare, and a partition
/// that shares a cell with one only stays out of the cache until the write is resolved.
const UNRESOLVED_CELLS: usize = 1 << 12;

/// One append. The low half counts appends; its overflow after 2^32 carries into the mutate half, which is
/// one bump too many and therefore harmless.
const APPEND: u64 = 1;
/// One mutation.
const MUTATE: u64 = 1 << 32;

/// Effect of a change on the rows of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Adds a row at the end.
    Append,
    /// Alters or removes an existing row, or adds one that is not at the end.
    Mutate,
    /// Both, or unknown.
    Both,
}

impl Change {
    const fn step(self) -> u64 {
        match self {
            Self::Append => APPEND,
            Self::Mutate => MUTATE,
            Self::Both => APPEND | MUTATE,
        }
    }
}

/// Kinds of changes that make an answer stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependence {
    /// The answer reaches the end of the partition: stale after any change.
    Append,
    /// The answer lies wholly below the end: stale only after a mutation.
    Mutate,
}

/// The generations of one cell at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Generation(u64);

impl Generation {
    /// True if an answer that was read under this generation is still good when `current` holds.
    ///
    /// The check is for equality, not order: the halves wrap.
    #[must_use]
    pub const fn is_current(self, current: Self, dependence: Dependence) -> bool {
        match dependence {
            Dependence::Append => self.0 == current.0,
            Dependence::Mutate => self.0 / MUTATE == current.0 / MUTATE,
        }
    }
}

/// The fixed striped array of generations. Wait-free; never grows.
#[derive(Debug)]
pub struct Generations {
    /// Low half: appends; high half: mutations. Written only by [`Generations::bump`], with `AcqRel`: a
    /// reader of the new value also sees the commit before it.
    cells: Box<[AtomicU64]>,
    /// Unresolved writes for each (coarser) cell; nonzero keeps its partitions out of the cache.
    unresolved: Box<[AtomicU32]>,
    hasher: RandomState,
}

impl Generations {
    /// An array of `cells` cells, rounded up to a power of two; eight bytes each.
    #[must_use]
    pub fn new(cells: usize) -> Self {
        let cells = cells.max(1).next_power_of_two();
        Self {
            cells: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            unresolved: (0..cells.min(UNRESOLVED_CELLS)).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The present generation of the partition `key`.
    #[must_use]
    pub fn snapshot<K: Hash + ?Sized>(&self, key: &K) -> Generation {
        Generation(self.cell(key).load(Ordering::Acquire))
    }

    /// Makes every answer stale that `change` could have altered. Call it after the commit and before the
    /// acknowledgement, whatever the outcome of the write was.
    pub fn bump<K: Hash + ?Sized>(&self, key: &K, change: Change) {
        self.cell(key).fetch_add(change.step(), Ordering::AcqRel);
    }

    /// [`Generations::bump`] with [`Change::Append`].
    pub fn bump_append<K: Hash + ?Sized>(&self, key: &K) {
        self.bump(key, Change::Append);
    }

    /// [`Generations::bump`] with [`Change::Mutate`].
    pub fn bump_mutate<K: Hash + ?Sized>(&self, key: &K) {
        self.bump(key, Change::Mutate);
    }

    /// Guard of a write that is about to be sent to the store: it bumps when it is dropped, for any reason.
    ///
    /// Hold it across the commit, and drop it before the acknowledgement. A caller that leaves between commit
    /// and bump, an error and a panic all bump.
    #[must_use = "dropping it is the bump"]
    pub fn write<'a, K: Hash + ?Sized>(&'a self, key: &'a K, change: Change) -> PendingWrite<'a, K> {
        PendingWrite { generations: self, key, change }
    }

    /// Records that a write of `key` timed out and may yet land: until the guard is dropped, nothing of `key`
    /// is served from the cache or filled into it. Bumps at both ends.
    #[must_use = "dropping it says that the write is resolved"]
    pub fn unresolved<'a, K: Hash + ?Sized>(&'a self, key: &'a K) -> Unresolved<'a, K> {
        self.mark_unresolved(key);
        Unresolved { generations: self, key }
    }

    /// The first half of [`Generations::unresolved`], for a caller that cannot hold a borrow. Each call needs
    /// one [`Generations::mark_resolved`].
    pub fn mark_unresolved<K: Hash + ?Sized>(&self, key: &K) {
        self.unresolved_cell(key).fetch_add(1, Ordering::AcqRel);
        self.bump(key, Change::Both);
    }

    /// The second half: records that the write's outcome is known.
    pub fn mark_resolved<K: Hash + ?Sized>(&self, key: &K) {
        // The bump comes before unmarking: a reader that no longer sees the mark must see that earlier reads
        // are stale.
        self.bump(key, Change::Both);
        self.unresolved_cell(key).fetch_sub(1, Ordering::AcqRel);
    }

    /// True if some write of `key` (or of a key in its cell) is unresolved.
    #[must_use]
    pub fn is_unresolved<K: Hash + ?Sized>(&self, key: &K) -> bool {
        self.unresolved_cell(key).load(Ordering::Acquire) != 0
    }

    /// True if an answer of `key`, read under `generation`, may be served now: the one check of a hit.
    ///
    /// The unresolved mark is read before the generation; see [`Generations::mark_resolved`].
    #[must_use]
    pub fn is_servable<K: Hash + ?Sized>(&self, key: &K, generation: Generation, on: Dependence) -> bool {
        let hash = self.hash(key);
        let unresolved = at(&self.unresolved, hash).load(Ordering::Acquire) != 0;
        if unresolved {
            return false;
        }
        generation.is_current(Generation(at(&self.cells, hash).load(Ordering::Acquire)), on)
    }

    /// Bytes of the array, which never change.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.unresolved)
    }

    fn cell<K: Hash + ?Sized>(&self, key: &K) -> &AtomicU64 {
        at(&self.cells, self.hash(key))
    }

    fn unresolved_cell<K: Hash + ?Sized>(&self, key: &K) -> &AtomicU32 {
        at(&self.unresolved, self.hash(key))
    }

    fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// The cell of a hash in an array whose length is a power of two.
fn at<T>(cells: &[T], hash: u64) -> &T {
    #[expect(clippy::cast_possible_truncation, reason = "only low bits are kept")]
    let hash = hash as usize;
    &cells[hash & (cells.len() - 1)]
}

/// Guard of a write in progress; see [`Generations::write`].
#[derive(Debug)]
pub struct PendingWrite<'a, K: Hash + ?Sized> {
    generations: &'a Generations,
    key: &'a K,
    change: Change,
}

impl<K: Hash + ?Sized> PendingWrite<'_, K> {
    /// Bumps now because the write has an outcome. It is the same as dropping the guard, but visible at the
    /// call site.
    pub fn settle(self) {
        drop(self);
    }
}

impl<K: Hash + ?Sized> Drop for PendingWrite<'_, K> {
    fn drop(&mut self) {
        self.generations.bump(self.key, self.change);
    }
}

/// Guard of an unresolved write; see [`Generations::unresolved`].
#[derive(Debug)]
pub struct Unresolved<'a, K: Hash + ?Sized> {
    generations: &'a Generations,
    key: &'a K,
}

impl<K: Hash + ?Sized> Drop for Unresolved<'_, K> {
    fn drop(&mut self) {
        self.generations.mark_resolved(self.key);
    }
}
