//! Rows that are read and written whole, described once for each type.
//!
//! A row type is an implementation of [`Row`] in a file beside this one. From its [`Table`] follow the key in
//! both stores, the statements, the reads and changes below, the cache's key and the metric's label of the
//! data service, the tests' store, and the conformance checks. What is left to write by hand is the table in
//! `schema/` (a test compares the two) and the type's line in [`TABLES`].

mod pin;
mod reaction;

use std::{cmp::Ordering, fmt, hash};

use bytes::Bytes;
use prost::Message;
use weir_proto::{
    data::{OwnReactions, Pin, Reaction},
    id::{ChannelId, GuildId, ScopeId},
};

pub use self::{
    pin::pins_of,
    reaction::{own_reactions_in, reactions_in, reactions_to},
};

/// All tables.
pub const TABLES: &[&Table] = &[Pin::TABLE, Reaction::TABLE, OwnReactions::TABLE];

/// Most ids in a key.
pub const KEY_IDS_MAX: usize = 4;

/// Rows of one read at most, so that no answer is large.
pub const ROWS_MAX: usize = 1_000;

/// Rows that an embedded store removes in one step for all its `RowChange::RemoveUnder`, at about 10 us each,
/// so that nobody else's commit waits for long. What lies behind them stays, under ids that are never used
/// again.
pub const REMOVED_UNDER_MAX: usize = 1_000;

/// A table of rows that are one encoded message each.
#[derive(Debug)]
pub struct Table {
    /// Its name in CQL, in errors and in metrics.
    pub name: &'static str,
    /// Its number in the embedded store, which is stored: never change one, and never use one again.
    pub number: u8,
    /// True if the first id is a channel, false if it is a guild. Its turn writes the rows.
    pub of_channel: bool,
    /// The ids by which rows are distributed; at least one.
    pub partition: &'static [&'static str],
    /// The ids by which the rows of a partition are ordered; at least one.
    pub clustering: &'static [&'static str],
}

impl Table {
    /// Columns of the key, in order.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.partition.iter().chain(self.clustering).copied()
    }

    /// The channel or guild whose turn writes the rows under a key, at least of its first id.
    #[must_use]
    pub fn scope_of(&self, key: &RowKey) -> Option<ScopeId> {
        let first = key.ids().first().copied().unwrap_or(0);
        match self.of_channel {
            true => ChannelId::try_from(first).ok().map(ScopeId::Channel),
            false => GuildId::try_from(first).ok().map(ScopeId::Guild),
        }
    }

    /// Number of ids in a key.
    #[must_use]
    pub const fn key_len(&self) -> usize {
        self.partition.len() + self.clustering.len()
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Table {}

impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Table {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

impl hash::Hash for Table {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// The ids of a row, in the order of its table's columns; or the first of them, which name the rows below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    ids: [u64; KEY_IDS_MAX],
    count: usize,
}

impl RowKey {
    /// The key of these ids; at most [`KEY_IDS_MAX`].
    #[must_use]
    pub const fn new<const N: usize>(ids: [u64; N]) -> Self {
        const { assert!(N <= KEY_IDS_MAX, "a key has few ids") }
        let mut all = [0; KEY_IDS_MAX];
        let mut index = 0;
        while index < N {
            all[index] = ids[index];
            index += 1;
        }
        Self { ids: all, count: N }
    }

    /// Its ids.
    #[must_use]
    pub fn ids(&self) -> &[u64] {
        &self.ids[..self.count]
    }

    /// True if it is this key or lies below it.
    #[must_use]
    pub fn is_under(&self, prefix: &Self) -> bool {
        self.ids().starts_with(prefix.ids())
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ids().fmt(f)
    }
}

/// A range of rows that differ in the last id of their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowRange {
    /// All ids of the key but the last.
    pub under: RowKey,
    /// Only last ids greater than this; 0 for no border.
    pub after: u64,
    /// Only last ids smaller than this; `u64::MAX` for no border.
    pub before: u64,
    /// Most rows, those with the smallest ids; 1 to [`ROWS_MAX`].
    pub limit: usize,
}

impl RowRange {
    /// All rows under a key, as far as one read goes.
    #[must_use]
    pub const fn whole(under: RowKey) -> Self {
        Self { under, after: 0, before: u64::MAX, limit: ROWS_MAX }
    }
}

/// A row type.
pub trait Row: Message + Default + Clone + PartialEq + Send + Sync + 'static {
    /// Its table.
    const TABLE: &'static Table;
    /// The row's place.
    fn key(&self) -> RowKey;
    /// The row's revision, never 0.
    fn rev(&self) -> u64;
}

/// A row on its way to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPut {
    /// Its table.
    pub table: &'static Table,
    /// Its place.
    pub key: RowKey,
    /// Its revision: a row of a higher one stays.
    pub rev: u64,
    /// The encoded row.
    pub row: Bytes,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::cql::schema::MIGRATIONS;

    #[test]
    fn each_table_has_a_name_and_a_number_of_its_own_and_a_key_that_fits() {
        let numbers: HashSet<u8> = TABLES.iter().map(|table| table.number).collect();
        let names: HashSet<&str> = TABLES.iter().map(|table| table.name).collect();
        assert_eq!((numbers.len(), names.len()), (TABLES.len(), TABLES.len()));
        for table in TABLES {
            assert!(table.number > 18, "{}: lower numbers are the embedded store's own", table.name);
            assert!(table.key_len() <= KEY_IDS_MAX && !table.partition.is_empty(), "{}", table.name);
            assert!(!table.clustering.is_empty(), "{}", table.name);
        }
    }

    /// The statements are made from the descriptor, the table by a migration.
    #[test]
    fn each_table_is_made_by_a_migration_as_it_is_described() {
        let made: Vec<String> = MIGRATIONS.iter().flat_map(|one| one.statements("ks")).collect();
        for table in TABLES {
            let start = format!("CREATE TABLE IF NOT EXISTS ks.{} (", table.name);
            let statement = made.iter().find(|text| text.starts_with(&start)).expect(table.name);
            for column in table.columns() {
                assert!(statement.contains(&format!("    {column} bigint,")), "{}: {column}", table.name);
            }
            assert!(statement.contains("    row blob,"), "{}", table.name);
            let (partition, clustering) = (table.partition.join(", "), table.clustering.join(", "));
            let key = format!("PRIMARY KEY (({partition}), {clustering})");
            assert!(statement.contains(&key), "{}: {key}", table.name);
        }
    }

    #[test]
    fn a_key_is_under_its_own_beginnings_only() {
        let key = RowKey::new([1, 2, 3]);
        assert!(key.is_under(&RowKey::new([1])) && key.is_under(&key));
        assert!(!key.is_under(&RowKey::new([1, 3])) && !RowKey::new([1]).is_under(&key));
        assert_eq!(key.ids(), [1, 2, 3]);
    }
}
