//! The distinct quotas of a process, numbered, so that a slot can refer to its quota in two bytes.

use std::collections::HashMap;

use crate::limit::gcra::Quota;

/// The number of a quota. 0 is never assigned: an empty slot has it.
pub(super) type QuotaId = u16;

/// Every quota in use, by number. Immutable once published in a rule snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Quotas {
    /// `by_id[id - 1]`.
    by_id: Vec<Quota>,
    ids: HashMap<Quota, QuotaId>,
}

impl Quotas {
    /// The quota numbered `id`; `None` for 0 and for unassigned numbers.
    pub(super) fn get(&self, id: QuotaId) -> Option<Quota> {
        self.by_id.get(usize::from(id).checked_sub(1)?).copied()
    }

    /// The number of `quota`, assigned now if need be. `None` once 65,535 distinct quotas have been seen.
    pub(super) fn intern(&mut self, quota: Quota) -> Option<QuotaId> {
        if let Some(&id) = self.ids.get(&quota) {
            return Some(id);
        }
        let id = QuotaId::try_from(self.by_id.len() + 1).ok()?;
        self.by_id.push(quota);
        self.ids.insert(quota, id);
        Some(id)
    }

    /// Reassigns the number of a quota that no rule uses to `quota`, when all numbers are assigned.
    ///
    /// A slot that still has the number is read under the wrong old quota at its next check. It holds a debt
    /// that its key has not paid off since the old rule was removed; the conversion caps its gain at the new
    /// quota's burst.
    pub(super) fn recycle(&mut self, quota: Quota, in_use: impl Fn(Quota) -> bool) -> Option<QuotaId> {
        let place = self.by_id.iter().position(|&old| !in_use(old))?;
        self.ids.remove(&self.by_id[place]);
        self.by_id[place] = quota;
        let id = QuotaId::try_from(place + 1).ok()?;
        self.ids.insert(quota, id);
        Some(id)
    }
}
