//! The checker finds nothing in a good history, and each known fault in a bad one.

use super::check;
use crate::scenario::kills::{
    observed::{
        Acknowledged, Bot, Change, ChangeKind, Create, Dispatch, Epoch, History, Micros, Observed, Row, What,
        edited,
    },
    violation::{Place, Subject, Violation as V},
};

const CHANNEL: u64 = 7;

fn row(id: u64) -> Row {
    Row { id, content: format!("w0-{id}") }
}

fn create(id: u64) -> Create {
    let acknowledged = Some(Acknowledged { at: 100 * id + 50, id });
    Create { channel: CHANNEL, content: row(id).content, sent: 100 * id, acknowledged }
}

fn seen(s: u64, id: u64) -> Dispatch {
    Dispatch { s, what: What::Create { channel: CHANNEL, id } }
}

fn changed(s: u64, kind: ChangeKind, id: u64) -> Dispatch {
    Dispatch { s, what: What::Change { kind, channel: CHANNEL, id } }
}

fn change(kind: ChangeKind, id: u64, acknowledged: bool) -> Change {
    Change { kind, channel: CHANNEL, id, sent: 100 * id + 60, acknowledged }
}

/// Messages 1 to 5. Bot `a` saw all of them in one session; its READY came at 10, before the first left.
fn good() -> Observed {
    let dispatches = [Dispatch { s: 1, what: What::Other }, Dispatch { s: 2, what: What::Other }];
    let dispatches = dispatches.into_iter().chain((1..=5).map(|id| seen(2 + id, id))).collect();
    let epoch = Epoch { identified: 5, ready: 10, lost: None, dispatches };
    Observed {
        creates: (1..=5).map(create).collect(),
        histories: vec![History { channel: CHANNEL, rows: (1..=5).rev().map(row).collect() }],
        bots: vec![Bot { name: "a".into(), epochs: vec![epoch], ..Bot::default() }],
        ..Observed::default()
    }
}

fn at(epoch: usize) -> Place {
    Place { bot: "a".into(), epoch }
}

/// The violations after `spoil` has damaged a good history.
fn spoiled<R>(spoil: impl FnOnce(&mut Observed) -> R) -> Vec<V> {
    let mut observed = good();
    spoil(&mut observed);
    check(&observed)
}

fn events(observed: &mut Observed) -> &mut Vec<Dispatch> {
    &mut observed.bots[0].epochs[0].dispatches
}

/// The session of a good history is lost at `when`, after message 3 was seen. Another follows, in which 4 and
/// 5 are seen.
fn lose(observed: &mut Observed, when: Micros) {
    let bot = &mut observed.bots[0];
    let rest = bot.epochs[0].dispatches.split_off(5);
    bot.epochs[0].lost = Some((when, "INVALID_SESSION".into()));
    bot.epochs.push(Epoch { identified: when + 1, ready: when + 2, lost: None, dispatches: rest });
}

#[test]
fn a_good_history_has_no_violation() {
    assert_eq!(check(&good()), []);
}

#[test]
fn what_is_unknown_may_be_either_way() {
    assert_eq!(spoiled(|o| o.creates[4].acknowledged = None), []);
    // The message is not acknowledged, not stored and not seen.
    let nowhere = spoiled(|o| {
        o.creates[4].acknowledged = None;
        o.histories[0].rows.remove(0);
        events(o).pop();
    });
    assert_eq!(nowhere, []);
    assert_eq!(spoiled(|o| o.changes.push(change(ChangeKind::Delete, 3, false))), []);
    assert_eq!(spoiled(|o| o.changes.push(change(ChangeKind::Edit, 3, false))), []);
    let deleted = spoiled(|o| {
        o.changes.push(change(ChangeKind::Delete, 3, false));
        o.histories[0].rows.remove(2);
        events(o).remove(4);
    });
    assert_eq!(deleted, []);
}

#[test]
fn a_lost_acknowledgement_is_found_in_history_and_at_the_client() {
    let lost = V::LostCreate { channel: CHANNEL, id: 3, content: "w0-3".into() };
    let unfounded = V::Unfounded { at: at(0), channel: CHANNEL, id: 3 };
    let violations = spoiled(|o| o.histories[0].rows.remove(2));
    assert_eq!(violations, [lost, unfounded]);
}

