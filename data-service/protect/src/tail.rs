//! The live end of one log: every live row above a floor, in memory, changed only by the code that orders the
//! log's writes.
//!
//! A page is served only if it certainly equals the full log's. That takes two facts: nothing above the
//! *floor* is missing, and if the tail is *complete* there is nothing below it either. Appending keeps both;
//! evicting the oldest row raises the floor and ends completeness; edits and deletions change rows above
//! the floor, and those below it do not concern the tail.

use std::{collections::VecDeque, mem, sync::Arc};

/// A row of a log that is ordered by position.
pub trait TailRow {
    /// The row's place in the log: unique, rising with each append, above 0.
    fn position(&self) -> u64;
    /// Bytes that the row counts for.
    fn weight(&self) -> usize;
}

/// Position of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TailAnchor {
    /// The newest rows.
    Latest,
    /// The newest rows below this position.
    Before(u64),
    /// The *oldest* rows above this position.
    After(u64),
    /// `limit / 2` rows on each side of this position, and its own if it is there: at most `limit + 1` rows.
    Around(u64),
}

/// A page of a log. Positions need not exist. Answers are always newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TailQuery {
    /// Position of the page.
    pub anchor: TailAnchor,
    /// Number of rows.
    pub limit: usize,
}

/// The bounds of one tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailBounds {
    /// Maximum rows.
    pub rows_max: usize,
    /// Maximum bytes, by [`TailRow::weight`].
    pub bytes_max: usize,
}

/// A row that does not follow the last one: it was not appended in the log's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("position {position} does not follow {last}")]
pub struct OutOfOrder {
    /// The row's position.
    pub position: u64,
    /// The last position appended.
    pub last: u64,
}

/// Known part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Exclusive: every live row above it is in the tail.
    floor: u64,
    /// True if no live row is at or below the floor.
    complete: bool,
}

/// The tail of one log. Nothing is known of the log until the tail is seeded or appended to.
#[derive(Debug, Clone)]
pub struct Tail<R> {
    /// Ascending by position, all above the floor.
    rows: VecDeque<Arc<R>>,
    /// The sum of the rows' weights.
    bytes: usize,
    known: Option<Known>,
    /// The highest position seen, also of rows that have been removed since.
    last: u64,
    bounds: TailBounds,
}

impl<R: TailRow> Tail<R> {
    /// Creates a tail without knowledge of its log.
    #[must_use]
    pub const fn new(bounds: TailBounds) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, known: None, last: 0, bounds }
    }

    /// Starts over from `rows`, in any order: every live row of the log above `floor`. `complete` is true if
    /// there is none at or below it. Rows at or below the floor are ignored.
    pub fn seed(&mut self, mut rows: Vec<Arc<R>>, floor: u64, complete: bool) {
        self.drop_all();
        rows.retain(|row| row.position() > floor);
        rows.sort_unstable_by_key(|row| row.position());
        rows.dedup_by_key(|row| row.position());
        self.bytes = rows.iter().map(|row| row.weight()).sum();
        self.last = rows.last().map_or(floor, |row| row.position()).max(self.last);
        self.rows = rows.into();
        self.known = Some(Known { floor, complete });
        self.evict();
    }

    /// Appends `row` to the log. If nothing is known of the log, it becomes the first known row.
    ///
    /// # Errors
    /// [`OutOfOrder`]; the tail is unchanged, but its owner's order is broken: call [`Tail::drop_all`].
    pub fn append(&mut self, row: Arc<R>) -> Result<(), OutOfOrder> {
        let position = row.position();
        if position <= self.last {
            return Err(OutOfOrder { position, last: self.last });
        }
        self.known.get_or_insert(Known { floor: position - 1, complete: false });
        self.last = position;
        self.bytes += row.weight();
        self.rows.push_back(row);
        self.evict();
        Ok(())
    }

    /// Replaces a row in place. `false` if it is not in the tail, which then stays unchanged.
    pub fn replace(&mut self, row: Arc<R>) -> bool {
        let Some(place) = self.find(row.position()) else { return false };
        self.bytes += row.weight();
        self.bytes -= mem::replace(&mut self.rows[place], row).weight();
        self.evict();
        true
    }

    /// Removes a row. `false` if it is not in the tail.
    pub fn remove(&mut self, position: u64) -> bool {
        let Some(row) = self.find(position).and_then(|place| self.rows.remove(place)) else { return false };
        self.bytes -= row.weight();
        true
    }

    /// Drops all knowledge of the log: a write is unresolved, or the log has another owner.
    pub fn drop_all(&mut self) {
        self.rows = VecDeque::new();
        self.bytes = 0;
        self.known = None;
    }

    /// The row at `position`, if it is in the tail.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<&Arc<R>> {
        self.find(position).map(|place| &self.rows[place])
    }

    /// The newest row, if it is known.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<R>> {
        self.rows.back()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if the tail has no rows. That does not describe the log: see [`Tail::floor`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of the rows, by [`TailRow::weight`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The position above which every live row is in the tail, and whether there are none at or below it;
    /// `None` while nothing is known.
    #[must_use]
    pub fn floor(&self) -> Option<(u64, bool)> {
        self.known.map(|known| (known.floor, known.complete))
    }

    /// The page, newest first; `None` unless it certainly equals the full log's.
    #[must_use]
    pub fn serve(&self, query: &TailQuery) -> Option<Vec<Arc<R>>> {
        let known = self.known?;
        let limit = query.limit;
        match query.anchor {
            TailAnchor::Latest => self.newest_below(known, self.rows.len(), limit),
            TailAnchor::Before(position) => {
                let end = self.rows.partition_point(|row| row.position() < position);
                self.newest_below(known, end, limit)
            }
            TailAnchor::After(position) => self.oldest_above(known, position, limit),
            TailAnchor::Around(position) => {
                let half = limit / 2;
                let mut page = self.oldest_above(known, position, half)?;
                if position <= known.floor && !known.complete {
                    return None;
                }
                page.extend(self.get(position).cloned());
                let end = self.rows.partition_point(|row| row.position() < position);
                page.extend(self.newest_below(known, end, half)?);
                Some(page)
            }
        }
    }

    /// The last `limit` of the first `end` rows: certain if there are that many, or if nothing lies below.
    fn newest_below(&self, known: Known, end: usize, limit: usize) -> Option<Vec<Arc<R>>> {
        let start = match end.checked_sub(limit) {
            Some(start) => start,
            None if known.complete => 0,
            None => return None,
        };
        Some(self.rows.range(start..end).rev().cloned().collect())
    }

    /// The first `limit` rows above `position`: certain if none can be missing between it and the floor.
    fn oldest_above(&self, known: Known, position: u64, limit: usize) -> Option<Vec<Arc<R>>> {
        if position < known.floor && !known.complete {
            return None;
        }
        let start = self.rows.partition_point(|row| row.position() <= position);
        let end = self.rows.len().min(start.saturating_add(limit));
        Some(self.rows.range(start..end).rev().cloned().collect())
    }

    fn find(&self, position: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&position, |row| row.position()).ok()
    }

    /// Drops the oldest rows until both bounds hold. The newest row is dropped too if it alone exceeds the
    /// byte bound.
    fn evict(&mut self) {
        while self.rows.len() > self.bounds.rows_max || self.bytes > self.bounds.bytes_max {
            let Some(row) = self.rows.pop_front() else { return };
            self.bytes -= row.weight();
            self.known = Some(Known { floor: row.position(), complete: false });
        }
    }
}
