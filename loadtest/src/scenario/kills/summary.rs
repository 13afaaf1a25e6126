//! The report of a run: a line for each kill, and the totals.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::observed::{Micros, Observed, What};

/// One SIGKILL.
#[derive(Debug)]
pub(super) struct Kill {
    pub(super) name: &'static str,
    /// Index of the process.
    pub(super) index: usize,
    pub(super) at: Micros,
    /// Time from the start until `/readyz` succeeded; `None` if the process was killed before.
    pub(super) ready: Option<Duration>,
}

/// Prints the report; returns the run's figures.
pub(super) fn print(observed: &Observed, kills: &[Kill], retried: u64, seed: u64) -> Value {
    let mut acknowledged: Vec<Micros> =
        observed.creates.iter().filter_map(|create| Some(create.acknowledged?.at)).collect();
    acknowledged.sort_unstable();
    let epochs = observed.bots.iter().flat_map(|bot| &bot.epochs);
    let lives = epochs.filter_map(|epoch| Some((epoch.identified, epoch.lost.as_ref()?.0)));
    let ended_by: Vec<usize> =
        lives.clone().filter_map(|life| ended_by(life, kills, &observed.session_kills)).collect();
    let mut lost_after = BTreeMap::<&str, usize>::new();
    println!("{:<14} {:>9} {:>12} {:>12} {:>14}", "killed", "at s", "ready ms", "silent ms", "sessions lost");
    for (index, kill) in kills.iter().enumerate() {
        let next = kills.get(index + 1).map_or(Micros::MAX, |next| next.at);
        let silent = silence(&acknowledged, kill.at, next) / 1_000;
        let ready =
            kill.ready.map_or_else(|| "killed again".to_owned(), |ready| ready.as_millis().to_string());
        let lost = ended_by.iter().filter(|by| **by == index).count();
        *lost_after.entry(kill.name).or_default() += lost;
        println!("{:<14} {:>9.3} {ready:>12} {silent:>12} {lost:>14}", kill.name, kill.at as f64 / 1e6);
    }
    let bots = observed.bots.iter();
    let resumed: u64 = bots.clone().map(|bot| bot.resumed).sum();
    let lost = lives.count();
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
    let after: Vec<String> = lost_after.iter().map(|(name, count)| format!("{count} after {name}")).collect();
    println!("sessions: {resumed} resumed, {lost} lost ({})", after.join(", "));
    json!({
        "kills": kills.len(), "acked": acknowledged.len(), "retried": retried, "resumed": resumed, "invalidated": lost,
        "invalidated_after": lost_after, "changes_acked": changes, "delivered": delivered, "seed": seed,
    })
}

/// The kill that ended a session which lasted from `begun` to `told`: the last kill during its life of a
/// process that holds sessions. A client learns of it only once all that it needs runs again. If there was
/// none, which the checks report, it is the last kill of all.
fn ended_by((begun, told): (Micros, Micros), kills: &[Kill], session_kills: &[Micros]) -> Option<usize> {
    let before = || kills.iter().rposition(|kill| kill.at <= told);
    let held = |kill: &Kill| (begun..=told).contains(&kill.at) && session_kills.contains(&kill.at);
    kills.iter().rposition(held).or_else(before)
}

/// Longest time without an acknowledgement that ended after `from` and began before `until`: what a kill cost
/// the writers.
fn silence(acknowledged: &[Micros], from: Micros, until: Micros) -> Micros {
    let first = acknowledged.partition_point(|at| *at < from).saturating_sub(1);
    let pairs = acknowledged[first..].windows(2).take_while(|pair| pair[0] < until);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_the_kill_of_who_held_it_though_it_hears_of_it_after_another() {
        let kill = |name, at| Kill { name, index: 0, at, ready: None };
        let kills = [kill("gateway", 10), kill("api", 20), kill("gateway", 30), kill("data-service", 31)];
        let held = [10, 30];
        assert_eq!(ended_by((12, 40), &kills, &held), Some(2));
        assert_eq!(ended_by((5, 15), &kills, &held), Some(0));
        assert_eq!(ended_by((12, 25), &kills, &held), Some(1), "nobody who held it: the checks say so");
        assert_eq!(ended_by((1, 5), &kills, &held), None);
    }

    #[test]
    fn the_silence_after_a_kill_is_its_own() {
        let acknowledged = [10, 20, 30, 330, 340, 400, 900];
        assert_eq!(silence(&acknowledged, 35, 350), 300);
        assert_eq!(silence(&acknowledged, 350, 700), 500);
        assert_eq!(silence(&acknowledged, 335, 345), 60);
        assert_eq!((silence(&acknowledged, 950, 990), silence(&[], 0, 9)), (0, 0));
    }
}
