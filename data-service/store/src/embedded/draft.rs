//! A draft of one write: its changes, worked out before anything is written. The committer plans each write
//! of a batch over the drafts before it. So a write sees the ones it follows, and a refused write leaves no
//! trace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    ops::Bound,
};

use bytes::Bytes;
use fjall::Slice;

use super::{
    keys,
    log::{Event, Extent},
    tables::Table,
    tree::Tables,
};
use crate::{OutboxRecord, row::REMOVED_UNDER_MAX};

/// Rows that a batch puts (`Some`) or removes (`None`), in the order of tables and keys. In this order
/// neighbours share their way through the tree's skip lists: a third less work than in a hash table's order.
#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<Table, BTreeMap<Slice, Option<Slice>>>);

impl Rows {
    /// The change of a row, if there is one.
    fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Slice>> {
        self.0.get(&table)?.get(key)
    }

    /// Puts a row unless the table has a change of it already; true if it did.
    fn add(&mut self, table: Table, key: &[u8], row: impl FnOnce() -> Slice) -> bool {
        match self.0.entry(table).or_default().entry(key.into()) {
            Entry::Vacant(place) => {
                place.insert(Some(row()));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Whether no changed row lies between two keys, both ends included.
    fn none_between(&self, table: Table, first: &[u8], last: &[u8]) -> bool {
        let ends = (Bound::Included(first), Bound::Included(last));
        self.0.get(&table).is_none_or(|rows| rows.range::<[u8], _>(ends).next().is_none())
    }

    /// Puts or removes a row.
    pub(super) fn set(&mut self, table: Table, key: impl Into<Slice>, row: Option<Slice>) {
        self.0.entry(table).or_default().insert(key.into(), row);
    }

    /// Changed rows of a table under a prefix.
    fn under(&self, table: Table, prefix: &[u8]) -> impl Iterator<Item = (&Slice, bool)> {
        let rows = self.0.get(&table).into_iter().flat_map(move |rows| rows.range(Slice::from(prefix)..));
        rows.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, row)| (key, row.is_some()))
    }

    /// Adds rows that come after these.
    fn accept(&mut self, later: Self) {
        for (table, mut rows) in later.0 {
            let ours = self.0.entry(table).or_default();
            // Joining costs as much as both sides have rows; inserting costs as much as the later side has,
            // times the depth.
            if rows.len() > ours.len() / 8 {
                ours.append(&mut rows);
            } else {
                ours.extend(rows);
            }
        }
    }

    /// Whether there are no changes.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All changes, in order.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (Table, Slice, Option<Slice>)> {
        self.0.into_iter().flat_map(|(table, rows)| rows.into_iter().map(move |(key, row)| (table, key, row)))
    }
}

/// Why a write cannot be planned.
#[derive(Debug)]
pub(super) enum PlanError {
    /// The tree could not be read. Nothing that it returns can be relied on any more.
    Tree(fjall::Error),
    /// The write is refused; the store is healthy.
    Refused(String),
}

impl From<fjall::Error> for PlanError {
    fn from(error: fjall::Error) -> Self {
        Self::Tree(error)
    }
}

/// The writes of a batch that are already planned.
#[derive(Debug)]
pub(super) struct Group {
    /// Their rows.
    pub(super) rows: Rows,
    /// The log after these writes.
    pub(super) log: Extent,
    /// The records that these writes append, in order of position.
    pub(super) appended: Vec<Bytes>,
}

impl Group {
    /// A batch without writes yet.
    pub(super) fn new(log: Extent) -> Self {
        Self { rows: Rows::default(), log, appended: Vec::new() }
    }

    /// Adds the rows, log and records of a planned write.
    pub(super) fn accept(&mut self, (rows, log, appended): (Rows, Extent, Vec<Bytes>)) {
        self.rows.accept(rows);
        self.log = log;
        self.appended.extend(appended);
    }
}

/// Newest revision in the log for each scope that wrote lately. A higher revision is new, which saves a look
/// into the tree (a quarter of the committer's work). A scope that is not in the map is looked up, so the map
/// may forget at any time.
#[derive(Debug, Default)]
pub(super) struct NewestRevs(HashMap<u64, u64>);

impl NewestRevs {
    /// Most scopes in the map, 16 bytes each: on most machines fewer write between two restarts. A full map
    /// is emptied.
    const SCOPES_MAX: usize = 65_536;

    /// Whether a revision is known to be above everything in the log of its scope.
    fn is_above(&self, scope_id: u64, rev: u64) -> bool {
        self.0.get(&scope_id).is_some_and(|newest| rev > *newest)
    }

    fn note(&mut self, scope_id: u64, rev: u64) {
        if self.0.len() >= Self::SCOPES_MAX && !self.0.contains_key(&scope_id) {
            self.0.clear();
        }
        let newest = self.0.entry(scope_id).or_default();
        *newest = rev.max(*newest);
    }
}

/// One write that is being planned.
pub(super) struct Draft<'a> {
    tables: &'a Tables,
    group: &'a Group,
    rows: Rows,
    log: Extent,
    appended: Vec<Bytes>,
    /// Ranges that were empty when the planning of this write began.
    fresh: Vec<Span>,
    /// Rows below keys that this write may still remove.
    pub(super) removable: usize,
}

