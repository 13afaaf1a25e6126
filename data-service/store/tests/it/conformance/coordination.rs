//! Settings, leases, the clock, and the store's own life.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use weir_proto::{data::Channel, id::ScopeId};
use weir_store::{Lease, LeaseAnswer, RowChange, Setting, Store};

use crate::fixture::{as_id, change, next_id, next_rev};

pub(super) async fn settings_are_kept_by_kind_and_key(store: &dyn Store) {
    let kind = format!("limits-{}", next_id());
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    for (key, text) in [("b", "old"), ("a", "1"), ("b", "2"), ("c", "3"), ("", "empty key")] {
        // CQL does not allow empty partition keys, but it allows empty clustering keys.
        store.write_setting(&kind, key.as_bytes(), Some(value(text))).await.expect("written");
    }
    store.write_setting(&format!("{kind}x"), b"a", Some(value("another kind"))).await.expect("written");
    store.write_setting(&kind, b"c", None).await.expect("written");
    store.write_setting(&kind, b"never there", None).await.expect("written");
    let expected =
        [(b"".to_vec(), value("empty key")), (b"a".to_vec(), value("1")), (b"b".to_vec(), value("2"))];
    assert_eq!(store.read_settings(&kind, 10).await.expect("readable"), expected);
    assert_eq!(store.read_settings(&kind, 2).await.expect("readable"), expected[..2]);
    assert_eq!(store.read_setting(&kind, b"b").await.expect("readable"), Some(value("2")));
    assert_eq!(store.read_setting(&kind, b"c").await.expect("readable"), None);
    let row = |key: &[u8], value| Setting { kind: kind.clone(), key: key.to_vec(), value };
    let step = vec![row(b"a", None), row(b"c", Some(value("back"))), row(b"d", Some(value("new")))];
    store.write_settings(step).await.expect("written");
    let expected = [
        (b"".to_vec(), value("empty key")),
        (b"b".to_vec(), value("2")),
        (b"c".to_vec(), value("back")),
        (b"d".to_vec(), value("new")),
    ];
    assert_eq!(store.read_settings(&kind, 10).await.expect("readable"), expected);
    store.write_settings(Vec::new()).await.expect("nothing to do");
    assert_eq!(store.read_setting(&kind, b"c").await.expect("readable"), Some(value("back")));
}

fn lease(name: &str, holder: &str, mint_until_us: u64) -> Lease {
    Lease { name: name.to_owned(), holder: holder.to_owned(), mint_until_us }
}

pub(super) async fn a_lease_has_one_holder(store: &dyn Store) {
    let name = format!("worker/{}", next_id());
    let take = async |holder: &str, until, expected: Option<Lease>| {
        store.take_lease(lease(&name, holder, until), expected).await.expect("answered")
    };
    assert_eq!(take("one", 10, None).await, LeaseAnswer::Held);
    assert_eq!(take("two", 20, None).await, LeaseAnswer::HeldBy(lease(&name, "one", 10)));
    assert_eq!(take("one", 30, None).await, LeaseAnswer::Renewed);
    // The row has changed since the taker read it.
    assert_eq!(
        take("two", 40, Some(lease(&name, "one", 10))).await,
        LeaseAnswer::HeldBy(lease(&name, "one", 30))
    );
    assert_eq!(take("two", 50, Some(lease(&name, "one", 30))).await, LeaseAnswer::Held);
    assert_eq!(take("one", 60, None).await, LeaseAnswer::HeldBy(lease(&name, "two", 50)));
    // The lease was given up: the row has no holder, and the next taker expects that.
    assert_eq!(
        take("", 45, Some(lease(&name, "one", 30))).await,
        LeaseAnswer::HeldBy(lease(&name, "two", 50))
    );
    assert_eq!(take("", 45, Some(lease(&name, "two", 50))).await, LeaseAnswer::Held);
    assert_eq!(take("one", 70, None).await, LeaseAnswer::HeldBy(lease(&name, "", 45)));
    assert_eq!(take("one", 80, Some(lease(&name, "", 45))).await, LeaseAnswer::Held);
}

