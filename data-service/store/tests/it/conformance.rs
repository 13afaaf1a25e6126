//! Checks that every store must pass. They run side by side on one store, each with ids of its own.

mod commits;
mod coordination;
mod directory;
mod history;
mod rows;

use std::{pin::Pin, sync::Arc};

use weir_store::Store;

/// A check, by name.
type Check = (&'static str, fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

/// Makes a check of each function.
macro_rules! checks {
    ($($module:ident::$check:ident),* $(,)?) => {
        &[$((stringify!($check), |store| Box::pin(async move { $module::$check(&*store).await }))),*]
    };
}

const CHECKS: &[Check] = checks![
    history::a_channel_that_was_never_written_is_empty,
    history::buckets_are_read_in_order_between_borders,
    history::pages_run_both_ways_between_exclusive_borders,
    history::partitions_do_not_run_into_each_other,
    history::every_field_of_a_message_comes_back,
    history::what_hangs_on_a_message_is_written_and_cleared_and_never_makes_one,
    history::rows_without_an_author_are_never_shown_and_do_not_shorten_a_page,
    history::an_edit_replaces_and_clears,
    history::a_late_edit_loses_against_a_newer_one,
    history::an_edit_never_makes_a_message,
    history::a_deleted_message_is_gone_and_stays_gone,
    history::a_late_delete_loses_against_a_newer_edit,
    history::loading_again_neither_undoes_an_edit_nor_repeats_rows,
    history::a_load_of_many_rows_yields_to_the_one_that_was_changed_or_removed,
    history::a_page_deep_in_a_long_partition_is_exact,
    commits::created_messages_appear_together,
    commits::a_commit_repeated_with_its_revisions_changes_nothing,
    commits::changes_are_read_in_order_above_a_revision,
    commits::a_refused_commit_leaves_no_trace,
    commits::rows_of_many_kinds_are_committed_in_one_step,
    commits::a_message_of_the_largest_size_is_committed_and_edited,
    directory::users_that_exist_are_found,
    directory::a_credential_leads_to_its_user,
    directory::a_guild_lives_and_dies_with_all_that_hangs_on_it,
    directory::channels_and_roles_are_replaced_and_removed,
    directory::members_are_listed_and_counted,
    directory::a_guild_larger_than_one_batch_is_created_and_deleted,
    directory::a_row_older_than_the_one_there_does_not_replace_it,
    directory::a_pair_has_one_channel_which_is_in_no_guild,
    directory::of_two_channels_of_a_pair_the_higher_revision_stays,
    directory::a_direct_channel_without_two_users_is_refused,
    rows::a_row_is_found_by_its_key_and_listed_in_the_order_of_its_last_id,
    rows::the_higher_revision_of_a_row_stays_and_a_removal_holds,
    rows::rows_below_a_key_go_together_and_others_stay,
    coordination::settings_are_kept_by_kind_and_key,
    coordination::a_lease_has_one_holder,
    coordination::of_many_takers_exactly_one_wins,
    coordination::of_many_takers_of_an_ended_lease_exactly_one_wins,
    coordination::the_clock_runs_with_ours,
    coordination::scopes_that_write_are_found,
    coordination::the_store_is_ready_and_counts,
];

/// Runs all checks and fails with the names of those that failed.
pub(crate) async fn run(store: Arc<dyn Store>) {
    let running: Vec<_> =
        CHECKS.iter().map(|(name, check)| (name, tokio::spawn(check(store.clone())))).collect();
    let mut failed = Vec::new();
    for (name, running) in running {
        match crate::fixture::soon(name, running).await {
            Ok(()) => eprintln!("conforms: {name}"),
            Err(error) => {
                eprintln!("FAILS:    {name}: {error}");
                failed.push(*name);
            }
        }
    }
    assert!(failed.is_empty(), "these checks fail: {failed:?}");
}
