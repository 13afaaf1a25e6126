//! The rows in the tables.

use std::sync::Arc;

use weir_proto::{bucket::Bucket, data::Message, id::ScopeId};
use weir_store::{
    RowChange, Store,
    cql::{CqlConfig, CqlStore},
};

use super::keyspace::{session, with_store};
use crate::fixture::{as_id, change, creates, message, newest, next_id, next_rev, page};

#[tokio::test(flavor = "multi_thread")]
async fn only_set_columns_are_written_with_the_revision_as_timestamp() {
    with_store("columns", |store, config| async move {
        let session = session(&config).await;
        let (channel, id) = (next_id(), next_id());
        let row = message(channel, id, "text");
        store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
        let read = async |column: &str| {
            let text = format!(
                "SELECT WRITETIME({column}) FROM {}.messages WHERE channel_id = ? AND bucket = ? AND message_id = ?",
                config.keyspace
            );
            let key = (channel as i64, Bucket::of_raw(id).0 as i32, id as i64);
            let result = session.query_unpaged(text, key).await.expect("readable").into_rows_result().expect("rows");
            result.single_row::<(Option<i64>,)>().expect("one row").0
        };
        assert_eq!(read("content").await, Some(row.rev as i64));
        assert_eq!(read("author_id").await, Some(row.rev as i64));
        for unset in ["nonce", "embeds_json", "mention_user_ids", "tts", "flags"] {
            assert_eq!(read(unset).await, None, "{unset}");
        }
        let edited = Message { content: "edited".to_owned(), last_rev: next_rev(), ..row.clone() };
        store.commit(change(channel, edited.last_rev, vec![RowChange::PutMessage(edited.clone())])).await.expect("committed");
        assert_eq!(read("content").await, Some(edited.last_rev as i64));
        assert_eq!(read("author_id").await, Some(row.rev as i64));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_beyond_the_bound_wait_and_abandoned_ones_give_their_places_back() {
    with_store("reads_max", |_, config| async move {
        let store = CqlStore::connect(CqlConfig { reads_max: 2, ..config }).await.expect("connects");
        let (channel, id) = (next_id(), next_id());
        let row = message(channel, id, "text");
        store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
        for round in 0..20 {
            let reads = (0..50).map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.read_message(as_id(channel), as_id(id)).await })
            });
            let reads: Vec<_> = reads.collect();
            for read in reads.iter().skip(round % 2).step_by(2) {
                read.abort();
            }
            for read in reads {
                if let Ok(answer) = read.await {
                    assert_eq!(answer.expect("readable").as_ref(), Some(&row));
                }
            }
        }
        // If one place had been lost in each round, none would be left.
        assert_eq!(store.read_message(as_id(channel), as_id(id)).await.expect("readable"), Some(row));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_live_for_a_day_and_activity_for_ten_minutes() {
    with_store("lives", |store, config| async move {
        let session = session(&config).await;
        let scope = next_id();
        store.commit(change(scope, next_rev(), vec![])).await.expect("committed");
        store.note_active(ScopeId::Channel(as_id(scope))).await.expect("written");
        for (select, longest) in
            [("TTL(record) FROM {}.changes", 86_400), ("TTL(is_channel) FROM {}.active_scopes", 90_000)]
        {
            let text = format!("SELECT {}", select.replace("{}", &config.keyspace));
            let result =
                session.query_unpaged(text, ()).await.expect("readable").into_rows_result().expect("rows");
            let (left,) = result.single_row::<(Option<i32>,)>().expect("one row");
            let left = left.expect("it ends some day");
            assert!((longest - 300..=longest).contains(&left), "{select}: {left}");
        }
    })
    .await;
}

/// Another writer's race left half a row: an update that came after the row was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_row_of_another_writer_is_never_shown() {
    with_store("half", |store, config| async move {
        let session = session(&config).await;
        let (channel, base) = (next_id(), next_id());
        store.commit(creates(channel, &[message(channel, base + 2, "whole")])).await.expect("committed");
        let half = format!(
            "UPDATE {}.messages SET content = 'half' WHERE channel_id = ? AND bucket = ? AND message_id = ?",
            config.keyspace
        );
        for id in [base + 1, base + 3] {
            let key = (channel as i64, Bucket::of_raw(base).0 as i32, id as i64);
            session.query_unpaged(half.as_str(), key).await.expect("updated");
        }
        assert_eq!(page(&*store, channel, base, newest(1)).await, [base + 2]);
        assert_eq!(store.read_message(as_id(channel), as_id(base + 1)).await.expect("readable"), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_one_read_whatever_the_age_of_the_channel() {
    with_store("cost", |store, _| async move {
        let (channel, base) = (next_id(), next_id());
        for count in [3, 2_000] {
            let rows = (1..=count).map(|n| RowChange::PutMessage(message(channel, base + n, "")));
            store.put_rows(rows.collect(), next_rev()).await.expect("loaded");
            let before = store.counters();
            assert_eq!(page(&*store, channel, base, newest(3)).await.len(), 3);
            let after = store.counters();
            assert_eq!((after.reads - before.reads, after.writes - before.writes), (1, 0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_one_partition_is_one_write() {
    with_store("writes", |store, _| async move {
        let (channel, base) = (next_id(), next_id());
        let rows: Vec<_> = (1..=50).map(|n| message(channel, base + n, "")).collect();
        let before = store.counters().writes;
        store.commit(creates(channel, &rows)).await.expect("committed");
        assert_eq!(store.counters().writes - before, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cql_cannot_order_is_refused_and_found_nowhere() {
    with_store("orderable", |store, _| async move {
        let channel = next_id();
        let refused =
            store.put_rows(vec![RowChange::PutMessage(message(channel, 1 << 63, ""))], next_rev()).await;
        assert!(matches!(refused, Err(weir_store::WriteError::NotApplied { .. })), "{refused:?}");
        assert_eq!(store.read_message(as_id(channel), as_id(1 << 63)).await.expect("readable"), None);
        assert_eq!(store.read_channel(as_id(u64::MAX)).await.expect("readable"), None);
        assert_eq!(store.read_users(&[as_id(u64::MAX)]).await.expect("readable"), []);
    })
    .await;
}