/// Answers of many takers that ask at once, each under a name of its own.
async fn contend(store: &dyn Store, name: &str, expected: Option<Lease>) -> Vec<LeaseAnswer> {
    let takers = (0..12).map(|n| {
        let expected = expected.clone();
        async move {
            let wanted = lease(name, &format!("taker {n}"), next_rev());
            // A database may give up on a contended transaction; then the taker asks again.
            loop {
                if let Ok(answer) = store.take_lease(wanted.clone(), expected.clone()).await {
                    return answer;
                }
            }
        }
    });
    join_all(takers).await
}

/// Exactly one taker holds it, and all others were given its name.
fn one_winner(answers: &[LeaseAnswer]) {
    // A taker whose first transaction succeeded without its knowledge gets the answer that it renewed.
    let holds = |answer: &LeaseAnswer| matches!(answer, LeaseAnswer::Held | LeaseAnswer::Renewed);
    let winner = answers.iter().position(holds).expect("somebody holds it");
    for (taker, answer) in answers.iter().enumerate().filter(|(taker, _)| *taker != winner) {
        let LeaseAnswer::HeldBy(holder) = answer else { panic!("takers {winner} and {taker} both hold it") };
        assert_eq!(holder.holder, format!("taker {winner}"));
    }
}

pub(super) async fn of_many_takers_exactly_one_wins(store: &dyn Store) {
    let name = format!("slots/{}", next_id());
    one_winner(&contend(store, &name, None).await);
}

pub(super) async fn of_many_takers_of_an_ended_lease_exactly_one_wins(store: &dyn Store) {
    let name = format!("slots/{}", next_id());
    let ended = lease(&name, "a process that is gone", 1);
    assert_eq!(store.take_lease(ended.clone(), None).await.expect("answered"), LeaseAnswer::Held);
    one_winner(&contend(store, &name, Some(ended)).await);
}

pub(super) async fn the_clock_runs_with_ours(store: &dyn Store) {
    let ours = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as u64;
    let before = ours();
    let theirs = store.clock_us().await.expect("readable");
    let after = ours();
    // In tests both clocks are of one machine; the second is for a coordinator that steps its clock.
    assert!(before - 1_000_000 < theirs && theirs < after + 1_000_000, "{before} {theirs} {after}");
    assert!(store.clock_us().await.expect("readable") >= theirs);
}

/// Scopes are found by the store's notes or by its log. A publisher that publishes again looks here, and what
/// it does not find is never published.
pub(super) async fn scopes_that_write_are_found(store: &dyn Store) {
    let (channel, guild, before) = (next_id(), next_id(), next_rev());
    let row = Channel { id: channel, guild_id: guild, rev: before, ..Channel::default() };
    store.put_rows(vec![RowChange::PutChannel(row)], before).await.expect("written");
    let both = [ScopeId::Channel(as_id(channel)), ScopeId::Guild(as_id(guild))];
    for _ in 0..2 {
        for scope in both {
            store.note_active(scope).await.expect("written");
            store.commit(change(scope.get(), next_rev(), vec![])).await.expect("committed");
        }
    }
    // The minute allows for clocks that differ.
    let active = store.read_active(before - 60_000_000, 10_000).await.expect("readable");
    assert!(active.whole);
    let ours = active.scopes.iter().filter(|scope| [channel, guild].contains(&scope.get()));
    assert_eq!(ours.count(), 2, "each once: {active:?}");
    assert!(both.iter().all(|scope| active.scopes.contains(scope)));
    let one = store.read_active(0, 1).await.expect("readable");
    assert_eq!((one.scopes.len(), one.whole), (1, false));
    let ahead = store.clock_us().await.expect("readable") + 60_000_000;
    let later = store.read_active(ahead, 10_000).await.expect("readable");
    assert!(!later.scopes.contains(&both[0]), "{later:?}");
}

pub(super) async fn the_store_is_ready_and_counts(store: &dyn Store) {
    store.ready(Duration::from_secs(30)).await.expect("ready");
    let before = store.counters();
    store.read_channel(as_id(next_id())).await.expect("readable");
    store.write_setting("counted", b"k", None).await.expect("written");
    let after = store.counters();
    assert!(after.reads > before.reads && after.writes > before.writes, "{before:?} {after:?}");
}
