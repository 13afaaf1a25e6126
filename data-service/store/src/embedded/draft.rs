//! A draft: what one write would change, worked out before anything is written. The committer plans each write of a batch over the drafts
//! before it, so a write sees the ones it follows, and a write that is refused leaves no trace.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use fjall::Slice;

use super::{
    keys,
    log::{Event, Extent},
    tables::{Table, Tables},
};
use crate::OutboxRecord;

/// Rows that a batch puts (`Some`) or removes (`None`).
pub(super) type Rows = HashMap<(Table, Slice), Option<Slice>>;

/// Why a write cannot be planned.
#[derive(Debug)]
pub(super) enum PlanError {
    /// The tree could not be read: nothing it says can be relied on any more.
    Tree(fjall::Error),
    /// The write is refused; the store is well.
    Refused(String),
}

impl From<fjall::Error> for PlanError {
    fn from(error: fjall::Error) -> Self {
        Self::Tree(error)
    }
}

/// The writes of a batch that are planned already.
#[derive(Debug)]
pub(super) struct Group {
    /// Their rows.
    pub(super) rows: Rows,
    /// The log after them.
    pub(super) log: Extent,
    /// The records they append, in order of position.
    pub(super) appended: Vec<Bytes>,
}

impl Group {
    /// A batch without writes yet.
    pub(super) fn new(log: Extent) -> Self {
        Self { rows: HashMap::new(), log, appended: Vec::new() }
    }

    /// Takes over a planned write's rows, log and records.
    pub(super) fn accept(&mut self, (rows, log, appended): (Rows, Extent, Vec<Bytes>)) {
        self.rows.extend(rows);
        self.log = log;
        self.appended.extend(appended);
    }
}

/// Newest revision in the log of scopes that wrote lately: a revision above it is new, which spares a look into the tree (a quarter of the
/// committer's work). What it does not know is looked up, so it may forget at any time.
#[derive(Debug, Default)]
pub(super) struct NewestRevs(HashMap<u64, u64>);

impl NewestRevs {
    /// Scopes remembered, 16 bytes each: more than write between two restarts on most machines. A full one is emptied.
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

/// One write being planned.
pub(super) struct Draft<'a> {
    tables: &'a Tables,
    group: &'a Group,
    rows: Rows,
    log: Extent,
    appended: Vec<Bytes>,
}

impl<'a> Draft<'a> {
    /// An empty draft over a batch.
    pub(super) fn new(tables: &'a Tables, group: &'a Group) -> Self {
        Self { tables, group, rows: HashMap::new(), log: group.log, appended: Vec::new() }
    }

    /// What the write adds to its batch.
    pub(super) fn finish(self) -> (Rows, Extent, Vec<Bytes>) {
        (self.rows, self.log, self.appended)
    }

    /// A row as the write sees it.
    pub(super) fn get(&self, table: Table, key: impl Into<Slice>) -> Result<Option<Slice>, PlanError> {
        let place = (table, key.into());
        match self.rows.get(&place).or_else(|| self.group.rows.get(&place)) {
            Some(row) => Ok(row.clone()),
            // The committer is the only writer, so the newest state is the state as of the last batch.
            None => Ok(self.tables.get(table).get(table.stored_key(place.1))?),
        }
    }

    /// Puts a row.
    pub(super) fn put(&mut self, table: Table, key: impl Into<Slice>, value: impl Into<Slice>) {
        self.rows.insert((table, key.into()), Some(value.into()));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, table: Table, key: impl Into<Slice>) {
        self.rows.insert((table, key.into()), None);
    }

    /// Keys under a prefix as the write sees them, ascending. Costs memory and time by their number: only for deleting a guild.
    pub(super) fn keys_under(&self, table: Table, prefix: &[u8]) -> Result<BTreeSet<Slice>, PlanError> {
        let mut keys = BTreeSet::new();
        for row in self.tables.get(table).prefix(table.stored_key(prefix)) {
            keys.insert(table.own_key(row.key()?));
        }
        for rows in [&self.group.rows, &self.rows] {
            for ((_, key), row) in
                rows.iter().filter(|((of, key), _)| *of == table && key.starts_with(prefix))
            {
                match row {
                    Some(_) => keys.insert(key.clone()),
                    None => keys.remove(key),
                };
            }
        }
        Ok(keys)
    }

    /// Appends a scope's records to the log. Records that are there already are not appended again: a write of unknown outcome comes again
    /// whole, with the same revisions, so the first tells for all.
    pub(super) fn append(
        &mut self,
        scope_id: u64,
        records: Vec<OutboxRecord>,
        newest: &mut NewestRevs,
    ) -> Result<(), PlanError> {
        let Some((first, last)) = records.first().zip(records.last()) else { return Ok(()) };
        let (first, last) = (first.rev, last.rev);
        if !newest.is_above(scope_id, first)
            && self.get(Table::Changes, keys::two(scope_id, first))?.is_some()
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
