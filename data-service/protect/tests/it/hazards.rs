//! Each hazard by its number. Those that depend on interleavings of atomics are in `loom`.

use crate::{
    fake::{MS, Step},
    properties,
    scenario::{
        barrier,
        flights::{self, Leaving},
        floors, limits, places,
    },
    slices,
};

macro_rules! hazards {
    ($($(#[$doc:meta])* $name:ident => $scenario:expr;)*) => {
        $($(#[$doc])* #[tokio::test(start_paused = true)]
        async fn $name() { assert_eq!($scenario.await, Ok(())); })*
    };
}

hazards! {
    hazard_01_read_after_acknowledged_write_joins_no_older_flight =>
        barrier::read_after_write_joins_an_older_flight();
    hazard_01_page_that_the_tail_overtook_is_not_joined => barrier::tail_overtakes_a_page();
    hazard_02_older_flight_does_not_fill_after_the_bump => barrier::older_flight_fills_after_the_bump();
    hazard_03_write_through_survives_an_older_flight => barrier::write_through_is_overwritten();
    hazard_04_hit_is_judged_at_the_hit => barrier::page_outlives_a_write();
    hazard_05_late_write_is_never_hidden_by_the_cache => barrier::late_write_and_the_cache();
    hazard_05_page_of_the_window_goes_with_it => barrier::page_of_the_window_outlives_it();
    hazard_06_cache_works_after_each_end_of_a_write => properties::every_ending();
    hazard_07_token_hits_no_older_page => floors::token_hits_an_older_page();
    hazard_07_token_joins_no_older_flight => floors::token_joins_an_older_flight();
    hazard_07_lagging_page_answers_no_token => floors::lagging_page_is_hit();
    hazard_07_lagging_flight_is_joined_with_no_token => floors::lagging_flight_is_joined();
    hazard_07_token_makes_a_waiting_flight_ask_a_quorum => floors::token_joins_a_waiting_flight();
    hazard_07_token_over_lagging_replicas_gets_no_less => floors::tokens_over_lagging_replicas(200);
    hazard_08_not_found_is_not_kept_past_an_insert => barrier::read_after_write_joins_an_older_flight();
    hazard_09_leader_leaves_after_its_followers_came => flights::leader_dropped(Leaving::ALL[0]);
    hazard_09_leader_leaves_before_its_followers_come => flights::leader_dropped(Leaving::ALL[1]);
    hazard_09_waiting_leader_leaves_after_its_followers_came => flights::leader_dropped(Leaving::ALL[2]);
    hazard_09_waiting_leader_leaves_before_its_followers_come => flights::leader_dropped(Leaving::ALL[3]);
    hazard_10_last_waiter_leaves_and_another_joins => flights::last_waiter_leaves_and_another_comes();
    hazard_11_one_start_after_a_lost_leader => flights::read_panics();
    hazard_13_short_deadline_fails_nobody_who_waits_with_it => properties::short_leader(true);
    hazard_13_short_deadline_ends_no_read => properties::short_leader(false);
    hazard_14_panic_reaches_each_waiter_and_frees_the_key => flights::read_panics();
    hazard_15_error_reaches_nobody_who_came_after_it => flights::error_is_joined_late();
    hazard_16_failing_store_is_read_once => flights::failing_store();
    hazard_22_token_wins_over_staleness => barrier::stale_answer_to_a_token_holder();
    hazard_24_burst_is_exact_under_contention => limits::over_admission_under_contention();
    hazard_25_quota_changes_while_nothing_is_used => limits::changed_quota(0);
    hazard_25_quota_changes_while_some_is_used => limits::changed_quota(6);
    hazard_25_quota_changes_while_all_is_used => limits::changed_quota(10);
    hazard_26_clock_may_step_back => limits::clock_steps_back();
    hazard_26_clock_may_step_back_before_a_change => limits::clock_steps_back_before_a_change();
    hazard_27_in_flight_never_exceeds_its_limit => places::too_many_places();
    hazard_28_places_come_back_from_the_gate => places::places_come_back();
    hazard_28_place_comes_back_from_one_who_leaves => places::place_given_to_one_who_leaves();
    hazard_28_places_come_back_after_a_timeout => places::places_come_back_after(Step::Hang);
    hazard_28_places_come_back_after_a_panic => places::places_come_back_after(Step::Panic(MS));
    hazard_28_places_come_back_from_the_layer => places::reads_end_in_every_way();
    hazard_30_flight_has_its_most_important_waiters_priority => flights::important_follower();
    hazard_32_page_cut_from_a_wider_one_equals_a_direct_read => slices::subsumed_pages_equal_direct_reads(1);
    hazard_46_dropped_writer_bumps => barrier::writer_dropped_between_commit_and_bump();
    rule_06_appends_leave_old_pages_alone => barrier::pages_below_the_tail();
    rule_13_refused_child_charges_no_parent => limits::refused_child_charges_its_parent();
    rule_13_rotated_keys_gain_nothing => limits::rotated_keys();
}