#[test]
fn a_duplicate_in_history_is_found() {
    let violations = spoiled(|o| {
        o.histories[0].rows.insert(0, Row { id: 6, content: "w0-3".into() });
        events(o).push(seen(8, 6));
    });
    assert_eq!(violations, [V::Twice { content: "w0-3".into(), first: 6, second: 3 }]);
    let violations = spoiled(|o| o.histories[0].rows.insert(2, row(3)));
    let twice = V::Twice { content: "w0-3".into(), first: 3, second: 3 };
    assert_eq!(violations, [V::PageOrder { channel: CHANNEL, above: 3, below: 3 }, twice]);
}

#[test]
fn disorder_in_pages_is_found() {
    let violations = spoiled(|o| o.histories[0].rows.swap(1, 2));
    assert_eq!(violations, [V::PageOrder { channel: CHANNEL, above: 3, below: 4 }]);
}

#[test]
fn messages_that_nobody_wrote_there_are_found() {
    let violations = spoiled(|o| {
        o.histories[0].rows.insert(0, Row { id: 6, content: "spam".into() });
        events(o).push(seen(8, 6));
    });
    assert_eq!(violations, [V::Phantom { channel: CHANNEL, id: 6, content: "spam".into() }]);
    let violations = spoiled(|o| o.creates[4].channel = 8);
    assert!(
        violations.contains(&V::Phantom { channel: CHANNEL, id: 5, content: "w0-5".into() }),
        "{violations:?}"
    );
    let violations = spoiled(|o| o.histories[0].rows[2].content = "w0-9".into());
    let wrong = V::WrongContent { channel: CHANNEL, id: 3, wanted: "w0-3".into(), found: "w0-9".into() };
    assert!(violations.contains(&wrong), "{violations:?}");
}

#[test]
fn lost_edits_and_deletions_are_found() {
    let edit = |o: &mut Observed| {
        o.changes.push(change(ChangeKind::Edit, 3, true));
        events(o).push(changed(8, ChangeKind::Edit, 3));
    };
    assert_eq!(spoiled(edit), [V::LostEdit { channel: CHANNEL, id: 3 }]);
    let shown = spoiled(|o| {
        edit(o);
        o.histories[0].rows[2].content = edited("w0-3");
    });
    assert_eq!(shown, []);
    let violations = spoiled(|o| {
        o.changes.push(change(ChangeKind::Delete, 3, true));
        events(o).push(changed(8, ChangeKind::Delete, 3));
    });
    assert_eq!(violations, [V::Undeleted { channel: CHANNEL, id: 3 }]);
}

#[test]
fn a_gap_at_the_client_is_found() {
    let gap = |id| V::Gap { at: at(0), what: Subject::Create, channel: CHANNEL, id };
    let never = |id| V::NeverSeen { bot: "a".into(), channel: CHANNEL, id };
    assert_eq!(spoiled(|o| events(o).remove(4)), [gap(3), never(3)]);
    assert_eq!(spoiled(|o| events(o).pop()), [gap(5), never(5)]);
    // The same applies if no client was told that the message exists, because it does.
    let violations = spoiled(|o| {
        o.creates[2].acknowledged = None;
        events(o).remove(4);
    });
    assert_eq!(violations, [gap(3), never(3)]);
}

#[test]
fn what_left_before_ready_need_not_come_but_must_be_read() {
    let before = |o: &mut Observed| {
        o.bots[0].epochs[0].ready = 150;
        events(o).remove(2);
    };
    assert_eq!(spoiled(before), [V::NeverSeen { bot: "a".into(), channel: CHANNEL, id: 1 }]);
    let read = spoiled(|o| {
        before(o);
        o.bots[0].reread.push((CHANNEL, 1));
    });
    assert_eq!(read, []);
}

#[test]
fn disorder_and_repetition_at_the_client_are_found() {
    let violations = spoiled(|o| {
        let events = events(o);
        (events[3].what, events[4].what) = (events[4].what, events[3].what);
    });
    assert_eq!(violations, [V::Disorder { at: at(0), channel: CHANNEL, after: 3, id: 2 }]);
    let violations = spoiled(|o| events(o).push(seen(8, 5)));
    assert_eq!(violations, [V::Again { at: at(0), what: Subject::Create, channel: CHANNEL, id: 5 }]);
}

