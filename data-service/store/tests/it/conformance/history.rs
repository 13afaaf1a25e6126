//! Buckets, pages, and what revisions do to messages.

use weir_proto::{
    bucket::Bucket,
    data::{Message, ReactionCount},
};
use weir_store::{PartitionRange, RowChange, RowOrder, Store};

use crate::fixture::{as_id, change, creates, message, newest, next_id, next_rev, page};

/// Loads messages with ids `base + 1` to `base + count`.
async fn loaded(store: &dyn Store, channel_id: u64, base: u64, count: u64) -> Vec<Message> {
    let messages: Vec<_> = (1..=count).map(|n| message(channel_id, base + n, &n.to_string())).collect();
    let rows = messages.iter().cloned().map(RowChange::PutMessage).collect();
    store.put_rows(rows, next_rev()).await.expect("loaded");
    messages
}

async fn read(store: &dyn Store, channel_id: u64, id: u64) -> Option<Message> {
    store.read_message(as_id(channel_id), as_id(id)).await.expect("readable")
}

pub(super) async fn a_channel_that_was_never_written_is_empty(store: &dyn Store) {
    let channel = next_id();
    let all = store
        .read_buckets(as_id(channel), Bucket(0), Bucket(5_090), RowOrder::NewestFirst, 10)
        .await
        .expect("readable");
    assert_eq!(all, []);
    assert_eq!(page(store, channel, channel, newest(50)).await, [0; 0]);
    assert_eq!(read(store, channel, channel).await, None);
}

pub(super) async fn buckets_are_read_in_order_between_borders(store: &dyn Store) {
    let channel = next_id();
    for bucket in [3, 1, 400, 2, 400] {
        store.add_bucket(as_id(channel), Bucket(bucket)).await.expect("written");
    }
    // The buckets of a neighbouring channel must not appear.
    store.add_bucket(as_id(channel + 1), Bucket(7)).await.expect("written");
    let read = async |from, to, order, limit| {
        let found = store
            .read_buckets(as_id(channel), Bucket(from), Bucket(to), order, limit)
            .await
            .expect("readable");
        found.into_iter().map(|bucket| bucket.0).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 5_090, RowOrder::NewestFirst, 10).await, [400, 3, 2, 1]);
    assert_eq!(read(0, 5_090, RowOrder::OldestFirst, 10).await, [1, 2, 3, 400]);
    assert_eq!(read(2, 3, RowOrder::NewestFirst, 10).await, [3, 2]);
    assert_eq!(read(0, 399, RowOrder::NewestFirst, 1).await, [3]);
    assert_eq!(read(4, 399, RowOrder::OldestFirst, 10).await, [0; 0]);
    assert_eq!(read(3, 2, RowOrder::OldestFirst, 10).await, [0; 0]);
}

pub(super) async fn pages_run_both_ways_between_exclusive_borders(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    loaded(store, channel, base, 9).await;
    let read = async |after: Option<u64>, before: Option<u64>, order, limit| {
        let (after, before) = (after.map(as_id), before.map(as_id));
        let range = PartitionRange { after, before, order, limit };
        page(store, channel, base, range).await.into_iter().map(|id| id - base).collect::<Vec<_>>()
    };
    use RowOrder::{NewestFirst, OldestFirst};
    assert_eq!(read(None, None, NewestFirst, 4).await, [9, 8, 7, 6]);
    assert_eq!(read(None, None, OldestFirst, 4).await, [1, 2, 3, 4]);
    assert_eq!(read(None, Some(base + 4), NewestFirst, 2).await, [3, 2]);
    assert_eq!(read(Some(base + 4), None, OldestFirst, 2).await, [5, 6]);
    assert_eq!(read(Some(base + 2), Some(base + 6), NewestFirst, 10).await, [5, 4, 3]);
    assert_eq!(read(Some(base + 2), Some(base + 6), OldestFirst, 10).await, [3, 4, 5]);
    assert_eq!(read(Some(base + 5), Some(base + 6), NewestFirst, 10).await, [0; 0]);
    assert_eq!(read(Some(base + 6), Some(base + 5), NewestFirst, 10).await, [0; 0]);
    assert_eq!(read(None, Some(1), NewestFirst, 10).await, [0; 0]);
    assert_eq!(read(Some(u64::MAX), None, OldestFirst, 10).await, [0; 0]);
    assert_eq!(read(Some(base + 9), None, OldestFirst, 10).await, [0; 0]);
}

pub(super) async fn partitions_do_not_run_into_each_other(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let bucket = Bucket::of_raw(base);
    let (first, last) = (bucket.first_raw(), Bucket(bucket.0 + 1).first_raw() - 1);
    for (channel, id) in
        [(channel, first), (channel, last), (channel, last + 1), (channel, first - 1), (channel + 1, base)]
    {
        store
            .put_rows(vec![RowChange::PutMessage(message(channel, id, ""))], next_rev())
            .await
            .expect("loaded");
    }
    assert_eq!(page(store, channel, base, newest(10)).await, [last, first]);
    assert_eq!(page(store, channel, last + 1, newest(10)).await, [last + 1]);
    assert_eq!(page(store, channel + 1, base, newest(10)).await, [base]);
}

