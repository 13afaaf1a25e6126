//! Facts that the checks of histories and of clients share.

use std::collections::{HashMap, HashSet};

use crate::scenario::kills::observed::{ChangeKind, Create, Micros, Observed, original};

/// Facts that follow from the writers' records and the histories.
pub(super) struct Known<'a> {
    /// Creates by the content of the message.
    pub(super) creates: HashMap<&'a str, &'a Create>,
    /// Messages that a writer tried to delete, so they may be gone.
    pub(super) delete_tried: HashSet<(u64, u64)>,
    /// For each channel the messages in its history, in rising order: the id, and when its first request
    /// left, or [`Micros::MAX`] if no writer wrote it.
    pub(super) live: HashMap<u64, Vec<(u64, Micros)>>,
    /// Changes that were acknowledged, of messages that nothing else may have removed. They must be
    /// delivered.
    pub(super) told: Vec<(ChangeKind, u64, u64, Micros)>,
}

impl<'a> Known<'a> {
    pub(super) fn of(observed: &'a Observed) -> Self {
        let creates: HashMap<_, _> =
            observed.creates.iter().map(|create| (create.content.as_str(), create)).collect();
        let deletes = observed.changes.iter().filter(|change| change.kind == ChangeKind::Delete);
        let delete_tried: HashSet<_> = deletes.map(|change| (change.channel, change.id)).collect();
        let sent = |content: &str| creates.get(original(content)).map_or(Micros::MAX, |create| create.sent);
        let live = observed.histories.iter().map(|history| {
            let mut rows: Vec<_> = history.rows.iter().map(|row| (row.id, sent(&row.content))).collect();
            rows.sort_unstable();
            rows.dedup_by_key(|(id, _)| *id);
            (history.channel, rows)
        });
        let live = live.collect();
        let told = observed.changes.iter().filter(|change| change.acknowledged);
        // If a message was deleted soon after an edit, a gateway that caught up later may leave out the edit.
        let told = told.filter(|change| match change.kind {
            ChangeKind::Edit => !delete_tried.contains(&(change.channel, change.id)),
            ChangeKind::Delete => true,
        });
        let told = told.map(|change| (change.kind, change.channel, change.id, change.sent)).collect();
        Self { creates, delete_tried, live, told }
    }
}
