//! Rows of described types: every check runs for every table of [`TABLES`].

use bytes::Bytes;
use weir_store::{
    RowChange, Store,
    row::{REMOVED_UNDER_MAX, RowKey, RowPut, RowRange, TABLES, Table},
};

use crate::fixture::{change, next_id, next_rev};

/// The key of `table` in the partition of `scope`, with this last id and 1 for all in between.
fn key(table: &Table, scope: u64, last: u64) -> RowKey {
    let ids = |count: usize| [scope, 1, 1, 1].into_iter().take(count - 1).chain([last]);
    let ids: Vec<u64> = ids(table.key_len()).collect();
    of(&ids)
}

fn of(ids: &[u64]) -> RowKey {
    match *ids {
        [a] => RowKey::new([a]),
        [a, b] => RowKey::new([a, b]),
        [a, b, c] => RowKey::new([a, b, c]),
        [a, b, c, d] => RowKey::new([a, b, c, d]),
        _ => panic!("a key of {} ids", ids.len()),
    }
}

/// All ids of the key but the last.
fn above(table: &Table, scope: u64) -> RowKey {
    of(&key(table, scope, 1).ids()[..table.key_len() - 1])
}

fn put(table: &'static Table, key: RowKey, rev: u64, row: &str) -> RowChange {
    RowChange::Put(RowPut { table, key, rev, row: Bytes::copy_from_slice(row.as_bytes()) })
}

async fn commit(store: &dyn Store, scope: u64, rows: Vec<RowChange>) {
    store.commit(change(scope, next_rev(), rows)).await.expect("committed");
}

async fn read(store: &dyn Store, table: &'static Table, key: RowKey) -> Option<Bytes> {
    store.read_row(table, key).await.expect("readable")
}

async fn range(store: &dyn Store, table: &'static Table, range: RowRange) -> Vec<Bytes> {
    store.read_rows(table, range).await.expect("readable")
}

pub(super) async fn a_row_is_found_by_its_key_and_listed_in_the_order_of_its_last_id(store: &dyn Store) {
    for table in TABLES {
        let (scope, rev) = (next_id(), next_rev());
        assert_eq!(read(store, table, key(table, scope, 5)).await, None, "{}", table.name);
        let rows = [9, 5, 300, 7].map(|last| put(table, key(table, scope, last), rev, &last.to_string()));
        commit(store, scope, rows.to_vec()).await;
        // Another partition's rows are not among them.
        let other = next_id();
        commit(store, other, vec![put(table, key(table, other, 6), rev, "other")]).await;
        assert_eq!(read(store, table, key(table, scope, 5)).await.as_deref(), Some(&b"5"[..]));
        let listed = |after, before, limit| RowRange { under: above(table, scope), after, before, limit };
        let whole = range(store, table, listed(0, u64::MAX, 1_000)).await;
        assert_eq!(whole, ["5", "7", "9", "300"], "{}", table.name);
        assert_eq!(range(store, table, listed(5, 300, 1_000)).await, ["7", "9"], "{}", table.name);
        assert_eq!(range(store, table, listed(5, u64::MAX, 1)).await, ["7"], "{}", table.name);
        assert!(range(store, table, listed(u64::MAX, u64::MAX, 1)).await.is_empty(), "{}", table.name);
        assert!(range(store, table, listed(0, 1, 1)).await.is_empty(), "{}", table.name);
    }
}

pub(super) async fn the_higher_revision_of_a_row_stays_and_a_removal_holds(store: &dyn Store) {
    for table in TABLES {
        let (scope, revs) = (next_id(), [(); 4].map(|()| next_rev()));
        let key = key(table, scope, 5);
        commit(store, scope, vec![put(table, key, revs[1], "newer")]).await;
        commit(store, scope, vec![put(table, key, revs[0], "older")]).await;
        assert_eq!(read(store, table, key).await.as_deref(), Some(&b"newer"[..]), "{}", table.name);
        commit(store, scope, vec![RowChange::Remove { table, key, rev: revs[0] }]).await;
        assert!(read(store, table, key).await.is_some(), "{}: an older removal", table.name);
        commit(store, scope, vec![RowChange::Remove { table, key, rev: revs[2] }]).await;
        assert_eq!(read(store, table, key).await, None, "{}", table.name);
        commit(store, scope, vec![put(table, key, revs[1], "again")]).await;
        assert_eq!(read(store, table, key).await, None, "{}: removed since", table.name);
        commit(store, scope, vec![put(table, key, revs[3], "anew")]).await;
        assert_eq!(read(store, table, key).await.as_deref(), Some(&b"anew"[..]), "{}", table.name);
    }
}

pub(super) async fn rows_below_a_key_go_together_and_others_stay(store: &dyn Store) {
    for table in TABLES {
        let (scope, other, rev) = (next_id(), next_id(), next_rev());
        let rows: Vec<_> = (1..=40).map(|last| put(table, key(table, scope, last), rev, "row")).collect();
        commit(store, scope, rows).await;
        commit(store, other, vec![put(table, key(table, other, 1), rev, "other")]).await;
        const { assert!(REMOVED_UNDER_MAX >= 40) }
        for ids in table.partition.len()..table.key_len() {
            let under = of(&key(table, scope, 1).ids()[..ids]);
            commit(store, scope, vec![RowChange::RemoveUnder { table, key: under, rev: next_rev() }]).await;
            let all = RowRange::whole(above(table, scope));
            assert!(range(store, table, all).await.is_empty(), "{}", table.name);
            let again = vec![put(table, key(table, scope, 3), next_rev(), "row")];
            commit(store, scope, again).await;
            assert_eq!(range(store, table, all).await, ["row"], "{}: above the removal", table.name);
        }
        assert!(read(store, table, key(table, other, 1)).await.is_some(), "{}", table.name);
    }
}
