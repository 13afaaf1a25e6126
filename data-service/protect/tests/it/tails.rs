//! The tail against the whole log: every page that it serves equals the log's.

use std::sync::Arc;

use proptest::prelude::*;
use weir_protect::{Tail, TailAnchor, TailBounds, TailQuery, TailRow};

use crate::fake::{Page, page_of};

#[derive(Debug, PartialEq, Eq)]
struct Row {
    position: u64,
    weight: usize,
    edition: u32,
}

impl TailRow for Row {
    fn position(&self) -> u64 {
        self.position
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

fn row(position: u64, weight: usize, edition: u32) -> Arc<Row> {
    Arc::new(Row { position, weight, edition })
}

#[derive(Debug, Clone)]
enum Op {
    /// Appends this far beyond the last row.
    Append(u64, usize),
    /// Edits the n-th row, counted from the oldest.
    Edit(usize, usize),
    Delete(usize),
    /// Deletes a position that was never there.
    DeleteNothing(u64),
    DropAll,
    /// Reads the newest rows back from the store.
    Seed(usize),
    Query(TailQuery),
}

fn anchors() -> impl Strategy<Value = TailAnchor> {
    prop_oneof![
        Just(TailAnchor::Latest),
        (0_u64..120).prop_map(TailAnchor::Before),
        (0_u64..120).prop_map(TailAnchor::After),
        (0_u64..120).prop_map(TailAnchor::Around),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..4, 1_usize..40).prop_map(|(step, weight)| Op::Append(step, weight)),
        1 => (0_usize..40, 1_usize..40).prop_map(|(n, weight)| Op::Edit(n, weight)),
        1 => (0_usize..40).prop_map(Op::Delete),
        1 => (0_u64..120).prop_map(Op::DeleteNothing),
        1 => prop_oneof![Just(Op::DropAll), (0_usize..12).prop_map(Op::Seed)],
        8 => (anchors(), 0_usize..12).prop_map(|(anchor, limit)| Op::Query(TailQuery { anchor, limit })),
    ]
}

/// The whole log and its tail, side by side.
struct Pair {
    log: Vec<Arc<Row>>,
    tail: Tail<Row>,
    last: u64,
    served: usize,
}

impl Pair {
    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(step, weight) => {
                self.last += step;
                self.log.push(row(self.last, weight, 0));
                self.tail.append(row(self.last, weight, 0)).unwrap();
            }
            Op::Edit(n, weight) => {
                if let Some(old) = self.log.get_mut(n) {
                    let new = row(old.position, weight, old.edition + 1);
                    *old = Arc::clone(&new);
                    self.tail.replace(new);
                }
            }
            Op::Delete(n) if n < self.log.len() => {
                let gone = self.log.remove(n);
                self.tail.remove(gone.position);
            }
            Op::Delete(_) => {}
            Op::DeleteNothing(position) => {
                if self.log.iter().all(|row| row.position != position) {
                    assert!(!self.tail.remove(position), "removed what was never there");
                }
            }
            Op::DropAll => self.tail.drop_all(),
            Op::Seed(rows) => {
                let start = self.log.len().saturating_sub(rows);
                let floor = if start == 0 { 0 } else { self.log[start - 1].position };
                let mut rows = self.log[start..].to_vec();
                rows.reverse();
                self.tail.seed(rows, floor, start == 0);
            }
            Op::Query(query) => self.query(&query),
        }
    }

    fn query(&mut self, query: &TailQuery) {
        let Some(page) = self.tail.serve(query) else { return };
        self.served += 1;
        let positions: Vec<u64> = self.log.iter().map(|row| row.position).collect();
        let expected = page_of(&positions, Page(*query));
        let found: Vec<u64> = page.iter().map(|row| row.position).collect();
        assert_eq!(&found[..], &expected.0[..], "{query:?}, floor {:?}", self.tail.floor());
        for row in page {
            assert!(self.log.contains(&row), "an old edition of {row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn served_pages_equal_the_logs(
        ops in proptest::collection::vec(ops(), 1..120),
        rows_max in 1_usize..20,
        bytes_max in 20_usize..400,
    ) {
        let bounds = TailBounds { rows_max, bytes_max };
        let mut pair = Pair { log: Vec::new(), tail: Tail::new(bounds), last: 0, served: 0 };
        for op in &ops {
            pair.apply(op);
            prop_assert!(pair.tail.len() <= rows_max);
            prop_assert!(pair.tail.bytes() <= bytes_max);
        }
    }
}

fn tail(rows: std::ops::RangeInclusive<u64>, floor: u64, complete: bool) -> Tail<Row> {
    let mut tail = Tail::new(TailBounds { rows_max: 100, bytes_max: 10_000 });
    tail.seed(rows.map(|position| row(position, 1, 0)).collect(), floor, complete);
    tail
}

fn positions(tail: &Tail<Row>, anchor: TailAnchor, limit: usize) -> Option<Vec<u64>> {
    let page = tail.serve(&TailQuery { anchor, limit })?;
    Some(page.iter().map(|row| row.position).collect())
}

#[test]
fn a_warm_tail_serves_what_it_is_certain_of() {
    let tail = tail(11..=20, 10, false);
    assert_eq!(positions(&tail, TailAnchor::Latest, 3), Some(vec![20, 19, 18]));
    assert_eq!(positions(&tail, TailAnchor::Latest, 10).map(|p| p.len()), Some(10));
    assert_eq!(positions(&tail, TailAnchor::Latest, 11), None, "the eleventh is below the floor");
    assert_eq!(positions(&tail, TailAnchor::Before(13), 2), Some(vec![12, 11]));
    assert_eq!(positions(&tail, TailAnchor::Before(12), 2), None);
    assert_eq!(
        positions(&tail, TailAnchor::After(10), 3),
        Some(vec![13, 12, 11]),
        "the oldest, newest first"
    );
    assert_eq!(positions(&tail, TailAnchor::After(9), 3), None, "a row may be at 10");
    assert_eq!(positions(&tail, TailAnchor::After(20), 3), Some(vec![]));
    assert_eq!(positions(&tail, TailAnchor::Around(15), 4), Some(vec![17, 16, 15, 14, 13]));
    assert_eq!(positions(&tail, TailAnchor::Around(12), 4), None);
    assert_eq!(positions(&tail, TailAnchor::Around(10), 1), None, "whether 10 exists is unknown");
}

#[test]
fn a_complete_tail_serves_everything() {
    let tail = tail(11..=12, 10, true);
    assert_eq!(positions(&tail, TailAnchor::Latest, 50), Some(vec![12, 11]));
    assert_eq!(positions(&tail, TailAnchor::Before(5), 50), Some(vec![]));
    assert_eq!(positions(&tail, TailAnchor::After(0), 50), Some(vec![12, 11]));
    assert_eq!(positions(&tail, TailAnchor::Around(3), 50), Some(vec![12, 11]));
}

#[test]
fn deletion_can_make_a_tail_too_short() {
    let mut tail = tail(11..=13, 10, false);
    assert!(tail.remove(12));
    assert_eq!(positions(&tail, TailAnchor::Latest, 3), None);
    assert_eq!(positions(&tail, TailAnchor::Latest, 2), Some(vec![13, 11]));
}

#[test]
fn an_empty_log_is_served_as_empty() {
    let mut tail = Tail::<Row>::new(TailBounds { rows_max: 4, bytes_max: 100 });
    assert_eq!(positions(&tail, TailAnchor::Latest, 1), None, "nothing is known yet");
    tail.seed(Vec::new(), 0, true);
    assert_eq!(positions(&tail, TailAnchor::Latest, 1), Some(vec![]));
}

#[test]
fn the_first_append_starts_a_tail_and_an_old_one_is_refused() {
    let mut tail = Tail::new(TailBounds { rows_max: 4, bytes_max: 100 });
    tail.append(row(7, 1, 0)).unwrap();
    assert_eq!(tail.floor(), Some((6, false)));
    assert_eq!(positions(&tail, TailAnchor::Latest, 1), Some(vec![7]));
    assert!(tail.append(row(7, 1, 0)).is_err());
    assert!(tail.remove(7));
    assert!(tail.append(row(6, 1, 0)).is_err(), "the order is remembered beyond the row");
    tail.drop_all();
    assert_eq!((tail.floor(), tail.newest()), (None, None));
}

#[test]
fn a_row_above_the_byte_bound_is_not_held() {
    let mut tail = Tail::new(TailBounds { rows_max: 4, bytes_max: 10 });
    tail.append(row(1, 5, 0)).unwrap();
    tail.append(row(2, 11, 0)).unwrap();
    assert_eq!((tail.len(), tail.bytes(), tail.floor()), (0, 0, Some((2, false))));
    tail.append(row(3, 5, 0)).unwrap();
    assert_eq!(positions(&tail, TailAnchor::After(2), 5), Some(vec![3]));
}
