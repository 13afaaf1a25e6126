//! The record of all checks: one line for each step, and one JSON object at the end.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

/// The release that `Cargo.toml` pins, as the report shows it.
const LIBRARY: &str = "twilight 0.18";

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    entries: Vec<Value>,
    failed: bool,
}

impl Steps {
    /// Runs one step, prints how it ended, and keeps the result for the report.
    pub(crate) async fn step<T>(&mut self, name: &str, act: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let result = act.await;
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(_) => {
                println!("step {name} ok {seconds:.3} s");
                self.entries.push(json!({"name": name, "ok": true, "seconds": seconds}));
            }
            Err(error) => {
                println!("step {name} FAILED after {seconds:.3} s: {error:#}");
                self.entries.push(
                    json!({"name": name, "ok": false, "seconds": seconds, "error": format!("{error:#}")}),
                );
                self.failed = true;
            }
        }
        result
    }

    /// Notes an error, unless a step already reported it.
    pub(crate) fn fail_run(&mut self, error: &anyhow::Error) {
        if !self.failed {
            self.entries
                .push(json!({"name": "run", "ok": false, "seconds": 0, "error": format!("{error:#}")}));
            self.failed = true;
        }
    }

    /// True if no step failed.
    pub(crate) fn all_passed(&self) -> bool {
        !self.failed
    }

    /// The last line of the output.
    pub(crate) fn report(&self) -> Value {
        json!({"ok": self.all_passed(), "library": LIBRARY, "steps": self.entries})
    }
}
