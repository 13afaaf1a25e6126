//! The mutation check: each fault is injected alone, and each of its scenarios must catch it for the right
//! reason: the violation, or the panic, must contain the scenario's words. Any other failure counts as
//! missed, and so does a scenario that does not end.
//!
//! The `match` is exhaustive on purpose: a new fault without a scenario does not compile.

use std::{any::Any, panic::AssertUnwindSafe, pin::Pin, time::Duration};

use weir_protect::fault::{Fault, Faults};

use crate::{
    absence,
    fake::{MS, Step, Verdict, one},
    properties,
    scenario::{
        barrier,
        flights::{self, Leaving},
        floors, limits, places,
    },
    slices,
};

/// A scenario to be played with a fault, and the words that its violation must contain.
struct Play {
    words: &'static str,
    scenario: Pin<Box<dyn Future<Output = Verdict>>>,
}

macro_rules! plays {
    ($($words:literal => $scenario:expr),+ $(,)?) => {
        vec![$(Play { words: $words, scenario: Box::pin($scenario) }),+]
    };
}

/// The scenarios that catch `fault`, each by itself.
fn plays(fault: Fault) -> Vec<Play> {
    let faults: Faults = one(fault);
    match fault {
        Fault::JoinAnyGeneration => plays![
            "after 7 was acknowledged" => barrier::read_after_write_joins_an_older_flight(faults),
        ],
        Fault::JoinByCallersDependence => plays![
            "joined a read that missed 7" => barrier::tail_overtakes_a_page(faults),
        ],
        Fault::HitIgnoresStamp => plays![
            "after write-through" => barrier::write_through_is_overwritten(faults),
            "an hour later" => barrier::older_flight_fills_after_the_bump(faults),
            "hit a page of before the write" => barrier::page_outlives_a_write(faults),
        ],
        Fault::CheckThenInsert => plays![
            "hit a page of before the write" => barrier::page_outlives_a_write(faults),
        ],
        Fault::StampAtEnd => plays![
            "an hour later" => barrier::older_flight_fills_after_the_bump(faults),
        ],
        Fault::HitWhileUnresolved => plays![
            "a hit while a write is unresolved" => barrier::late_write_and_the_cache(faults),
        ],
        Fault::ResolvedWithoutBump => plays![
            "outlived the window" => barrier::page_of_the_window_outlives_it(faults),
        ],
        Fault::UnresolvedForEver => plays![
            "not cached any more" => properties::every_ending(faults),
        ],
        Fault::IgnoreFloorOnHit => plays![
            "token 5 hit a page that ends at 3" => floors::token_hits_an_older_page(faults),
            "lagging replica's page" => floors::lagging_page_is_hit(faults),
            ": Hit" => floors::tokens_over_lagging_replicas(faults, 200),
        ],
        Fault::IgnoreFloorOnJoin => plays![
            "token 5 joined a read of 3" => floors::token_joins_an_older_flight(faults),
            "token 3 joined a lagging" => floors::lagging_flight_is_joined(faults),
            ": Joined" => floors::tokens_over_lagging_replicas(faults, 200),
        ],
        Fault::FloorWithoutQuorum => plays![
            "lagging replica's page" => floors::lagging_page_is_hit(faults),
            "token 3 joined a lagging" => floors::lagging_flight_is_joined(faults),
            "was answered with" => floors::tokens_over_lagging_replicas(faults, 200),
        ],
        Fault::AbsenceDependsOnMutation => plays![
            "misses Operation { kind: Write" => absence::absence_is_a_value(faults, 1, false),
            "misses Operation { kind: Write" => absence::absence_is_a_value(faults, 2, true),
        ],
        Fault::LeadInline => plays![
            "after 1 polls: Err(Stopped)" => flights::leader_dropped(faults, Leaving::ALL[0]),
            "after 1 polls: 2 reads" => flights::leader_dropped(faults, Leaving::ALL[1]),
            "after 1 polls: Err(Stopped)" => flights::leader_dropped(faults, Leaving::ALL[2]),
        ],
        Fault::LastWaiterRemoves => plays![
            "2 reads of one generation" => flights::last_waiter_leaves_and_another_comes(faults),
        ],
        Fault::FollowersRetry => plays![
            "a waiter was told Ok" => flights::read_panics(faults),
        ],
        Fault::PanicPublishesNothing => plays![
            "a waiter was told Err(DeadlineExceeded" => flights::read_panics(faults),
        ],
        Fault::LeaderDeadline => plays![
            "patient follower" => properties::short_leader(faults, true),
        ],
        Fault::StoreDeadlineIsLeaders => plays![
            "was told Err(StoreTimeout" => properties::short_leader(faults, false),
        ],
        Fault::RemoveAfterPublish => plays![
            "a call after the failure joined it" => flights::error_is_joined_late(faults),
        ],
        Fault::RetryInTurn => plays![
            "reads of a failing store" => flights::failing_store(faults),
        ],
        Fault::StaleIgnoresFloor => plays![
            "the token lost against max staleness" => barrier::stale_answer_to_a_token_holder(faults),
        ],
        Fault::ChargeInTwoSteps => plays![
            "admitted of a burst of 5" => limits::over_admission_under_contention(faults),
        ],
        Fault::ChargeSurvivesRefusal => plays![
            "left of 9 for the rest of the group" => limits::refused_child_charges_its_parent(faults),
        ],
        Fault::QuotaChangeRefills => plays![
            "raised with 4 in hand: 50 admitted" => limits::changed_quota(faults, 6),
            "raised with 0 in hand: 50 admitted" => limits::changed_quota(faults, 10),
        ],
        Fault::QuotaChangeRefillsUnseen => plays![
            "raised with 10 in hand: 50 admitted" => limits::changed_quota(faults, 0),
        ],
        Fault::QuotaChangeIgnored => plays![
            "lowered: 50 admitted at once" => limits::changed_quota(faults, 0),
            "the change is ignored" => limits::changed_quota(faults, 6),
        ],
        Fault::StepBackBlocks => plays![
            "blocked for as long as step 1" => limits::clock_steps_back(faults),
            "an unseen key is blocked for" => limits::clock_steps_back_before_a_change(faults),
        ],
        Fault::StepBackRefills => plays![
            "step 1 granted 10" => limits::clock_steps_back(faults),
            "granted an unseen key something" => limits::clock_steps_back_before_a_change(faults),
        ],
        Fault::ConcurrencyCheckThenAdd => plays![
            "places of 2 were out" => places::too_many_places(faults),
        ],
        Fault::PermitLeaks => plays![
            "given at once did not come back" => places::places_come_back(faults),
            "handed on did not come back" => places::place_given_to_one_who_leaves(faults),
        ],
        Fault::PermitLeaksOnTimeout => plays![
            "still out after Err(StoreTimeout" => places::places_come_back_after(faults, Step::Hang),
            "left over: ((" => places::reads_end_in_every_way(faults),
        ],
        Fault::PermitLeaksOnPanic => plays![
            "still out after Err(Panicked)" => places::places_come_back_after(faults, Step::Panic(MS)),
            "left over: ((" => places::reads_end_in_every_way(faults),
        ],
        Fault::LeaderPriority => plays![
            "read with Batch" => flights::important_follower(faults),
        ],
        Fault::EvictionForgives => plays![
            "admitted through 64 slots" => limits::rotated_keys(faults),
        ],
        Fault::SubsumeUncut => plays![
            "Subsumed Rows(" => slices::subsumed_pages_equal_direct_reads(faults, 1),
        ],
        Fault::DroppedWriteSkipsBump => plays![
            "left after 15 ms" => barrier::writer_dropped_between_commit_and_bump(faults),
            "after [(Dropped, false)]" => properties::every_ending(faults),
        ],
    }
}

