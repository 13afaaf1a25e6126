//! What a command says: text for people, or with `--json` one object on the last line of standard output.

use std::io::{self, Write};

use serde_json::{Value, json};
use weir_runtime::Exit;

/// A command's result in both forms.
#[derive(Debug)]
pub(crate) struct Done {
    /// For people; empty if there is nothing to say.
    pub(crate) text: String,
    /// For scripts: an object.
    pub(crate) json: Value,
}

impl Done {
    /// With a remark on how it was done: below the text, and a member of the object.
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

/// Which form was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// `json`: whether `--json` was given.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result.
    ///
    /// # Errors
    /// Those of standard output.
    pub(crate) fn done(self, done: &Done) -> io::Result<()> {
        let text = if self.json { done.json.to_string() } else { done.text.clone() };
        if text.is_empty() { Ok(()) } else { line(&text) }
    }

    /// Prints why there is no result: the error with its causes, and how the process ends by it.
    pub(crate) fn failed(self, chain: &str, exit: Exit) {
        // If standard error is closed there is nowhere left to say it; the exit code still does.
        let _ = writeln!(io::stderr(), "weir: {chain}");
        if self.json {
            let _ = line(&json!({ "error": chain, "exit": exit.code() }).to_string());
        }
    }
}

/// One line, or several, on standard output, seen at once also through a pipe.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Longest cell of a table, in characters. What is longer was written past this program.
const CELL_MAX: usize = 500;

/// A cell that a terminal shows as it is: control characters escaped, the end of what is too long cut off.
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

/// Columns aligned by the longest cell; the head in capitals.
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
