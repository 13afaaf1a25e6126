//! Leases by compare-and-set, in the one thread that writes.

use fjall::Slice;

use super::{
    draft::{Draft, PlanError},
    keys,
    tables::Table,
};
use crate::{Lease, LeaseAnswer};

/// Value of a lease's row: its end, then its holder.
pub(super) fn encode(lease: &Lease) -> Vec<u8> {
    let mut bytes = keys::one(lease.mint_until_us).to_vec();
    bytes.extend_from_slice(lease.holder.as_bytes());
    bytes
}

/// The lease of a row's value.
pub(super) fn decode(name: &str, value: &Slice) -> Option<Lease> {
    let mint_until_us = keys::number_at(value, 0)?;
    let holder = std::str::from_utf8(value.get(8..)?).ok()?;
    Some(Lease { name: name.to_owned(), holder: holder.to_owned(), mint_until_us })
}

fn read(draft: &Draft<'_>, name: &str) -> Result<Option<Lease>, PlanError> {
    let Some(value) = draft.get(Table::Leases, name.as_bytes())? else { return Ok(None) };
    let lease = decode(name, &value);
    lease.map(Some).ok_or_else(|| PlanError::Refused(format!("the row of lease {name} cannot be decoded")))
}

/// Takes, renews or extends a lease.
pub(super) fn take(
    draft: &mut Draft<'_>,
    wanted: &Lease,
    expected: Option<&Lease>,
) -> Result<LeaseAnswer, PlanError> {
    match read(draft, &wanted.name)? {
        Some(there) if there.holder != wanted.holder && expected != Some(&there) => {
            Ok(LeaseAnswer::HeldBy(there))
        }
        there => {
            draft.put(Table::Leases, wanted.name.as_str(), encode(wanted));
            let own = there.is_some_and(|there| there.holder == wanted.holder);
            Ok(if own { LeaseAnswer::Renewed } else { LeaseAnswer::Held })
        }
    }
}
