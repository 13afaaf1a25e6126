//! The state of many rates in fixed memory: a set-associative table of eight-way sets.
//!
//! A slot is 16 bytes: 48 bits of the key's hash, the number of its quota, and its TAT. The hash is keyed
//! with a secret of the process, and the set's index adds its own low bits, so two keys share a slot with a
//! probability of less than 2^-45 a lookup. The table never grows: a new key in a full set takes the slot
//! that is settled or nearest to it, *with its debt*. So a caller that rotates random keys gains nothing: it
//! pays the debts of the slots that it takes.
//!
//! Sets are spread over shards, each with a mutex. A charge of several cells locks their shards in ascending
//! order, checks all, and commits all or none.

use std::time::Duration;

use crate::{
    clock::Nanos,
    limit::{
        gcra::{self, Quota, Verdict},
        quotas::{QuotaId, Quotas},
    },
    sync::{Mutex, MutexGuard, lock},
};

/// Ways of a set: eight slots are two cache lines, which the processor fetches as a pair.
const WAYS: usize = 8;
/// Maximum shards. 256: many more than cores, and 10 KiB of mutexes.
const SHARDS_MAX: usize = 256;
/// Maximum cells of one charge: four scopes, each enforced and in dry run.
pub(super) const CELLS_MAX: usize = 2 * crate::request::SCOPES_MAX;

/// The low bits of a slot's head hold the quota's number, the rest the hash.
const QUOTA_BITS: u32 = 16;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// `hash & !0xffff | quota id`; 0 in the low bits: empty.
    head: u64,
    /// Nanoseconds; at most `now` if the slot is settled.
    tat: u64,
}

impl Slot {
    const fn quota_id(self) -> QuotaId {
        // The cast keeps exactly the low 16 bits.
        #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are meant")]
        let id = self.head as QuotaId;
        id
    }

    const fn is(self, hash: u64) -> bool {
        self.quota_id() != 0 && self.head >> QUOTA_BITS == hash >> QUOTA_BITS
    }
}

type Set = [Slot; WAYS];
/// A shard under its lock, with its index.
type HeldShard<'a> = (usize, MutexGuard<'a, Box<[Set]>>);

/// One rate to be charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    /// The key's hash.
    pub(super) hash: u64,
    /// The quota in force.
    pub(super) quota: Quota,
    /// The quota's number.
    pub(super) quota_id: QuotaId,
    /// The TAT of a key without a slot: the one to which a settled key was converted at the last change of
    /// the quota.
    pub(super) baseline: Nanos,
    /// Time from which the quota applies to this key: a slot of another quota is converted as of then.
    pub(super) since: Nanos,
    /// True if its refusal refuses the charge; otherwise it is a dry run.
    pub(super) enforced: bool,
}

/// Result of a charge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// The enforced cell with the longest wait among those that refused. If set, nothing was charged.
    pub(super) refused: Option<(usize, Duration)>,
    /// An enforced cell whose burst is below the amount. If set, nothing was charged, and no wait helps.
    pub(super) never_fits: Option<usize>,
    /// A dry-run cell that would have refused.
    pub(super) would_refuse: Option<usize>,
}

/// Position of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    shard: usize,
    set: usize,
    way: usize,
}

/// The table; see the module's documentation.
#[derive(Debug)]
pub struct LimitTable {
    /// `shards[i]` holds the sets whose index is `i` modulo the number of shards. Both counts are powers of
    /// two.
    shards: Box<[Mutex<Box<[Set]>>]>,
    sets: usize,
}