/// A range of keys of a table, both ends included.
struct Span {
    table: Table,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Span {
    fn holds(&self, table: Table, key: &[u8]) -> bool {
        self.table == table && *self.first <= *key && *key <= *self.last
    }
}

impl<'a> Draft<'a> {
    /// An empty draft over a batch.
    pub(super) fn new(tables: &'a Tables, group: &'a Group) -> Self {
        Self {
            tables,
            group,
            rows: Rows::default(),
            log: group.log,
            appended: Vec::new(),
            fresh: Vec::new(),
            removable: REMOVED_UNDER_MAX,
        }
    }

    /// What the write adds to its batch.
    pub(super) fn finish(self) -> (Rows, Extent, Vec<Bytes>) {
        (self.rows, self.log, self.appended)
    }

    /// A row as this write sees it.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, PlanError> {
        if let Some(row) = self.rows.get(table, key).or_else(|| self.group.rows.get(table, key)) {
            return Ok(row.clone());
        }
        // The committer is the only writer, so the tree's newest state is that of the last batch.
        Ok(self.tables.get(table).get(table.stored_key(key))?)
    }

    /// Whether no row of a table lies between two keys, both ends included, as this write sees it.
    fn none_between(&self, table: Table, first: &[u8], last: &[u8]) -> Result<bool, PlanError> {
        if ![&self.rows, &self.group.rows].into_iter().all(|rows| rows.none_between(table, first, last)) {
            return Ok(false);
        }
        let mut rows = self.tables.get(table).range(table.stored_key(first)..=table.stored_key(last));
        match rows.next() {
            Some(row) => Ok(row.key().map(|_| false)?),
            None => Ok(true),
        }
    }

    /// Looks whether a range of keys has neither rows nor removals. Then [`Self::put_fresh`] can put every
    /// row of the range without the two look-ups that each costs otherwise. It pays when many rows come
    /// together, as in a bulk load.
    pub(super) fn look_ahead(&mut self, table: Table, first: &[u8], last: &[u8]) -> Result<(), PlanError> {
        let [first_removal, last_removal] = [first, last].map(|key| keys::removal(table, key));
        if self.none_between(Table::Removals, &first_removal, &last_removal)?
            && self.none_between(table, first, last)?
        {
            self.fresh.push(Span { table, first: first.to_vec(), last: last.to_vec() });
        }
        Ok(())
    }

    /// Puts a row if it is known that there was none and that none was removed; true if it did.
    pub(super) fn put_fresh(&mut self, table: Table, key: &[u8], value: impl FnOnce() -> Slice) -> bool {
        self.fresh.iter().any(|span| span.holds(table, key)) && self.rows.add(table, key, value)
    }

    /// Puts a row.
    pub(super) fn put(&mut self, table: Table, key: impl Into<Slice>, value: impl Into<Slice>) {
        self.rows.set(table, key, Some(value.into()));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, table: Table, key: impl Into<Slice>) {
        self.rows.set(table, key, None);
    }

    /// Keys under a prefix as this write sees them, ascending: the first `max` of the tree, and those that
    /// this batch has put. Costs memory and time in proportion to their number, so it is used only for what
    /// is deleted with all that hangs on it.
    pub(super) fn keys_under(
        &self,
        table: Table,
        prefix: &[u8],
        max: usize,
    ) -> Result<BTreeSet<Slice>, PlanError> {
        let mut keys = BTreeSet::new();
        for row in self.tables.get(table).prefix(table.stored_key(prefix)).take(max) {
            keys.insert(table.own_key(row.key()?));
        }
        for rows in [&self.group.rows, &self.rows] {
            for (key, is_put) in rows.under(table, prefix) {
                if is_put {
                    keys.insert(key.clone());
                } else {
                    keys.remove(key);
                }
            }
        }
        Ok(keys)
    }

    /// Appends a scope's records to the log. Records that are there already are not appended again. A write
    /// of unknown outcome is repeated whole, with the same revisions, so its first record stands for all.
    pub(super) fn append(
        &mut self,
        scope_id: u64,
        records: Vec<OutboxRecord>,
        newest: &mut NewestRevs,
    ) -> Result<(), PlanError> {
        let Some((first, last)) = records.first().zip(records.last()) else { return Ok(()) };
        let (first, last) = (first.rev, last.rev);
        if !newest.is_above(scope_id, first)
            && self.get(Table::Changes, &keys::two(scope_id, first))?.is_some()
        {
            return Ok(());
        }
        newest.note(scope_id, last);
        for outbox in records {
            let record = outbox.record.clone();
            let rev = outbox.rev;
            self.log.head += 1;
            self.log.head_bytes += record.len() as u64;
            let event = Event { bytes_until: self.log.head_bytes, scope_id, outbox };
            self.put(Table::Events, keys::one(self.log.head), event.encode());
            self.put(Table::Changes, keys::two(scope_id, rev), keys::one(self.log.head));
            self.appended.push(record);
        }
        Ok(())
    }
}
