//! The mutation check: each fault is put back alone, and some scenario must catch it.
//!
//! The `match` is exhaustive on purpose: a new fault without a scenario does not compile.

use std::{panic::AssertUnwindSafe, time::Duration};

use weir_protect::fault::{Fault, Faults};

use crate::{
    fake::{MS, Verdict, one},
    scenario::{barrier, flights, limits, places},
    slices,
};

/// The scenario that catches `fault`, played with it.
async fn play(fault: Fault) -> Verdict {
    let faults: Faults = one(fault);
    match fault {
        Fault::JoinAnyGeneration => barrier::read_after_write_joins_an_older_flight(faults).await,
        Fault::JoinByCallersDependence => barrier::tail_overtakes_a_page(faults).await,
        Fault::HitIgnoresStamp => {
            barrier::write_through_is_overwritten(faults).await?;
            barrier::older_flight_fills_after_the_bump(faults).await
        }
        Fault::StampAtEnd => barrier::older_flight_fills_after_the_bump(faults).await,
        Fault::HitWhileUnresolved => barrier::late_write_and_the_cache(faults).await,
        Fault::UnresolvedForEver => barrier::cache_works_after_any_write(faults).await,
        Fault::IgnoreFloor => barrier::token_read_below_its_floor(faults).await,
        Fault::LeadInline => flights::leader_dropped(faults).await,
        Fault::LastWaiterRemoves => flights::last_waiter_leaves_and_another_comes(faults).await,
        Fault::FollowersRetry | Fault::PanicPublishesNothing => flights::read_panics(faults).await,
        Fault::LeaderDeadline => flights::deadlines_differ(faults, 10 * MS, Duration::from_secs(1)).await,
        Fault::RemoveAfterPublish => flights::error_is_joined_late(faults).await,
        Fault::RetryInTurn => flights::failing_store(faults).await,
        Fault::StaleIgnoresFloor => barrier::stale_answer_to_a_token_holder(faults).await,
        Fault::ChargeInTwoSteps => limits::over_admission_under_contention(faults).await,
        Fault::ChargeSurvivesRefusal => limits::refused_child_charges_its_parent(faults).await,
        Fault::QuotaChangeRefills | Fault::QuotaChangeIgnored => limits::changed_quota(faults).await,
        Fault::StepBackBlocks => limits::clock_steps_back(faults).await,
        Fault::ConcurrencyCheckThenAdd => places::too_many_places(faults).await,
        Fault::PermitLeaks => places::places_come_back(faults).await,
        Fault::LeaderPriority => flights::important_follower(faults).await,
        Fault::EvictionForgives => limits::rotated_keys(faults).await,
        Fault::SubsumeUncut => slices::subsumed_pages_equal_direct_reads(faults, 1).await,
        Fault::DroppedWriteSkipsBump => barrier::writer_dropped_between_commit_and_bump(faults).await,
    }
}

/// Plays it in a runtime of its own, with virtual time. An assertion of the crate itself counts as caught too.
fn caught(fault: Fault) -> Result<String, String> {
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async { tokio::time::timeout(Duration::from_secs(600), play(fault)).await })
    }));
    match played {
        Ok(Ok(Ok(()))) => Err(format!("{fault:?} was not caught")),
        Ok(Ok(Err(violation))) => Ok(violation),
        Ok(Err(_)) => Ok("the scenario did not end within ten minutes of virtual time".to_owned()),
        Err(_) => Ok("an assertion failed".to_owned()),
    }
}

#[test]
fn every_fault_is_caught() {
    let missed: Vec<String> = Fault::ALL.into_iter().filter_map(|fault| caught(fault).err()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn all_lists_each_fault_once() {
    let distinct: std::collections::HashSet<Fault> = Fault::ALL.into_iter().collect();
    assert_eq!(distinct.len(), Fault::ALL.len());
}