#[test]
fn numbers_that_do_not_rise_are_found() {
    let violations = spoiled(|o| events(o)[4].s = 4);
    assert_eq!(violations, [V::Sequence { at: at(0), after: 4, s: 4 }]);
    let repeat = |s| Dispatch { s, what: What::Ephemeral };
    assert_eq!(spoiled(|o| events(o).insert(5, repeat(5))), []);
    let violations = spoiled(|o| events(o).insert(5, repeat(4)));
    assert_eq!(violations, [V::Sequence { at: at(0), after: 5, s: 4 }]);
}

#[test]
fn changes_are_delivered_once_after_their_message_and_not_left_out() {
    let told = |o: &mut Observed| {
        o.changes.push(change(ChangeKind::Edit, 3, true));
        o.histories[0].rows[2].content = edited("w0-3");
    };
    let what = Subject::Change(ChangeKind::Edit);
    assert_eq!(spoiled(told), [V::Gap { at: at(0), what, channel: CHANNEL, id: 3 }]);
    let violations = spoiled(|o| {
        told(o);
        events(o).extend([changed(8, ChangeKind::Edit, 3), changed(9, ChangeKind::Edit, 3)]);
    });
    assert_eq!(violations, [V::Again { at: at(0), what, channel: CHANNEL, id: 3 }]);
    let violations = spoiled(|o| {
        told(o);
        for event in &mut events(o)[4..] {
            event.s += 1;
        }
        events(o).insert(4, changed(5, ChangeKind::Edit, 3));
    });
    assert_eq!(
        violations,
        [V::BeforeItsMessage { at: at(0), kind: ChangeKind::Edit, channel: CHANNEL, id: 3 }]
    );
}

#[test]
fn a_session_may_be_lost_only_with_the_process_that_holds_it() {
    // Message 4 leaves at 400.
    let without_a_kill = spoiled(|o| lose(o, 390));
    assert_eq!(without_a_kill, [V::SessionLost { at: at(0), when: 390, why: "INVALID_SESSION".into() }]);
    let with_a_kill = spoiled(|o| {
        o.session_kills = vec![380];
        lose(o, 390);
    });
    assert_eq!(with_a_kill, []);
    let killed_before_it_began = spoiled(|o| {
        o.session_kills = vec![2];
        lose(o, 390);
    });
    assert_eq!(killed_before_it_began.len(), 1);
}

#[test]
fn a_gap_between_sessions_is_found_by_what_was_never_seen() {
    let between = |o: &mut Observed| {
        o.session_kills = vec![380];
        lose(o, 450);
        // Message 4 left at 400, which is in neither session.
        o.bots[0].epochs[1].dispatches.remove(0);
    };
    assert_eq!(spoiled(between), [V::NeverSeen { bot: "a".into(), channel: CHANNEL, id: 4 }]);
    let gap_within_the_lost_session = spoiled(|o| {
        o.session_kills = vec![380];
        lose(o, 390);
        o.bots[0].epochs[0].dispatches.remove(3);
        o.bots[0].reread.push((CHANNEL, 2));
    });
    assert_eq!(
        gap_within_the_lost_session,
        [V::Gap { at: at(0), what: Subject::Create, channel: CHANNEL, id: 2 }]
    );
}

#[test]
fn what_clients_and_processes_must_never_do_is_found() {
    let violations = spoiled(|o| {
        o.rejections.push("PATCH: 404".into());
        o.failures.push("weir: exit status 1".into());
        o.bots[0].fatal.push(4004);
        o.bots.push(Bot { name: "b".into(), ..Bot::default() });
    });
    let wanted = [
        V::Rejected { what: "PATCH: 404".into() },
        V::Failed { what: "weir: exit status 1".into() },
        V::FatalClose { bot: "a".into(), code: 4004 },
        V::NoSession { bot: "b".into() },
    ];
    assert_eq!(violations, wanted);
    assert!(violations.iter().all(|violation| !violation.to_string().is_empty()));
}
