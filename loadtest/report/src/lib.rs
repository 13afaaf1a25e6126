//! The results of a benchmark: a table for people, JSON for tools, a plot for both.
//!
//! A benchmark measures its contenders in turns, round after round, and gives a figure for each round. The
//! report shows median, worst and spread. It compares contenders round by round, so that a machine that slows
//! down between rounds slows both sides.
//!
//! ```no_run
//! let mut report = weir_report::Report::new("creates", "Creates in one channel");
//! report.setting("writers", 1_000);
//! let group = report.series("group", "creates/s", vec![90_000.0, 95_000.0]);
//! let single = report.series("single", "creates/s", vec![5_000.0, 5_500.0]);
//! report.ratio("group / single", group, single, Some(weir_report::Goal::AtLeast(10.0)));
//! report.finish()?;
//! # anyhow::Ok(())
//! ```

mod machine;
mod plot;
mod series;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::{machine::Machine, plot::rounds, series::Series};
pub use self::{
    plot::curves,
    series::{Goal, mean_95},
};

/// A series of a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesId(usize);

/// The report of a benchmark while it is filled.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    about: &'static str,
    settings: serde_json::Map<String, serde_json::Value>,
    series: Vec<Series>,
    ratios: Vec<Series>,
    notes: Vec<String>,
}

impl Report {
    /// A report that will be written to `NAME.json` and `NAME.svg`.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            settings: serde_json::Map::new(),
            series: Vec::new(),
            ratios: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a size or choice on which the figures depend.
    pub fn setting(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Adds the figures of one contender, one for each round and at least one.
    pub fn series(&mut self, name: &str, unit: &'static str, rounds: Vec<f64>) -> SeriesId {
        self.series.push(Series::new(name, unit, rounds, None));
        SeriesId(self.series.len() - 1)
    }

    /// Compares two contenders round by round.
    pub fn ratio(&mut self, name: &str, over: SeriesId, under: SeriesId, goal: Option<Goal>) {
        let (Some(over), Some(under)) = (self.series.get(over.0), self.series.get(under.0)) else { return };
        let rounds = over.rounds.iter().zip(&under.rounds).map(|(over, under)| over / under).collect();
        self.ratios.push(Series::new(name, "ratio", rounds, goal));
    }

    /// Adds figures that have a goal of their own.
    pub fn figure(&mut self, name: &str, unit: &'static str, rounds: Vec<f64>, goal: Goal) {
        self.ratios.push(Series::new(name, unit, rounds, Some(goal)));
    }

    /// Adds a sentence to the end of the report.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn table(&self) -> String {
        let all = || self.series.iter().chain(&self.ratios);
        let width = all().map(|series| series.name.chars().count()).max().unwrap_or(0);
        let mut out = format!("{}\n", self.about);
        let columns = ["unit", "median", "least", "most", "spread"];
        let _ = write!(out, "{:width$}", "");
        for column in columns {
            let _ = write!(out, " {column:>12}");
        }
        out.push('\n');
        for series in all() {
            let Series { name, unit, median, least, most, .. } = series;
            let spread = if *median == 0.0 { 0.0 } else { (most - least) / median * 100.0 };
            let _ = write!(
                out,
                "{name:width$} {unit:>12} {:>12} {:>12} {:>12} {spread:>10.0} %",
                figure(*median),
                figure(*least),
                figure(*most)
            );
            if let Some(goal) = series.goal {
                let worst = goal.worst(&series.rounds);
                let _ = write!(
                    out,
                    "  goal {goal}: {}, worst round {}{}",
                    if goal.is_met(*median) { "met" } else { "missed" },
                    figure(worst),
                    if goal.is_met(worst) { "" } else { " (missed)" }
                );
            }
            out.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        // Settings that are neither numbers nor words are only in the JSON.
        let plain = self.settings.iter().filter(|(_, value)| !value.is_array() && !value.is_object());
        let sizes: Vec<String> = plain.map(|(name, value)| format!("{name} {value}")).collect();
        if !sizes.is_empty() {
            let _ = writeln!(out, "sizes: {}", sizes.join(", "));
        }
        let _ = writeln!(out, "machine: {}", Machine::here());
        out
    }

    /// Prints the table and writes JSON and plot into [`folder`].
    ///
    /// # Errors
    /// If a file cannot be written.
    #[expect(clippy::print_stdout, reason = "the report is what a benchmark is run for")]
    pub fn finish(self) -> Result<()> {
        print!("{}", self.table());
        let folder = folder()?;
        let json = folder.join(format!("{}.json", self.name));
        let document = serde_json::json!({
            "benchmark": self.name, "about": self.about, "machine": Machine::here(), "sizes": self.settings,
            "series": self.series, "ratios": self.ratios, "notes": self.notes,
        });
        write(&json, &document)?;
        let svg = folder.join(format!("{}.svg", self.name));
        rounds(&svg, self.about, self.series.iter().chain(&self.ratios))?;
        println!("written: {} and {}", json.display(), svg.display());
        Ok(())
    }
}

/// Formats three significant digits, without an exponent.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn write(path: &Path, document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(document)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The root of the workspace in which the process runs. `cargo bench` starts a benchmark in its crate's
/// folder.
///
/// # Errors
/// If the process has no current folder.
pub fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    Ok(root.unwrap_or(&here).to_owned())
}

/// `target/bench` of the workspace, created if it is missing.
///
/// # Errors
/// If it cannot be created.
pub fn folder() -> Result<PathBuf> {
    let folder = root()?.join("target/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("tested", "A report");
        report.setting("rows", 7);
        let ours = report.series("ours", "rows/s", vec![30.0, 10.0, 20.0]);
        let theirs = report.series("theirs", "rows/s", vec![10.0, 10.0, 10.0]);
        report.ratio("ours / theirs", ours, theirs, Some(Goal::AtLeast(2.0)));
        report
    }

    #[test]
    fn ratios_are_of_one_round_and_the_worst_is_named() {
        let text = report().table();
        let line = text.lines().find(|line| line.starts_with("ours / theirs")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3..9], ["ratio", "2.00", "1.00", "3.00", "100", "%"], "{line}");
        assert!(line.ends_with("goal >= 2: met, worst round 1.00 (missed)"), "{line}");
        assert!(text.contains("sizes: rows 7") && text.contains("machine: "), "{text}");
    }
}
