//! Gate 6: a flight's places in the store, for its partition and for each of its leader's scopes.
//!
//! The order is partition first, then the scopes from the narrowest to the widest. A waiting flight holds
//! only places narrower than the one it waits for, so a hot partition's queue does not occupy places that
//! others could use. All take them in the same order, so there is no circular wait.

use std::num::NonZeroU32;

use super::{Inner, LeadOf};
use crate::{
    clock::Nanos,
    concurrency::{Acquire, Permit},
    error::{ReadError, Refusal, Stage},
    gates::Gate,
    limit::Scope,
    reason::RefusalReason,
    request::{SCOPES_MAX, Scopes},
    store::Store,
};

/// The places of one flight, freed together.
#[derive(Debug)]
pub(super) struct Places<S: Store> {
    partition: Option<Permit<S::Key>>,
    scopes: [Option<Permit<Scope>>; SCOPES_MAX],
}

/// Waits for every place, at most for the longest wait, and only while some caller of the flight can still
/// use it.
pub(super) async fn take<S: Store>(
    inner: &Inner<S>,
    lead: &LeadOf<S>,
    scopes: &Scopes,
) -> Result<Places<S>, ReadError<S::Error>> {
    let mut places = Places { partition: None, scopes: [const { None }; SCOPES_MAX] };
    if !inner.gates.is_on(Gate::Concurrency) {
        return Ok(places);
    }
    let Places { partition, scopes: held } = &mut places;
    let give_up = inner.clock.now().after(inner.config.queue_wait_max);
    let refused = |reason| inner.refused_by_bound(reason, "partition_concurrency");
    if let Some(limit) = inner.config.partition_concurrency.map(NonZeroU32::get) {
        let turn = inner.partitions.acquire(lead.key().clone(), limit);
        let turn = turn.map_err(|_| refused(RefusalReason::ConcurrencyQueueFull))?;
        *partition = Some(wait(inner, lead, turn, give_up, refused).await?);
    }
    for (place, &scope) in held.iter_mut().zip(scopes.as_slice()) {
        let Some((limit, name)) = inner.limits.at_once(scope) else { continue };
        let refused = |reason| {
            let retry_after = inner.config.queue_wait_max;
            ReadError::Refused(Refusal { reason, scope: Some(scope), limit: name.clone(), retry_after })
        };
        let turn = inner.scopes.acquire(scope, limit);
        let turn = turn.map_err(|_| refused(RefusalReason::ConcurrencyQueueFull))?;
        *place = Some(wait(inner, lead, turn, give_up, refused).await?);
    }
    Ok(places)
}

/// Waits for one turn. A caller that joins meanwhile may have a later deadline, which then applies to the
/// flight too.
async fn wait<S: Store, K: Clone + Eq + std::hash::Hash>(
    inner: &Inner<S>,
    lead: &LeadOf<S>,
    mut turn: Acquire<K>,
    give_up: Nanos,
    refused: impl Fn(RefusalReason) -> ReadError<S::Error>,
) -> Result<Permit<K>, ReadError<S::Error>> {
    loop {
        let until = give_up.min(lead.flight().deadline());
        let left = until.since(inner.clock.now());
        if let Ok(permit) = tokio::time::timeout(left, &mut turn).await {
            return Ok(permit);
        }
        let now = inner.clock.now();
        if lead.retire(now) {
            return Err(ReadError::DeadlineExceeded { stage: Stage::Queue });
        }
        if now >= give_up {
            return Err(refused(RefusalReason::ConcurrencyWait));
        }
    }
}
