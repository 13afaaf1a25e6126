//! Leases by lightweight transactions.
//!
//! A transaction that timed out may still be decided. A read at the serial level finishes or overtakes it, so
//! what that read shows has happened. What it does not show may, in a rare case, still happen (the first
//! coordinator may try again until its own timeout). Then we hold the lease without knowing it, which delays
//! its next taker and does no other harm.

use scylla::value::Row;

use super::{
    columns::{ordered, text},
    schema::applied,
    send::Sender,
    statements::Query,
};
use crate::{Lease, LeaseAnswer, WriteError};

/// Most rounds of reading and trying: each lost round means that another taker won one.
const ROUNDS_MAX: usize = 8;

/// Takes, renews or extends a lease.
pub(super) async fn take(
    sender: &Sender,
    wanted: &Lease,
    expected: Option<&Lease>,
) -> Result<LeaseAnswer, WriteError> {
    for _ in 0..ROUNDS_MAX {
        let there = read(sender, &wanted.name).await.map_err(|reason| WriteError::NotApplied { reason })?;
        let end = ordered(wanted.mint_until_us)?;
        let (name, holder) = (text(wanted.name.as_str()), text(wanted.holder.as_str()));
        let (query, values, answer) = match there {
            None => (Query::NewLease, vec![name, holder, end], LeaseAnswer::Held),
            Some(there) if there.holder == wanted.holder => {
                (Query::RenewLease, vec![end, name, holder], LeaseAnswer::Renewed)
            }
            Some(there) if expected == Some(&there) => {
                let expected_end = ordered(there.mint_until_us)?;
                let values = vec![holder, end, name, text(there.holder), expected_end];
                (Query::ReplaceLease, values, LeaseAnswer::Held)
            }
            Some(there) => return Ok(LeaseAnswer::HeldBy(there)),
        };
        if try_transaction(sender, query, values, wanted).await? {
            return Ok(answer);
        }
    }
    Err(WriteError::NotApplied {
        reason: format!("lease {} changed hands {ROUNDS_MAX} times meanwhile", wanted.name),
    })
}

/// Whether the transaction made `wanted` the row, even if only a later read shows it.
async fn try_transaction(
    sender: &Sender,
    query: Query,
    values: Vec<super::columns::Column>,
    wanted: &Lease,
) -> Result<bool, WriteError> {
    match sender.transaction::<Row>(query, values).await {
        Ok(row) => {
            applied(&row).ok_or_else(|| WriteError::Unknown { reason: "no [applied] column".to_owned() })
        }
        Err(WriteError::Unknown { reason }) => match read(sender, &wanted.name).await {
            Ok(Some(there)) if there == *wanted => Ok(true),
            Ok(_) | Err(_) => Err(WriteError::Unknown { reason }),
        },
        Err(error) => Err(error),
    }
}

/// The lease's row, with every decided transaction.
async fn read(sender: &Sender, name: &str) -> Result<Option<Lease>, String> {
    let row: Option<(Option<String>, Option<i64>)> =
        sender.row(Query::Lease, (name,)).await.map_err(|error| error.to_string())?;
    Ok(row.map(|(holder, end)| Lease {
        name: name.to_owned(),
        holder: holder.unwrap_or_default(),
        mint_until_us: end.unwrap_or(0).cast_unsigned(),
    }))
}
