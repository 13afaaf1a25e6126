//! The table of a scenario with streams of requests.

use std::fmt::Write as _;

use serde::Serialize;

use crate::recorder::Numbers;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) phase: String,
    pub(crate) stream: &'static str,
    pub(crate) offered_per_s: f64,
    pub(crate) seconds: f64,
    pub(crate) database_reads: f64,
    #[serde(flatten)]
    pub(crate) numbers: Numbers,
}

/// The table as text.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<28} {:<6} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "phase",
        "stream",
        "offered/s",
        "answer/s",
        "refuse/s",
        "failed",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "db reads"
    );
    for row in rows {
        let numbers = &row.numbers;
        // Counts of one phase are exact in a double.
        let rate = |count: u64| count as f64 / row.seconds;
        let ms = |us: u64| us as f64 / 1_000.0;
        let _ = writeln!(
            out,
            "{:<28} {:<6} {:>9.0} {:>9.0} {:>9.0} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.0}",
            row.phase,
            row.stream,
            row.offered_per_s,
            rate(numbers.answered),
            rate(numbers.refused),
            numbers.failed,
            ms(numbers.p50_us),
            ms(numbers.p99_us),
            ms(numbers.p999_us),
            row.database_reads
        );
    }
    out
}