pub(super) async fn every_field_of_a_message_comes_back(store: &dyn Store) {
    let (channel_id, id) = (next_id(), next_id());
    let rev = next_rev();
    let whole = Message {
        id,
        channel_id,
        author_id: 1,
        content: "text with ünicode 🦀 and a \0 in it".to_owned(),
        nonce: "25 bytes of nonce, perhap".to_owned(),
        r#type: 19,
        flags: u64::MAX,
        reply_to: 2,
        edited_at_ms: 3,
        mention_user_ids: vec![4, 5],
        mention_role_ids: vec![6],
        mention_everyone: true,
        embeds_json: "[{}]".to_owned(),
        tts: true,
        rev,
        last_rev: rev,
        pinned_at_ms: 7,
        reactions: vec![ReactionCount { slot: 8, count: 9, ..ReactionCount::default() }],
    };
    let bare = message(channel_id, id + 1, "");
    store.commit(creates(channel_id, &[whole.clone(), bare.clone()])).await.expect("committed");
    assert_eq!(read(store, channel_id, id).await, Some(whole.clone()));
    let rows =
        store.read_partition(as_id(channel_id), Bucket::of_raw(id), newest(10)).await.expect("readable");
    assert_eq!(rows, [bare, whole]);
}

pub(super) async fn what_hangs_on_a_message_is_written_and_cleared_and_never_makes_one(store: &dyn Store) {
    let (channel_id, id) = (next_id(), next_id());
    let made = message(channel_id, id, "the words stay");
    store.commit(creates(channel_id, std::slice::from_ref(&made))).await.expect("committed");
    let reactions = vec![ReactionCount { slot: 8, count: 9, ..ReactionCount::default() }];
    let marked = Message { pinned_at_ms: 7, reactions, last_rev: next_rev(), ..made };
    let cleared = Message { pinned_at_ms: 0, reactions: Vec::new(), last_rev: next_rev(), ..marked.clone() };
    for row in [marked, cleared] {
        let rows = vec![RowChange::MarkMessage(row.clone())];
        store.commit(change(channel_id, row.last_rev, rows)).await.expect("committed");
        assert_eq!(read(store, channel_id, id).await, Some(row));
    }
    let nobodys = message(channel_id, id + 1, "");
    let nobodys = Message { last_rev: next_rev(), ..nobodys };
    let rows = vec![RowChange::MarkMessage(nobodys.clone())];
    store.commit(change(channel_id, nobodys.last_rev, rows)).await.expect("committed");
    assert_eq!(read(store, channel_id, id + 1).await, None);
}

pub(super) async fn rows_without_an_author_are_never_shown_and_do_not_shorten_a_page(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let rows = (1..=12).map(|n| {
        let mut row = message(channel, base + n, "");
        // There are runs of hidden rows, at both ends too.
        if ![4, 5, 9].contains(&n) {
            row.author_id = 0;
        }
        RowChange::PutMessage(row)
    });
    store.put_rows(rows.collect(), next_rev()).await.expect("loaded");
    let oldest = |limit| PartitionRange { order: RowOrder::OldestFirst, ..newest(limit) };
    assert_eq!(page(store, channel, base, newest(2)).await, [base + 9, base + 5]);
    assert_eq!(page(store, channel, base, newest(10)).await, [base + 9, base + 5, base + 4]);
    assert_eq!(page(store, channel, base, oldest(2)).await, [base + 4, base + 5]);
    assert_eq!(read(store, channel, base + 1).await, None);
}

pub(super) async fn an_edit_replaces_and_clears(store: &dyn Store) {
    let (channel, id) = (next_id(), next_id());
    let mut row = message(channel, id, "before");
    row.embeds_json = "[{}]".to_owned();
    row.mention_user_ids = vec![1];
    row.nonce = "kept".to_owned();
    store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
    let edited = Message {
        content: String::new(),
        embeds_json: String::new(),
        mention_user_ids: vec![],
        edited_at_ms: 9,
        last_rev: next_rev(),
        ..row
    };
    store
        .commit(change(channel, edited.last_rev, vec![RowChange::PutMessage(edited.clone())]))
        .await
        .expect("committed");
    assert_eq!(read(store, channel, id).await, Some(edited));
}

pub(super) async fn a_late_edit_loses_against_a_newer_one(store: &dyn Store) {
    let (channel, id) = (next_id(), next_id());
    let row = message(channel, id, "created");
    store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
    let late = Message { content: "late".to_owned(), last_rev: next_rev(), ..row.clone() };
    let newer = Message { content: "newer".to_owned(), last_rev: next_rev(), ..row };
    for edit in [&newer, &late] {
        store
            .commit(change(channel, edit.last_rev, vec![RowChange::PutMessage(edit.clone())]))
            .await
            .expect("committed");
    }
    assert_eq!(read(store, channel, id).await, Some(newer));
}

