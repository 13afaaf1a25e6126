//! Every line keeps its time and gets an id of its own, in any order of lines.

use std::collections::HashSet;

use proptest::prelude::*;
use weir_proto::id::{IMPORT_WORKER, SEQUENCES};

use super::*;

const EPOCH: i64 = EPOCH_MS as i64;

fn derive(lines: &[(usize, i64)]) -> Vec<Derived> {
    let mut order = Order::default();
    lines.iter().for_each(|(channel, offset)| order.note(*channel, EPOCH + offset));
    let before_epoch = lines.iter().filter(|(_, offset)| *offset < 0).count() as u64;
    let mut ids = ImportIds::new(&order, before_epoch);
    let next = |(channel, offset): &(usize, i64)| ids.next(EPOCH + offset, order.is_newest_first(*channel));
    lines.iter().map(next).collect::<Result<_, _>>().expect("few enough")
}

fn flake(derived: Derived) -> Snowflake {
    derived.id.0
}

/// Numbers channels in order of their first appearance.
fn numbered(mut lines: Vec<(usize, i64)>) -> Vec<(usize, i64)> {
    let mut seen = Vec::new();
    for (channel, _) in &mut lines {
        let number = seen.iter().position(|known| known == channel).unwrap_or_else(|| {
            seen.push(*channel);
            seen.len() - 1
        });
        *channel = number;
    }
    lines
}

fn lines() -> impl Strategy<Value = Vec<(usize, i64)>> {
    proptest::collection::vec((0_usize..5, -10_i64..50), 0..400).prop_map(numbered)
}

proptest! {
    #[test]
    fn each_line_has_its_own_time_and_id_in_any_order(lines in lines()) {
        let ids = derive(&lines);
        prop_assert_eq!(ids.iter().map(|one| flake(*one)).collect::<HashSet<_>>().len(), ids.len());
        for (line, derived) in lines.iter().zip(&ids) {
            prop_assert_eq!(flake(*derived).worker(), IMPORT_WORKER);
            // 400 lines never fill a millisecond.
            prop_assert_eq!(flake(*derived).unix_ms() as i64 - EPOCH, line.1.max(0));
            prop_assert!(!derived.moved);
        }
    }

    #[test]
    fn lines_of_one_instant_keep_their_order_oldest_or_newest_first(mut lines in lines()) {
        lines.sort_by_key(|line| line.1);
        let ids = derive(&lines);
        prop_assert!(ids.windows(2).all(|pair| flake(pair[0]) < flake(pair[1])));
        lines.reverse();
        let lines = numbered(lines);
        let ids = derive(&lines);
        for channel in 0..5 {
            let times: HashSet<_> = lines.iter().filter(|line| line.0 == channel).map(|line| line.1).collect();
            let own = lines.iter().zip(&ids).filter(|(line, _)| line.0 == channel).map(|(_, one)| flake(*one));
            let own: Vec<_> = own.collect();
            // A single time does not show in which direction the file is ordered.
            prop_assert!(times.len() < 2 || own.windows(2).all(|pair| pair[0] > pair[1]));
        }
    }
}

#[test]
fn a_full_millisecond_carries_into_the_next_and_is_counted() {
    let full = usize::from(SEQUENCES);
    let mut lines = vec![(0, 10); full + 1];
    lines.push((0, 11));
    let ids = derive(&lines);
    let parts = |index: usize| {
        (flake(ids[index]).unix_ms() as i64 - EPOCH, flake(ids[index]).sequence(), ids[index].moved)
    };
    assert_eq!((parts(0), parts(full - 1)), ((10, 0, false), (10, SEQUENCES - 1, false)));
    assert_eq!((parts(full), parts(full + 1)), ((11, 0, true), (11, 1, false)));
}

#[test]
fn a_long_file_in_order_remembers_little_either_way() {
    for rising in [true, false] {
        let count = 3 * BLOCK_MESSAGES as i64;
        let at = |n: i64| EPOCH + 10 * if rising { n } else { count - n };
        let mut order = Order::default();
        (0..count).for_each(|n| order.note(0, at(n)));
        let mut ids = ImportIds::new(&order, 0);
        for n in 0..count {
            let derived = ids.next(at(n), !rising).expect("in order");
            assert_eq!(flake(derived).unix_ms() as i64, at(n));
        }
        assert!(ids.taken.runs() <= BLOCK_MESSAGES as usize + 2 * CARRY_MS as usize, "{}", ids.taken.runs());
    }
}

#[test]
fn a_row_of_ids_keeps_its_worker_and_carries_into_the_next_millisecond() {
    let first = Snowflake::from_parts(EPOCH_MS + 7, 3, SEQUENCES - 2).expect("in range");
    let parts = |index| {
        let id = Snowflake::try_from(nth(first, index)).expect("never 0");
        (id.unix_ms() - EPOCH_MS, id.worker(), id.sequence())
    };
    assert_eq!((parts(0), parts(1)), ((7, 3, SEQUENCES - 2), (7, 3, SEQUENCES - 1)));
    assert_eq!((parts(2), parts(2 + 4_096)), ((8, 3, 0), (9, 3, 0)));
}
