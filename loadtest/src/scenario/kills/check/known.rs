//! What the checks of histories and of clients share.

use std::collections::{HashMap, HashSet};

use crate::scenario::kills::observed::{ChangeKind, Create, Micros, Observed, original};

/// What follows from the writers' records and the histories.
pub(super) struct Known<'a> {
    /// By the content at creation.
    pub(super) creates: HashMap<&'a str, &'a Create>,
    /// Messages that someone tried to delete: they may be gone.
    pub(super) delete_tried: HashSet<(u64, u64)>,
    /// For each channel what is in its history, rising: the id, and when its first request left; [`Micros::MAX`] if nobody wrote it.
    pub(super) live: HashMap<u64, Vec<(u64, Micros)>>,
    /// Changes that clients were told to have happened, of messages that nothing else may have removed: they must be delivered.
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
        // An edit whose message was deleted soon after may be left out by a gateway that caught up later.
        let told = told.filter(|change| match change.kind {
            ChangeKind::Edit => !delete_tried.contains(&(change.channel, change.id)),
            ChangeKind::Delete => true,
        });
        let told = told.map(|change| (change.kind, change.channel, change.id, change.sent)).collect();
        Self { creates, delete_tried, live, told }
    }
}
