//! Checks what REST shows at the end: every acknowledged message once, no message without a writer, no
//! deleted message, every edit, and pages in order.

use std::collections::HashMap;

use super::known::Known;
use crate::scenario::kills::{
    observed::{ChangeKind, Observed, edited, original},
    violation::Violation,
};

pub(super) fn check(observed: &Observed, known: &Known<'_>, violations: &mut Vec<Violation>) {
    let mut shown: HashMap<(u64, u64), &str> = HashMap::new();
    let mut of_content: HashMap<&str, u64> = HashMap::new();
    for history in &observed.histories {
        let channel = history.channel;
        for pair in history.rows.windows(2) {
            if pair[1].id >= pair[0].id {
                violations.push(Violation::PageOrder { channel, above: pair[0].id, below: pair[1].id });
            }
        }
        for row in &history.rows {
            let content = original(&row.content);
            if known.creates.get(content).is_none_or(|create| create.channel != channel) {
                violations.push(Violation::Phantom { channel, id: row.id, content: row.content.clone() });
            }
            if let Some(first) = of_content.insert(content, row.id) {
                violations.push(Violation::Twice { content: content.to_owned(), first, second: row.id });
            }
            shown.insert((channel, row.id), &row.content);
        }
    }
    for create in &observed.creates {
        let Some(acknowledged) = create.acknowledged else { continue };
        let (channel, id) = (create.channel, acknowledged.id);
        match shown.get(&(channel, id)) {
            Some(found) if original(found) != create.content => {
                let (wanted, found) = (create.content.clone(), (*found).to_owned());
                violations.push(Violation::WrongContent { channel, id, wanted, found });
            }
            Some(_) => {}
            None if known.delete_tried.contains(&(channel, id)) => {}
            None => violations.push(Violation::LostCreate { channel, id, content: create.content.clone() }),
        }
    }
    changes(observed, &shown, violations);
}

fn changes(observed: &Observed, shown: &HashMap<(u64, u64), &str>, violations: &mut Vec<Violation>) {
    for change in observed.changes.iter().filter(|change| change.acknowledged) {
        let (channel, id) = (change.channel, change.id);
        match (change.kind, shown.get(&(channel, id))) {
            (ChangeKind::Delete, Some(_)) => violations.push(Violation::Undeleted { channel, id }),
            (ChangeKind::Edit, Some(content)) if **content != edited(original(content)) => {
                violations.push(Violation::LostEdit { channel, id });
            }
            // A message that is not shown was deleted, or is reported as lost.
            (ChangeKind::Edit, _) | (ChangeKind::Delete, None) => {}
        }
    }
}
