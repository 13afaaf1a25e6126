//! Shows on standard error how far an import is: on a terminal with a line that is rewritten in place,
//! elsewhere with one line every ten seconds.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// Pause between two displays on a terminal.
const EVERY_TERMINAL: Duration = Duration::from_millis(200);
/// Pause between two lines in a log.
const EVERY_LOG: Duration = Duration::from_secs(10);

/// Where progress is shown, and when it was last.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: Mode,
    shown: Option<Instant>,
    /// When writing began, and how many lines were durable then. The rate that is shown is this run's.
    began: Option<(Instant, u64)>,
    /// True if the terminal's line must be cleared before anything else is written.
    dirty: bool,
    /// What a silent display would have shown.
    #[cfg(test)]
    pub(crate) said: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Terminal,
    Log,
    #[cfg(test)]
    Silent,
}

impl Progress {
    /// Shows progress on standard error.
    pub(crate) fn stderr() -> Self {
        let mode = if stderr().is_terminal() { Mode::Terminal } else { Mode::Log };
        Self {
            mode,
            shown: None,
            began: None,
            dirty: false,
            #[cfg(test)]
            said: Vec::new(),
        }
    }

    /// Shows nothing.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { mode: Mode::Silent, shown: None, began: None, dirty: false, said: Vec::new() }
    }

    /// Reports that the first pass is at this line.
    pub(crate) fn scanned(&mut self, lines: u64) {
        if self.due() {
            self.show(&format!("reading: {lines} lines"));
        }
    }

    /// Reports that the second pass has made `done` of `total` lines durable.
    pub(crate) fn written(&mut self, done: u64, total: u64) {
        let (since, from) = *self.began.get_or_insert((Instant::now(), done));
        if self.due() {
            let text = describe(done, total, done.saturating_sub(from), since.elapsed());
            self.show(&text);
        }
    }

    /// Prints a message beside the progress.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        #[cfg(test)]
        if self.mode == Mode::Silent {
            self.said.push(text.to_owned());
            return;
        }
        // Nothing can be done about a closed standard error, and the import does not depend on it.
        let _ = writeln!(stderr(), "{text}");
    }

    /// Clears the terminal's line.
    pub(crate) fn clear(&mut self) {
        if self.dirty {
            let _ = write!(stderr(), "\r\x1b[K");
            self.dirty = false;
        }
    }

    fn due(&mut self) -> bool {
        let every = match self.mode {
            Mode::Terminal => EVERY_TERMINAL,
            Mode::Log => EVERY_LOG,
            #[cfg(test)]
            Mode::Silent => return false,
        };
        // The first display waits too, so a short import shows none.
        let since = *self.shown.get_or_insert_with(Instant::now);
        let due = since.elapsed() >= every;
        if due {
            self.shown = Some(Instant::now());
        }
        due
    }

    fn show(&mut self, text: &str) {
        if self.mode == Mode::Terminal {
            let mut out = stderr().lock();
            let _ = write!(out, "\r\x1b[K{text}");
            let _ = out.flush();
            self.dirty = true;
        } else {
            self.say(text);
        }
    }
}

/// Describes `done` of `total` lines, of which this run wrote `own` in `elapsed`.
fn describe(done: u64, total: u64, own: u64, elapsed: Duration) -> String {
    let percent = if total == 0 { 100.0 } else { done as f64 * 100.0 / total as f64 };
    let rate = own as f64 / elapsed.as_secs_f64().max(0.001);
    let left = total.saturating_sub(done) as f64 / rate;
    let left = if left.is_finite() { format!(", {left:.0} s left") } else { String::new() };
    format!("importing: {done} of {total} lines ({percent:.0} %), {rate:.0} lines/s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_this_run() {
        let text = describe(600, 1_000, 100, Duration::from_secs(2));
        assert_eq!(text, "importing: 600 of 1000 lines (60 %), 50 lines/s, 8 s left");
        assert_eq!(describe(0, 1_000, 0, Duration::ZERO), "importing: 0 of 1000 lines (0 %), 0 lines/s");
        assert!(describe(0, 0, 0, Duration::ZERO).contains("100 %"));
    }
}
