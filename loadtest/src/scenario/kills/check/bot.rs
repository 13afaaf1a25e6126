//! Checks what one client saw. Each session must be complete, without repetition and in the history's order;
//! sessions and re-reading together must show everything.

use std::collections::{HashMap, HashSet};

use super::known::Known;
use crate::scenario::kills::{
    observed::{Bot, ChangeKind, Dispatch, Epoch, Micros, What},
    violation::{Place, Subject, Violation},
};

pub(super) fn check(bot: &Bot, known: &Known<'_>, session_kills: &[Micros], violations: &mut Vec<Violation>) {
    for code in &bot.fatal {
        violations.push(Violation::FatalClose { bot: bot.name.clone(), code: *code });
    }
    if bot.epochs.is_empty() {
        violations.push(Violation::NoSession { bot: bot.name.clone() });
        return;
    }
    let mut seen: HashSet<(u64, u64)> = bot.reread.iter().copied().collect();
    for (number, epoch) in bot.epochs.iter().enumerate() {
        let at = Place { bot: bot.name.clone(), epoch: number };
        if let Some((when, why)) = &epoch.lost
            && !session_kills.iter().any(|kill| (epoch.identified..=*when).contains(kill))
        {
            violations.push(Violation::SessionLost { at: at.clone(), when: *when, why: why.clone() });
        }
        numbers(&at, &epoch.dispatches, violations);
        let delivered = order(&at, epoch, known, violations);
        let is_last = number + 1 == bot.epochs.len();
        complete(&at, epoch, is_last, &delivered, known, violations);
        seen.extend(delivered.creates.iter());
    }
    for (channel, rows) in &known.live {
        let missing = rows.iter().filter(|(id, _)| !seen.contains(&(*channel, *id)));
        violations.extend(missing.map(|(id, _)| Violation::NeverSeen {
            bot: bot.name.clone(),
            channel: *channel,
            id: *id,
        }));
    }
}

/// Checks that `s` rises with each dispatch that has a number of its own, and repeats with the others.
fn numbers(at: &Place, dispatches: &[Dispatch], violations: &mut Vec<Violation>) {
    let mut last = 0;
    for dispatch in dispatches {
        let holds = match dispatch.what {
            What::Ephemeral => dispatch.s >= last,
            What::Create { .. } | What::Change { .. } | What::Other => dispatch.s > last,
        };
        if !holds {
            violations.push(Violation::Sequence { at: at.clone(), after: last, s: dispatch.s });
        }
        last = last.max(dispatch.s);
    }
}

/// What one session delivered.
#[derive(Default)]
struct Delivered {
    creates: HashSet<(u64, u64)>,
    changes: HashSet<(Subject, u64, u64)>,
    /// Last message id, by channel.
    last: HashMap<u64, u64>,
}

fn order(at: &Place, epoch: &Epoch, known: &Known<'_>, violations: &mut Vec<Violation>) -> Delivered {
    let mut delivered = Delivered::default();
    // Creations whose change came first. That is only wrong if the creation follows.
    let mut early: HashMap<(u64, u64), Vec<ChangeKind>> = HashMap::new();
    for dispatch in &epoch.dispatches {
        match dispatch.what {
            What::Create { channel, id } => {
                for kind in early.remove(&(channel, id)).into_iter().flatten() {
                    violations.push(Violation::BeforeItsMessage { at: at.clone(), kind, channel, id });
                }
                let last = delivered.last.entry(channel).or_default();
                if !delivered.creates.insert((channel, id)) {
                    violations.push(Violation::Again { at: at.clone(), what: Subject::Create, channel, id });
                } else if id < *last {
                    violations.push(Violation::Disorder { at: at.clone(), channel, after: *last, id });
                }
                *last = (*last).max(id);
                let is_live = known.live.get(&channel).is_some_and(|rows| position(rows, id).is_some());
                if !is_live && !known.delete_tried.contains(&(channel, id)) {
                    violations.push(Violation::Unfounded { at: at.clone(), channel, id });
                }
            }
            What::Change { kind, channel, id } => {
                let what = Subject::Change(kind);
                if !delivered.changes.insert((what, channel, id)) {
                    violations.push(Violation::Again { at: at.clone(), what, channel, id });
                }
                if !delivered.creates.contains(&(channel, id)) {
                    early.entry((channel, id)).or_default().push(kind);
                }
            }
            What::Other | What::Ephemeral => {}
        }
    }
    delivered
}

fn position(rows: &[(u64, Micros)], id: u64) -> Option<usize> {
    rows.binary_search_by_key(&id, |(id, _)| *id).ok()
}

/// Everything that left after READY came must be there: in the last session all of it, in an earlier one what
/// lies before its last message.
fn complete(
    at: &Place,
    epoch: &Epoch,
    is_last: bool,
    delivered: &Delivered,
    known: &Known<'_>,
    violations: &mut Vec<Violation>,
) {
    for (channel, rows) in &known.live {
        let end = if is_last { u64::MAX } else { delivered.last.get(channel).copied().unwrap_or(0) };
        for (id, sent) in rows {
            if *sent > epoch.ready
                && *id < end
                && *sent != Micros::MAX
                && !delivered.creates.contains(&(*channel, *id))
            {
                violations.push(Violation::Gap {
                    at: at.clone(),
                    what: Subject::Create,
                    channel: *channel,
                    id: *id,
                });
            }
        }
    }
    if !is_last {
        return;
    }
    for (kind, channel, id, sent) in &known.told {
        let what = Subject::Change(*kind);
        if *sent > epoch.ready && !delivered.changes.contains(&(what, *channel, *id)) {
            violations.push(Violation::Gap { at: at.clone(), what, channel: *channel, id: *id });
        }
    }
}
