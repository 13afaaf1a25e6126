//! Reports: a table for people, JSON for tools, a plot for both.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use plotters::prelude::*;
use serde::Serialize;

use crate::recorder::Numbers;

/// What machine and program a figure is from.
#[derive(Debug, Serialize)]
pub(crate) struct Provenance {
    pub(crate) cpus: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) version: &'static str,
    pub(crate) store: String,
}

impl Provenance {
    pub(crate) fn of(store: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib.unwrap_or(0) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            store: store.to_owned(),
        }
    }
}

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
        // Counts of one phase: exact in a double.
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

/// Curves of latency over percentile, one for each phase.
pub(crate) fn plot(path: &Path, title: &str, curves: &[(String, Vec<(f64, f64)>)]) -> Result<()> {
    let high = curves.iter().flat_map(|(_, curve)| curve).map(|(_, us)| us / 1_000.0).fold(1.0, f64::max);
    let area = SVGBackend::new(path, (900, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..4.0, (0.1..high).log_scale())?;
    let percentile = |x: &f64| format!("{:.2}%", 100.0 * (1.0 - 10_f64.powf(-x)));
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("milliseconds")
        .x_label_formatter(&percentile)
        .draw()?;
    for (index, (name, curve)) in curves.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = curve.iter().map(|(x, us)| (*x, (us / 1_000.0).max(0.1)));
        let series = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        series
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present().context("the plot cannot be written")?;
    Ok(())
}