pub(super) async fn an_edit_never_makes_a_message(store: &dyn Store) {
    let (channel, id) = (next_id(), next_id());
    let mut edit = message(channel, id, "an edit that lost its race");
    edit.last_rev = next_rev();
    store.commit(change(channel, edit.last_rev, vec![RowChange::PutMessage(edit)])).await.expect("committed");
    assert_eq!(read(store, channel, id).await, None);
    assert_eq!(page(store, channel, id, newest(10)).await, [0; 0]);
}

pub(super) async fn a_deleted_message_is_gone_and_stays_gone(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let rows = loaded(store, channel, base, 3).await;
    let rev = next_rev();
    let delete = RowChange::DeleteMessage { channel_id: as_id(channel), message_id: as_id(base + 2), rev };
    store.commit(change(channel, rev, vec![delete])).await.expect("committed");
    assert_eq!(page(store, channel, base, newest(10)).await, [base + 3, base + 1]);
    assert_eq!(read(store, channel, base + 2).await, None);
    // The old export is loaded again.
    let again = rows.into_iter().map(RowChange::PutMessage).collect();
    store.put_rows(again, next_rev()).await.expect("loaded");
    assert_eq!(page(store, channel, base, newest(10)).await, [base + 3, base + 1]);
}

pub(super) async fn a_late_delete_loses_against_a_newer_edit(store: &dyn Store) {
    let (channel, id) = (next_id(), next_id());
    let row = message(channel, id, "created");
    store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
    let rev = next_rev();
    let whole = Message { content: "loaded whole, later".to_owned(), last_rev: next_rev(), ..row };
    store.put_rows(vec![RowChange::PutMessage(whole.clone())], next_rev()).await.expect("loaded");
    let delete = RowChange::DeleteMessage { channel_id: as_id(channel), message_id: as_id(id), rev };
    store.commit(change(channel, rev, vec![delete])).await.expect("committed");
    assert_eq!(read(store, channel, id).await, Some(whole));
}

pub(super) async fn loading_again_neither_undoes_an_edit_nor_repeats_rows(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    let rows = loaded(store, channel, base, 3).await;
    let edited = Message { content: "edited".to_owned(), last_rev: next_rev(), ..rows[1].clone() };
    store
        .commit(change(channel, edited.last_rev, vec![RowChange::PutMessage(edited.clone())]))
        .await
        .expect("committed");
    let again = rows.into_iter().map(RowChange::PutMessage).collect();
    store.put_rows(again, next_rev()).await.expect("loaded");
    assert_eq!(page(store, channel, base, newest(10)).await, [base + 3, base + 2, base + 1]);
    assert_eq!(read(store, channel, base + 2).await, Some(edited));
}

/// A store may look at the range of many rows at once. A row within it that existed, or was removed, counts
/// as before.
pub(super) async fn a_load_of_many_rows_yields_to_the_one_that_was_changed_or_removed(store: &dyn Store) {
    const COUNT: u64 = 40;
    for removed in [false, true] {
        let (channel, base) = (next_id(), next_id());
        let rows = (1..=COUNT).map(|n| Message { last_rev: next_rev(), ..message(channel, base + n, "old") });
        let rows: Vec<RowChange> = rows.map(RowChange::PutMessage).collect();
        let kept = message(channel, base + 20, "newer");
        store.commit(creates(channel, std::slice::from_ref(&kept))).await.expect("committed");
        if removed {
            let rev = next_rev();
            let delete =
                RowChange::DeleteMessage { channel_id: as_id(channel), message_id: as_id(kept.id), rev };
            store.commit(change(channel, rev, vec![delete])).await.expect("committed");
        }
        store.put_rows(rows, next_rev()).await.expect("loaded");
        let content = read(store, channel, kept.id).await.map(|row| row.content);
        assert_eq!(content.as_deref(), (!removed).then_some("newer"));
        let there: Vec<u64> = page(store, channel, base, newest(100)).await;
        let expected: Vec<u64> =
            (1..=COUNT).rev().filter(|n| !removed || *n != 20).map(|n| base + n).collect();
        assert_eq!(there, expected);
    }
}

pub(super) async fn a_page_deep_in_a_long_partition_is_exact(store: &dyn Store) {
    let (channel, base) = (next_id(), next_id());
    loaded(store, channel, base, 2_000).await;
    let middle = PartitionRange { before: Some(as_id(base + 1_000)), ..newest(50) };
    let expected: Vec<u64> = (950..1_000).rev().map(|n| base + n).collect();
    assert_eq!(page(store, channel, base, middle).await, expected);
    let whole = page(store, channel, base, newest(1_000)).await;
    assert_eq!(
        (whole.len(), whole.first(), whole.last()),
        (1_000, Some(&(base + 2_000)), Some(&(base + 1_001)))
    );
}
