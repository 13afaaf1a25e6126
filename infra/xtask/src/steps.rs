//! The steps of a run: what each did, how it ended, and how long it took.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

/// Whether something that a step needs is available.
#[derive(Debug)]
pub(crate) enum Setup<T> {
    /// It is available.
    Ready(T),
    /// It is not available on this machine, for this reason.
    Skipped(String),
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The step failed for this reason.
    Failed(String),
    /// The step was skipped for this reason.
    Skipped(String),
}

#[derive(Debug)]
struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// The steps of one run, in order.
#[derive(Debug)]
pub(crate) struct Steps {
    rows: Vec<Row>,
    strict: bool,
}

impl Steps {
    /// If `strict`, something that is missing fails the run, as CI needs it, instead of skipping the step.
    pub(crate) fn new(strict: bool) -> Self {
        Self { rows: Vec::new(), strict }
    }

    /// Steps of a run whose strictness the environment sets: `CI=true` is strict.
    pub(crate) fn of_environment() -> Self {
        Self::new(std::env::var("CI").is_ok_and(|value| value == "true"))
    }

    /// Runs a step that is always possible.
    pub(crate) fn run(&mut self, name: &str, act: impl FnOnce() -> Result<()>) {
        self.set_up(name, || act().map(Setup::Ready));
    }

    /// Runs a step that may find something missing. Returns what it made, if it passed.
    pub(crate) fn set_up<T>(&mut self, name: &str, act: impl FnOnce() -> Result<Setup<T>>) -> Option<T> {
        eprintln!("\nxtask: === {name}");
        let started = Instant::now();
        let (outcome, made) = match act() {
            Ok(Setup::Ready(made)) => (Outcome::Passed, Some(made)),
            Ok(Setup::Skipped(reason)) if self.strict => {
                (Outcome::Failed(format!("CI allows no skip: {reason}")), None)
            }
            Ok(Setup::Skipped(reason)) => (Outcome::Skipped(reason), None),
            Err(error) => (Outcome::Failed(format!("{error:#}")), None),
        };
        match &outcome {
            Outcome::Passed => {}
            Outcome::Failed(reason) => eprintln!("xtask: {name} FAILED: {reason}"),
            Outcome::Skipped(reason) => eprintln!("xtask: {name} skipped: {reason}"),
        }
        self.rows.push(Row { name: name.to_owned(), outcome, took: started.elapsed() });
        made
    }

    /// Notes a step that the caller excluded. It is never a failure.
    pub(crate) fn not_wanted(&mut self, name: &str) {
        let outcome = Outcome::Skipped("not asked for".to_owned());
        self.rows.push(Row { name: name.to_owned(), outcome, took: Duration::ZERO });
    }

    /// Prints the table and the totals; fails if any step failed.
    pub(crate) fn finish(&self) -> ExitCode {
        println!("\n{}", self.table());
        println!("{}", self.totals());
        if self.count(|outcome| matches!(outcome, Outcome::Failed(_))) == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let line = |row: &Row| {
            let (word, reason) = match &row.outcome {
                Outcome::Passed => ("passed", ""),
                // Only the first line is shown, because logs were shown where they arose.
                Outcome::Failed(reason) => ("failed", reason.lines().next().unwrap_or_default()),
                Outcome::Skipped(reason) => ("skipped", reason.as_str()),
            };
            let line = format!("{:width$}  {word:7}  {:6.1} s  {reason}", row.name, row.took.as_secs_f64());
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The last line of a run; scripts read it.
    fn totals(&self) -> String {
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| wanted(&row.outcome)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_each_kind(strict: bool) -> Steps {
        let mut steps = Steps::new(strict);
        steps.run("good", || Ok(()));
        steps.run("bad", || Err(anyhow::anyhow!("broken\nwith a log")));
        let made: Option<u8> = steps.set_up("absent", || Ok(Setup::Skipped("no java".to_owned())));
        assert_eq!(made, None);
        steps.not_wanted("other");
        steps
    }

    #[test]
    fn totals_count_each_outcome_alone_on_a_line() {
        assert_eq!(of_each_kind(false).totals(), "1 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn strict_runs_fail_on_what_is_missing_but_not_on_what_was_not_asked_for() {
        assert_eq!(of_each_kind(true).totals(), "1 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn table_names_reasons_in_one_line_each() {
        let table = of_each_kind(false).table();
        assert_eq!(table.lines().count(), 4);
        assert!(table.contains("broken") && !table.contains("with a log"));
        assert!(table.contains("no java"));
    }
}
