//! The budget: held bytes come back, and no holder has more than its share.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { total: 100, peer: 60, token: 70 };

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

#[test]
fn one_peer_cannot_take_all_and_all_cannot_take_more_than_there_is() {
    let part = Budget::default().part("replies", BOUNDS);
    let (one, other) = (part.account(address(1)), part.account(address(2)));
    let mut first = one.hold(60).unwrap();
    // A second account of the same peer does not have a share of its own.
    assert_eq!(part.account(address(1)).hold(1).unwrap_err(), Full::Peer("replies"));
    let second = other.hold(40).unwrap();
    assert_eq!(other.hold(1).unwrap_err(), Full::Total("replies"));
    first.shrink(10);
    assert!(other.hold(10).is_ok());
    drop((first, second));
    let usage = part.usage();
    assert_eq!((usage.used, usage.peak, usage.refused), (0, 100, 2));
}

#[test]
fn a_peer_leaves_with_its_last_account_and_a_hold_keeps_it() {
    let part = Budget::default().part("replies", BOUNDS);
    let hold = part.account(address(1)).hold(5).unwrap();
    assert_eq!(part.usage().holders, 1);
    // Another account counts what the first one holds.
    assert!(part.account(address(1)).hold(56).is_err());
    drop(hold);
    assert_eq!(part.usage().holders, 0);
}

#[test]
fn a_token_has_one_share_from_all_addresses() {
    let part = Budget::default().part("replies", BOUNDS);
    let (here, there) = (part.account(address(1)).for_token(7), part.account(address(2)).for_token(7));
    let held = here.hold(60).unwrap();
    assert_eq!(here.hold(1).unwrap_err(), Full::Peer("replies"));
    assert_eq!(there.hold(11).unwrap_err(), Full::Token("replies"));
    // After a refusal by the token's share, the peer holds nothing of it.
    let more = there.hold(10).unwrap();
    // Other tokens at the same address, and the same address without a token, are not affected.
    let others = part.account(address(2)).for_token(8).hold(30).unwrap();
    assert_eq!(part.account(address(3)).hold(1).unwrap_err(), Full::Total("replies"));
    drop((held, more, others));
    // A refusal by the total took nothing of the shares either.
    assert!(here.hold(60).is_ok() && there.hold(60).is_ok());
    drop((here, there));
    assert_eq!((part.usage().used, part.usage().holders), (0, 0));
}

#[test]
fn a_cache_is_shown_as_it_weighs_itself() {
    let budget = Budget::default();
    let weight = Arc::new(AtomicUsize::new(5));
    let seen = Arc::clone(&weight);
    budget.watch("tails", 50, move || seen.load(Ordering::Relaxed));
    budget.watch("tails", 1, || 0);
    assert_eq!(budget.usage().len(), 1);
    weight.store(9, Ordering::Relaxed);
    budget.usage();
    weight.store(3, Ordering::Relaxed);
    let shown = budget.usage()[0];
    assert_eq!((shown.part, shown.used, shown.peak, shown.total), ("tails", 3, 9, 50));
}

#[test]
fn a_part_is_made_once() {
    let budget = Budget::default();
    let first = budget.part("replies", BOUNDS).account(address(1)).hold(7).unwrap();
    let again = budget.part("replies", Bounds { total: 1, peer: 1, token: 1 });
    assert_eq!((again.usage().used, again.usage().total), (7, BOUNDS.total));
    assert_eq!(budget.usage().len(), 1);
    drop(first);
}

#[test]
fn a_network_of_ipv6_is_one_peer() {
    let of = |text: &str| Peer::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

#[derive(Clone, Debug)]
enum Step {
    Hold(u8, usize),
    Grow(usize, usize),
    GrowBelow(usize, usize, usize),
    Shrink(usize, usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u8, 0..70_usize).prop_map(|(peer, bytes)| Step::Hold(peer, bytes)),
        (any::<usize>(), 0..70_usize).prop_map(|(hold, bytes)| Step::Grow(hold, bytes)),
        (any::<usize>(), 0..70_usize, 0..200_usize)
            .prop_map(|(hold, bytes, total)| Step::GrowBelow(hold, bytes, total)),
        (any::<usize>(), 0..70_usize).prop_map(|(hold, bytes)| Step::Shrink(hold, bytes)),
        any::<usize>().prop_map(Step::Drop),
    ]
}

proptest! {
    /// The model is a list of what each hold has. The same steps are refused, the sums agree after every
    /// step, and nothing is left in the end.
    #[test]
    fn the_counts_are_the_sums_of_the_holds(steps in proptest::collection::vec(step(), 0..60)) {
        let part = Budget::default().part("replies", BOUNDS);
        let mut holds: Vec<(u8, Hold)> = Vec::new();
        for step in steps {
            let used: usize = holds.iter().map(|(_, hold)| hold.bytes()).sum();
            let of = |peer: u8, holds: &[(u8, Hold)]| -> usize {
                holds.iter().filter(|(of, _)| *of == peer).map(|(_, hold)| hold.bytes()).sum()
            };
            let room = |peer, more, total: usize, holds: &[(u8, Hold)]| {
                of(peer, holds) + more <= BOUNDS.peer && used + more <= total.min(BOUNDS.total)
            };
            match step {
                Step::Hold(peer, bytes) => {
                    let fits = room(peer, bytes, BOUNDS.total, &holds);
                    match part.account(address(peer)).hold(bytes) {
                        Ok(hold) => { prop_assert!(fits); holds.push((peer, hold)); }
                        Err(_) => prop_assert!(!fits),
                    }
                }
                Step::Grow(..) | Step::GrowBelow(..) | Step::Shrink(..) | Step::Drop(_) if holds.is_empty() => {}
                Step::Grow(index, bytes) => {
                    let index = index % holds.len();
                    let fits = room(holds[index].0, bytes, BOUNDS.total, &holds);
                    prop_assert_eq!(holds[index].1.grow(bytes).is_ok(), fits);
                }
                Step::GrowBelow(index, bytes, total) => {
                    let index = index % holds.len();
                    let fits = room(holds[index].0, bytes, total, &holds);
                    prop_assert_eq!(holds[index].1.grow_below(bytes, total).is_ok(), fits);
                }
                Step::Shrink(index, bytes) => {
                    let index = index % holds.len();
                    let left = holds[index].1.bytes().saturating_sub(bytes);
                    holds[index].1.shrink(bytes);
                    prop_assert_eq!(holds[index].1.bytes(), left);
                }
                Step::Drop(index) => drop(holds.swap_remove(index % holds.len())),
            }
            let used: usize = holds.iter().map(|(_, hold)| hold.bytes()).sum();
            let peers: std::collections::BTreeSet<u8> = holds.iter().map(|(peer, _)| *peer).collect();
            let usage = part.usage();
            prop_assert_eq!((usage.used, usage.holders), (used, peers.len()));
            prop_assert!(usage.used <= usage.peak && usage.peak <= BOUNDS.total);
        }
        holds.clear();
        prop_assert_eq!((part.usage().used, part.usage().holders), (0, 0));
    }
}
