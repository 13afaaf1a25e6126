//! Scenarios with random situations: over deadlines, and over the ends of writes.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    fake::{MS, Verdict},
    scenario::{
        barrier::{self, Ending},
        flights,
    },
};

fn in_virtual_time(scenario: impl Future<Output = Verdict>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(scenario).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the leader's patience and the follower's, each is answered if it waits long enough, and only
    /// then.
    #[test]
    fn hazard_13_each_waits_as_long_as_its_own_deadline(
        short in 1_u32..400,
        long in 1_u32..400,
        occupied in any::<bool>(),
    ) {
        in_virtual_time(flights::deadlines_differ(short * MS, long * MS, occupied))?;
    }

    /// Writes end in any way and order, some of those that timed out not before all the others: nothing old
    /// is read, and the last read is a hit.
    #[test]
    fn hazard_06_cache_works_after_any_ends_of_writes(
        endings in proptest::collection::vec((proptest::sample::select(&Ending::ALL[..]), any::<bool>()), 1..10),
    ) {
        in_virtual_time(barrier::cache_works_after(&endings))?;
    }
}

/// One of each ending, so that a mistake that concerns one of them is met for certain.
pub(crate) async fn every_ending() -> Verdict {
    for ending in Ending::ALL {
        barrier::cache_works_after(&[(ending, false)]).await?;
    }
    Ok(())
}

/// The leader leaves while the read is in the store, or while it waits for its place.
pub(crate) async fn short_leader(occupied: bool) -> Verdict {
    flights::deadlines_differ(10 * MS, Duration::from_secs(1), occupied).await
}
