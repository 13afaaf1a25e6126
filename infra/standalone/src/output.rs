//! The output of a command: text for people, or with `--json` one object on the last line of standard output.

use std::io::{self, Write};

use serde_json::{Value, json};
use weir_runtime::Exit;

/// A command's result in both forms.
#[derive(Debug)]
pub(crate) struct Done {
    /// Text for people; empty if there is nothing to say.
    pub(crate) text: String,
    /// An object for scripts.
    pub(crate) json: Value,
}

impl Done {
    /// Adds a remark on how the command was carried out: below the text, and as a member of the object.
    pub(crate) fn noting(mut self, note: Option<String>) -> Self {
        if let Some(note) = note {
            self.text = if self.text.is_empty() { note.clone() } else { format!("{}\n{note}", self.text) };
            if let Value::Object(object) = &mut self.json {
                object.insert("note".to_owned(), note.into());
            }
        }
        self
    }
}

/// The form that was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// `json` says whether `--json` was given.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result.
    ///
    /// # Errors
    /// The errors of standard output.
    pub(crate) fn done(self, done: &Done) -> io::Result<()> {
        let text = if self.json { done.json.to_string() } else { done.text.clone() };
        if text.is_empty() { Ok(()) } else { line(&text) }
    }

    /// Prints why there is no result: the error with its causes, and how the process ends.
    pub(crate) fn failed(self, chain: &str, exit: Exit) {
        // If standard error is closed, only the exit code is left to report the error.
        let _ = writeln!(io::stderr(), "weir: {chain}");
        if self.json {
            let _ = line(&json!({ "error": chain, "exit": exit.code() }).to_string());
        }
    }
}

/// Prints one line, or several, on standard output. They are visible at once, also through a pipe.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Longest cell of a table, in characters. Another program wrote what is longer.
const CELL_MAX: usize = 500;

/// A cell that is safe for a terminal: control characters are escaped, and text that is too long is cut off.
fn plain(cell: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().collect(),
        false => character.to_string(),
    };
    let mut shown: String = cell.chars().take(CELL_MAX).map(escaped).collect();
    if cell.chars().nth(CELL_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Aligns columns by their longest cell; the head is in capitals.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let head: Vec<String> = head.iter().map(|cell| cell.to_uppercase()).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let show = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(show).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["channel/1".to_owned(), "5/s".to_owned()], vec!["all".to_owned(), "10000/s".to_owned()]];
        assert_eq!(table(&["scope", "rate"], &rows), "SCOPE      RATE\nchannel/1  5/s\nall        10000/s");
        assert_eq!(table(&["scope"], &[]), "SCOPE");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let text = table(&["reason"], &[vec!["\u{1b}[2Jx\ny".to_owned()], vec!["z".repeat(CELL_MAX + 1)]]);
        assert!(text.contains("\\u{1b}[2Jx\\ny") && text.ends_with("z…"), "{text}");
    }
}