/// Longest scenario, in virtual time: a day, because some look again an hour later.
const SCENARIO_MAX: Duration = Duration::from_secs(24 * 3600);

/// Plays it in a runtime of its own, with virtual time; what it failed with.
fn failure(scenario: impl Future<Output = Verdict>) -> Option<String> {
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async { tokio::time::timeout(SCENARIO_MAX, scenario).await })
    }));
    match played {
        Ok(Ok(verdict)) => verdict.err(),
        Ok(Err(_)) => Some("the scenario did not end within a day of virtual time".to_owned()),
        Err(panic) => Some(words_of(&*panic)),
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let formatted = panic.downcast_ref::<String>().cloned();
    let literal = panic.downcast_ref::<&str>().map(|&words| words.to_owned());
    formatted.or(literal).unwrap_or_else(|| "a panic without words".to_owned())
}

#[test]
fn every_fault_is_caught_for_its_reason() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        for (number, Play { words, scenario }) in plays(fault).into_iter().enumerate() {
            let found = failure(scenario);
            if !found.as_deref().is_some_and(|found| found.contains(words)) {
                missed.push(format!("{fault:?}, scenario {number}: {found:?} does not contain {words:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn failures_are_told_in_words() {
    let hangs = std::future::pending();
    assert!(failure(hangs).unwrap().contains("did not end"));
    assert_eq!(failure(async { panic!("as {}", "formatted") }).as_deref(), Some("as formatted"));
    assert_eq!(failure(async { panic!("as is") }).as_deref(), Some("as is"));
    assert_eq!(failure(async { Err("violated".to_owned()) }).as_deref(), Some("violated"));
    assert_eq!(failure(async { Ok(()) }), None);
}

#[test]
fn all_lists_each_fault_in_order() {
    // A fault that `ALL` forgets shifts those after it.
    for (place, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, place, "{fault:?}");
    }
    assert_eq!(Fault::ALL.len(), Fault::DroppedWriteSkipsBump as usize + 1, "the last one");
}
