//! The mutation check: each fault of [`Seeded`] is injected alone, and some test must fail because of it.
//!
//! The `match` is exhaustive on purpose: a new fault without a test does not compile.

use std::{any::Any, sync::mpsc, time::Duration};

use weir_data_service::seeded::{Seeded, arm};

use crate::{
    cancelled::{self, Act},
    fencing, first_bucket, history, leases, order, outbox,
};

/// Longest time that a test may take with a fault in it.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The test that catches a fault, and a part of what it says then: another failure of that test does not count.
fn catcher(fault: Seeded) -> (fn(), &'static str) {
    match fault {
        Seeded::LeaseEndIgnored => {
            (leases::a_process_that_wakes_after_its_lease_refuses, "at once, not at the next renewal")
        }
        Seeded::LeaseCountsFromAnswer => {
            (leases::a_pause_in_the_middle_of_a_renewal_ends_the_tenure, "Err(Elsewhere)")
        }
        Seeded::TakerDoesNotWait => {
            (leases::a_lease_is_taken_over_only_after_it_stood_still, "never two at once")
        }
        Seeded::WorkerLeaseIgnored => (
            leases::nothing_is_minted_while_the_worker_numbers_lease_is_not_known_to_run,
            "the number is not",
        ),
        Seeded::WorkerTakenAnyway => (leases::worker_numbers_differ, "numbers are shared"),
        Seeded::MintsPastLease => {
            (fencing::nothing_is_minted_at_or_above_the_end_of_the_tenure, "mint_until_us")
        }
        Seeded::ClockOffIgnored => (leases::a_clock_that_is_off_does_not_mint, "us off"),
        Seeded::AcknowledgesWithoutTenure => (
            fencing::a_tenure_lost_during_a_commit_leaves_the_outcome_unknown_and_the_record_recoverable,
            "told without a tenure",
        ),
        Seeded::ResendsWithoutTenure => (
            fencing::a_commit_in_doubt_is_not_repeated_while_somebody_else_owns_the_channel,
            "must not write",
        ),
        Seeded::ReignIgnored => {
            (fencing::a_commit_in_doubt_is_given_up_when_another_owner_came_in_between, "stays as it was")
        }
        Seeded::MemoryOutlivesTenure => {
            (fencing::what_was_remembered_before_a_lapse_is_not_served_after_it, "appended elsewhere")
        }
        Seeded::CachedReplyUnchecked => {
            (fencing::nobody_is_told_of_anything_after_the_lease_whenever_it_ends, "lost after")
        }
        Seeded::WatermarkPassesPending => (
            outbox::the_watermark_never_passes_a_revision_that_is_not_published,
            "between minting and commit",
        ),
        Seeded::NoRecovery => (
            outbox::a_crash_between_commit_and_publication_is_made_good_by_the_next_start,
            "left unpublished",
        ),
        Seeded::LossIgnored => (
            outbox::what_the_bus_lost_is_published_again_even_if_nothing_new_happens,
            "noticed without a new record",
        ),
        Seeded::FailedPublishForgotten => {
            (outbox::a_bus_that_is_down_delays_delivery_and_not_acknowledgement, "the operator sees")
        }
        Seeded::RevIsTheClock => {
            (fencing::a_later_edit_wins_although_its_owners_clock_is_slower, "late.last_rev")
        }
        Seeded::TurnInCallersFuture => (|| cancelled::leave_at_any_await_point(Act::Edit), "Edit after"),
        Seeded::LimitInCallersFuture => {
            (|| cancelled::leave_at_any_await_point(Act::SetLimit), "SetLimit after")
        }
        Seeded::RowsDoubtForgotten => {
            (cancelled::rows_in_doubt_are_written_in_the_end_and_not_remembered_before, "CreateUser")
        }
        Seeded::CommitDoesNotBump => {
            (history::no_reply_lacks_what_was_acknowledged_before_it, "memory and database differ")
        }
        Seeded::DoubtLeavesMemoryOn => (order::a_lost_answer_is_repeated_until_it_is_known, "unresolved"),
        Seeded::SeedIgnoresVersion => {
            (order::a_read_from_before_a_doubtful_write_does_not_become_the_tail, "doubtful")
        }
        Seeded::BucketAfterCommit => {
            (first_bucket::a_kill_during_a_buckets_first_message_leaves_a_whole_history, "messages are shown")
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// What the test said with the fault in it.
fn caught(fault: Seeded) -> Result<String, String> {
    let (test, wanted) = catcher(fault);
    assert!(!wanted.is_empty(), "{fault:?}: any failure would count");
    let (said, hear) = mpsc::sync_channel(1);
    // A thread of its own: the fault is put back for it alone.
    std::thread::spawn(move || {
        arm(fault);
        let ended = std::panic::catch_unwind(test);
        drop(said.send(ended.map_err(|panic| words(&*panic))));
    });
    match hear.recv_timeout(ENDS_WITHIN) {
        Ok(Ok(())) => Err(format!("{fault:?} was not caught")),
        Ok(Err(words)) if words.contains(wanted) => Ok(words),
        Ok(Err(words)) => Err(format!("{fault:?}: the test failed for another reason: {words}")),
        Err(_) => Err(format!("{fault:?}: the test did not end")),
    }
}

#[test]
fn every_fault_is_caught() {
    let mut missed = Vec::new();
    for fault in Seeded::ALL {
        match caught(fault) {
            Ok(words) => eprintln!("{fault:?}: {}", words.lines().next().unwrap_or_default()),
            Err(problem) => missed.push(problem),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn all_lists_each_fault_once() {
    let distinct: std::collections::HashSet<Seeded> = Seeded::ALL.into_iter().collect();
    assert_eq!(distinct.len(), Seeded::ALL.len());
}