impl LimitTable {
    /// A table of `slots` slots, rounded up so that the number of sets is a power of two.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let sets = slots.div_ceil(WAYS).max(1).next_power_of_two();
        let shards = sets.min(SHARDS_MAX);
        let shard = || Mutex::new(vec![Set::default(); sets / shards].into_boxed_slice());
        Self { shards: (0..shards).map(|_| shard()).collect(), sets }
    }

    /// Bytes of the table, which never change.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sets * size_of::<Set>() + size_of_val(&*self.shards)
    }

    /// Checks every cell and, if no enforced one refuses, charges every cell that has room with `amount`, in
    /// one step. `cells` has at most [`CELLS_MAX`] entries, all of them set.
    pub(super) fn charge(
        &self,
        cells: &[Option<Cell>],
        amount: u32,
        now: Nanos,
        quotas: &Quotas,
    ) -> Decision {
        // One cell is the usual case: its cost is mostly its space on the stack.
        match cells.len() {
            0 | 1 => self.charge_up_to::<1>(cells, amount, now, quotas),
            2..=4 => self.charge_up_to::<4>(cells, amount, now, quotas),
            _ => self.charge_up_to::<CELLS_MAX>(cells, amount, now, quotas),
        }
    }

    /// Time for which one cell would be refused; nothing is charged or changed.
    pub(super) fn peek(&self, cell: &Cell, now: Nanos, quotas: &Quotas) -> Option<Duration> {
        let (shard, set) = self.address(cell.hash);
        let ways = lock(&self.shards[shard])[set];
        let tat = match ways.iter().find(|slot| slot.is(cell.hash)) {
            Some(slot) => renew(*slot, cell, now, quotas).tat,
            // The slot is the one that `place` would make.
            None => {
                let debt_max = now.after(Duration::from_nanos(cell.quota.fill_ns())).as_nanos();
                let least = ways.iter().map(|slot| slot.tat).min().unwrap_or(0);
                gcra::after_step(cell.quota, cell.baseline, now).as_nanos().max(least.min(debt_max))
            }
        };
        match gcra::check(cell.quota, Nanos::from_nanos(tat), now) {
            Verdict::Admit(_) => None,
            Verdict::Refuse(wait) => Some(wait),
            // One cell fits into every burst except 0, which refuses it.
            Verdict::NeverFits => Some(gcra::BLOCKED_RETRY),
        }
    }

    fn charge_up_to<const N: usize>(
        &self,
        cells: &[Option<Cell>],
        amount: u32,
        now: Nanos,
        quotas: &Quotas,
    ) -> Decision {
        debug_assert!(cells.len() <= N, "at most {N} cells");
        let mut held = self.lock_all::<N>(cells);
        let mut next = [None; N];
        let mut decision = Decision::default();
        for (i, cell) in cells.iter().flatten().enumerate().take(N) {
            let place = self.place(&mut held, cell, now, quotas, &next[..i]);
            let slot = held.slot(place);
            let verdict = gcra::check_many(cell.quota, amount, Nanos::from_nanos(slot.tat), now);
            next[i] = Some((place, verdict));
            match verdict {
                Verdict::Admit(_) => {}
                Verdict::Refuse(_) | Verdict::NeverFits if !cell.enforced => decision.would_refuse = Some(i),
                Verdict::NeverFits => decision.never_fits = Some(i),
                Verdict::Refuse(wait) => {
                    let longest = decision.refused.map_or(Duration::ZERO, |(_, wait)| wait);
                    decision.refused = Some((i, wait)).filter(|_| wait >= longest).or(decision.refused);
                }
            }
        }
        let refused = decision.refused.is_some() || decision.never_fits.is_some();
        if !refused {
            for (place, verdict) in next.into_iter().flatten() {
                if let Verdict::Admit(tat) = verdict {
                    held.slot(place).tat = tat.as_nanos();
                }
            }
        }
        decision
    }

    /// The slot of `cell`, made if need be, with its TAT converted to the cell's quota. Nothing is charged.
    fn place<const N: usize>(
        &self,
        held: &mut Held<'_, N>,
        cell: &Cell,
        now: Nanos,
        quotas: &Quotas,
        taken: &[Option<(Place, Verdict)>],
    ) -> Place {
        let (shard, set) = self.address(cell.hash);
        let ways = held.set(shard, set);
        if let Some(way) = ways.iter().position(|slot| slot.is(cell.hash)) {
            ways[way] = renew(ways[way], cell, now, quotas);
            return Place { shard, set, way };
        }
        // The emptiest slot that this charge does not already use; an empty one has a TAT of 0.
        let free = |way: &usize| !taken.iter().flatten().any(|(p, _)| *p == Place { shard, set, way: *way });
        let way = (0..WAYS).filter(free).min_by_key(|&way| ways[way].tat).unwrap_or(0);
        let debt_max = now.after(Duration::from_nanos(cell.quota.fill_ns()));
        let inherited = Nanos::from_nanos(ways[way].tat).min(debt_max);
        let baseline = gcra::after_step(cell.quota, cell.baseline, now);
        ways[way] = Slot { head: head(cell), tat: baseline.max(inherited).as_nanos() };
        Place { shard, set, way }
    }

    fn lock_all<const N: usize>(&self, cells: &[Option<Cell>]) -> Held<'_, N> {
        let mut wanted = [usize::MAX; N];
        for (shard, cell) in wanted.iter_mut().zip(cells.iter().flatten()) {
            *shard = self.address(cell.hash).0;
        }
        // The order is ascending and without repetition: two charges can never wait for each other.
        wanted.sort_unstable();
        let mut shards = [const { None }; N];
        let mut last = usize::MAX;
        for (held, shard) in shards.iter_mut().zip(wanted) {
            if shard != last && shard != usize::MAX {
                *held = Some((shard, lock(&self.shards[shard])));
                last = shard;
            }
        }
        Held { shards }
    }

    /// The shard, and the set within it.
    fn address(&self, hash: u64) -> (usize, usize) {
        #[expect(clippy::cast_possible_truncation, reason = "only low bits are kept")]
        let set = hash as usize & (self.sets - 1);
        (set % self.shards.len(), set / self.shards.len())
    }
}

/// Returns `slot` with its TAT converted to the cell's quota, and pulled in if the clock stepped back.
fn renew(slot: Slot, cell: &Cell, now: Nanos, quotas: &Quotas) -> Slot {
    let tat = Nanos::from_nanos(slot.tat);
    if slot.quota_id() == cell.quota_id {
        return Slot { tat: gcra::after_step(cell.quota, tat, now).as_nanos(), ..slot };
    }
    let since = cell.since.min(now);
    let converted = match quotas.get(slot.quota_id()) {
        Some(old) => gcra::convert(old, cell.quota, gcra::after_step(old, tat, now), since),
        None => gcra::after_step(cell.quota, cell.baseline, now),
    };
    Slot { head: head(cell), tat: converted.as_nanos() }
}

fn head(cell: &Cell) -> u64 {
    cell.hash >> QUOTA_BITS << QUOTA_BITS | u64::from(cell.quota_id)
}

/// The shards of one charge, locked.
struct Held<'a, const N: usize> {
    shards: [Option<HeldShard<'a>>; N],
}

impl<const N: usize> Held<'_, N> {
    fn set(&mut self, shard: usize, set: usize) -> &mut Set {
        let held = self.shards.iter_mut().flatten().find(|(index, _)| *index == shard);
        let (_, sets) = held.expect("lock_all locked the shard of every cell");
        &mut sets[set]
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        &mut self.set(place.shard, place.set)[place.way]
    }
}
