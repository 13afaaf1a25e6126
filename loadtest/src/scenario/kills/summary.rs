//! The report of a run: a line for each kill, the totals, the violations, and one JSON object on the last line.

use serde_json::json;

use super::{
    check::Violation,
    observed::{Micros, Observed, What},
};
use std::time::Duration;

/// Violations shown one by one; the rest is counted.
const SHOWN_MAX: usize = 40;

/// One SIGKILL.
#[derive(Debug)]
pub(super) struct Kill {
    pub(super) name: &'static str,
    /// Of the process.
    pub(super) index: usize,
    pub(super) at: Micros,
    /// From the start until `/readyz` agreed; `None` if it was killed before.
    pub(super) ready: Option<Duration>,
}

pub(super) fn print(observed: &Observed, kills: &[Kill], retried: u64, violations: &[Violation], seed: u64) {
    let mut acknowledged: Vec<Micros> =
        observed.creates.iter().filter_map(|create| Some(create.acknowledged?.at)).collect();
    acknowledged.sort_unstable();
    println!("{:<14} {:>9} {:>12} {:>16}", "killed", "at s", "ready ms", "next ack ms");
    for kill in kills {
        let next = acknowledged.partition_point(|at| *at <= kill.at);
        let next =
            acknowledged.get(next).map_or_else(|| "-".to_owned(), |at| ((at - kill.at) / 1_000).to_string());
        let ready =
            kill.ready.map_or_else(|| "killed again".to_owned(), |ready| ready.as_millis().to_string());
        println!("{:<14} {:>9.3} {ready:>12} {next:>16}", kill.name, kill.at as f64 / 1e6);
    }
    let bots = observed.bots.iter();
    let resumed: u64 = bots.clone().map(|bot| bot.resumed).sum();
    let lost = bots.clone().flat_map(|bot| &bot.epochs).filter(|epoch| epoch.lost.is_some()).count();
    let dispatches = bots.flat_map(|bot| &bot.epochs).flat_map(|epoch| &epoch.dispatches);
    let delivered = dispatches.filter(|dispatch| matches!(dispatch.what, What::Create { .. })).count();
    let changes = observed.changes.iter().filter(|change| change.acknowledged).count();
    let in_history: usize = observed.histories.iter().map(|history| history.rows.len()).sum();
    println!(
        "acknowledged: {} messages, {changes} of {} edits and deletions; {retried} requests repeated",
        acknowledged.len(),
        observed.changes.len()
    );
    println!("history: {in_history} messages; {delivered} deliveries to {} bots", observed.bots.len());
    println!("sessions: {resumed} resumed, {lost} lost");
    for violation in violations.iter().take(SHOWN_MAX) {
        println!("VIOLATION {violation}");
    }
    if violations.len() > SHOWN_MAX {
        println!("and {} more", violations.len() - SHOWN_MAX);
    }
    let result = json!({
        "ok": violations.is_empty(), "kills": kills.len(), "acked": acknowledged.len(), "retried": retried, "resumed": resumed,
        "invalidated": lost, "violations": violations.len(), "changes_acked": changes, "delivered": delivered, "seed": seed,
    });
    println!("{result}");
}
