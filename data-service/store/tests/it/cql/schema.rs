//! Migrations on a real cluster.

use weir_proto::{bucket::Bucket, data::Message};
use weir_store::{
    RowChange, Store as _,
    cql::{
        ConnectError, CqlStore,
        schema::{self, MIGRATIONS, SchemaError},
    },
};

use super::keyspace::{session, with_keyspace};
use crate::fixture::{as_id, change, next_id};

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_changes_nothing_and_drift_is_refused() {
    with_keyspace("schema", |config| async move {
        let missing = CqlStore::connect(config.clone()).await;
        assert!(
            matches!(missing, Err(ConnectError::Schema(SchemaError::Old { found: 0, .. }))),
            "{missing:?}"
        );

        let first = schema::apply(&config).await.expect("applied");
        let all: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert!(first.keyspace_created);
        assert_eq!((first.applied, first.version), (all.clone(), all.len() as i32));
        assert!(first.notes.iter().any(|note| note.contains("one copy")), "{:?}", first.notes);
        let second = schema::apply(&config).await.expect("applied");
        assert!(!second.keyspace_created);
        assert_eq!((second.applied, second.version), (vec![], all.len() as i32));

        // One migration was not run: connecting reports it, and applying runs just that one.
        let session = session(&config).await;
        let table = format!("{}.schema_migrations", config.keyspace);
        let newest = all.len() as i32;
        let forget = format!("DELETE FROM {table} WHERE number = {newest}");
        session.query_unpaged(forget, ()).await.expect("deleted");
        let old = CqlStore::connect(config.clone()).await;
        assert!(
            matches!(old, Err(ConnectError::Schema(SchemaError::Old { found, wanted, .. }))
                if (found, wanted) == (newest - 1, newest)),
            "{old:?}"
        );
        assert_eq!(schema::apply(&config).await.expect("applied").applied, [newest]);

        // A newer build has applied its migrations, which is accepted.
        let newer = format!("INSERT INTO {table} (number, name, checksum) VALUES (900, 'later', 'x')");
        session.query_unpaged(newer, ()).await.expect("inserted");
        CqlStore::connect(config.clone()).await.expect("newer migrations only add");

        let drift = format!("UPDATE {table} SET checksum = 'x' WHERE number = 2");
        session.query_unpaged(drift, ()).await.expect("updated");
        let refused = CqlStore::connect(config.clone()).await;
        assert!(
            matches!(refused, Err(ConnectError::Schema(SchemaError::Drift { number: 2, .. }))),
            "{refused:?}"
        );
        let refused = schema::apply(&config).await;
        assert!(matches!(refused, Err(SchemaError::Drift { number: 2, .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_an_earlier_build_keeps_its_rows_and_an_interrupted_migration_is_repeated() {
    with_keyspace("earlier", |config| async move {
        schema::apply(&config).await.expect("applied");
        let (session, keyspace) = (session(&config).await, &config.keyspace);
        let run = async |statement: String| {
            session.query_unpaged(statement.as_str(), ()).await.expect(&statement);
        };
        // As the builds before left it.
        for table in ["pins", "reactions", "own_reactions"] {
            run(format!("DROP TABLE {keyspace}.{table}")).await;
        }
        run(format!("ALTER TABLE {keyspace}.messages DROP more")).await;
        run(format!("DELETE FROM {keyspace}.schema_migrations WHERE number IN (6, 7)")).await;
        let (channel, id) = (next_id(), next_id());
        let bucket = Bucket::of_raw(id).0;
        run(format!(
            "INSERT INTO {keyspace}.messages (channel_id, bucket, message_id, author_id, content, rev, last_rev) \
             VALUES ({channel}, {bucket}, {id}, 3, 'kept', 5, 5) USING TIMESTAMP 5"
        ))
        .await;
        assert_eq!(schema::apply(&config).await.expect("applied").applied, [6, 7]);
        let store = CqlStore::connect(config.clone()).await.expect("connects");
        let row = store.read_message(as_id(channel), as_id(id)).await.expect("readable").expect("there");
        assert_eq!((row.content.as_str(), row.pinned_at_ms, row.reactions.len()), ("kept", 0, 0));
        // Cassandra drops what was written to a column of this name before it was dropped.
        let pinned = Message { pinned_at_ms: 7, last_rev: 1 << 60, ..row };
        store.commit(change(channel, 1 << 60, vec![RowChange::PutMessage(pinned.clone())])).await.expect("committed");
        // The process ended between the added column and the note that it was added.
        run(format!("DELETE FROM {keyspace}.schema_migrations WHERE number = 6")).await;
        assert_eq!(schema::apply(&config).await.expect("applied").applied, [6]);
        assert_eq!(store.read_message(as_id(channel), as_id(id)).await.expect("readable"), Some(pinned));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_applier_is_told_to_wait() {
    with_keyspace("appliers", |config| async move {
        schema::apply(&config).await.expect("applied");
        let session = session(&config).await;
        let lock = format!(
            "INSERT INTO {}.schema_migrations (number, name) VALUES (0, 'applying') IF NOT EXISTS",
            config.keyspace
        );
        session.query_unpaged(lock, ()).await.expect("locked");
        let refused = schema::apply(&config).await;
        assert!(matches!(refused, Err(SchemaError::Applying { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_keyspace_that_is_not_a_name_is_refused_before_anything_is_sent() {
    let config = weir_store::cql::CqlConfig::new(vec!["192.0.2.1:9042".to_owned()], "weir; DROP");
    assert!(matches!(schema::apply(&config).await, Err(SchemaError::BadKeyspace { .. })));
    let refused = CqlStore::connect(config).await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::BadKeyspace { .. }))), "{refused:?}");
}
