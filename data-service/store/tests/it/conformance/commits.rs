//! Commits: all or nothing, once, in order.

use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Message, Role},
};
use weir_store::{RowChange, Store, WriteError};

use crate::fixture::{as_id, change, creates, message, newest, next_id, next_rev, page, record, scope};

/// A reader that reads all the time while batches are committed sees none of a batch or all of it.
pub(super) async fn created_messages_appear_together(store: &dyn Store) {
    const BATCH: u64 = 20;
    let (channel, base) = (next_id(), next_id());
    let write = async {
        for batch in 0..10 {
            let rows: Vec<_> = (1..=BATCH).map(|n| message(channel, base + batch * BATCH + n, "")).collect();
            store.commit(creates(channel, &rows)).await.expect("committed");
        }
    };
    let look = async {
        loop {
            let rows = page(store, channel, base, newest(1_000)).await;
            assert_eq!(rows.len() as u64 % BATCH, 0, "half a batch is visible");
            if rows.len() as u64 == 10 * BATCH {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, look);
}

pub(super) async fn a_commit_repeated_with_its_revisions_changes_nothing(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let rows = [message(channel, base + 1, "one"), message(channel, base + 2, "two")];
    let rev = next_rev();
    let edited = Message { content: "edited".to_owned(), last_rev: rev, ..rows[0].clone() };
    let edit = change(channel, rev, vec![RowChange::PutMessage(edited.clone())]);
    for commit in [creates(channel, &rows), creates(channel, &rows), edit.clone(), edit.clone(), edit] {
        store.commit(commit).await.expect("committed");
    }
    let found =
        store.read_partition(as_id(channel), Bucket::of_raw(base), newest(10)).await.expect("readable");
    assert_eq!(found, [rows[1].clone(), edited]);
    let records = store.read_changes(scope(channel), rev - 1, 10).await.expect("readable");
    assert_eq!(records, [record(rev, "change")]);
}

pub(super) async fn changes_are_read_in_order_above_a_revision(store: &dyn Store) {
    let scope_id = next_id();
    let mut revs = Vec::new();
    for _ in 0..3 {
        // One step has two changes, as an edit of several rows makes them.
        let (one, two) = (next_rev(), next_rev());
        let mut commit = change(scope_id, two, vec![]);
        commit.records = vec![record(one, "one"), record(two, "two")];
        store.commit(commit).await.expect("committed");
        revs.extend([one, two]);
    }
    let read = async |after, limit| {
        let found = store.read_changes(scope(scope_id), after, limit).await.expect("readable");
        found.into_iter().map(|out| out.rev).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 10).await, revs);
    assert_eq!(read(revs[1], 10).await, revs[2..]);
    assert_eq!(read(revs[1], 2).await, revs[2..4]);
    assert_eq!(read(revs[5], 10).await, [0; 0]);
    assert_eq!(read(u64::MAX, 10).await, [0; 0]);
    let whole = store.read_changes(scope(scope_id), revs[4], 10).await.expect("readable");
    assert_eq!(whole, [record(revs[5], "two")]);
    assert_eq!(store.read_changes(scope(next_id()), 0, 10).await.expect("readable"), []);
}

pub(super) async fn a_refused_commit_leaves_no_trace(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let row = message(channel, base + 1, "");
    let mut falling = change(channel, row.rev, vec![RowChange::PutMessage(row.clone())]);
    falling.records = vec![record(row.rev, ""), record(row.rev, "")];
    let elsewhere = message(channel, Bucket(Bucket::of_raw(base).0 + 1).first_raw(), "");
    let of_two_partitions = creates(channel, &[row, elsewhere]);
    for commit in [falling, of_two_partitions] {
        let refused = store.commit(commit).await;
        assert!(matches!(refused, Err(WriteError::NotApplied { .. })), "{refused:?}");
    }
    assert_eq!(page(store, channel, base, newest(10)).await, [0; 0]);
    assert_eq!(store.read_changes(scope(channel), 0, 10).await.expect("readable"), []);
}

pub(super) async fn rows_of_many_kinds_are_committed_in_one_step(store: &dyn Store) {
    let (guild_id, channel_id) = (next_id(), next_id());
    let rev = next_rev();
    let guild = Guild { id: guild_id, name: "g".to_owned(), owner_id: 1, rev };
    let role = Role {
        id: guild_id,
        guild_id,
        name: "@everyone".to_owned(),
        permissions: u64::MAX,
        rev,
        ..Role::default()
    };
    let channel = Channel { id: channel_id, guild_id, name: "c".to_owned(), rev, ..Channel::default() };
    let rows = vec![
        RowChange::PutGuild(guild.clone()),
        RowChange::PutRole(role.clone()),
        RowChange::PutChannel(channel.clone()),
    ];
    store.commit(change(guild_id, rev, rows)).await.expect("committed");
    let found = store.read_guild(as_id(guild_id)).await.expect("readable");
    assert_eq!(found, Some((guild, vec![role], vec![channel])));
    assert_eq!(store.read_changes(scope(guild_id), 0, 10).await.expect("readable"), [record(rev, "change")]);
}

pub(super) async fn a_message_of_the_largest_size_is_committed_and_edited(store: &dyn Store) {
    let (channel, id) = (next_id(), next_id());
    let mut row = message(channel, id, &"🦀".repeat(4_000));
    row.embeds_json = "x".repeat(16 * 1_024);
    store.commit(creates(channel, &[row.clone()])).await.expect("committed");
    row.content = "🐟".repeat(4_000);
    row.last_rev = next_rev();
    let mut edit = change(channel, row.last_rev, vec![RowChange::PutMessage(row.clone())]);
    // The record carries the row again.
    edit.records = vec![record(row.last_rev, &row.content)];
    store.commit(edit).await.expect("committed");
    assert_eq!(store.read_message(as_id(channel), as_id(id)).await.expect("readable"), Some(row));
}
