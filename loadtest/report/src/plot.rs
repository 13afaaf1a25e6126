//! Plots as SVG.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::series::Series;

/// Height of a panel of [`rounds`], in pixels.
const PANEL: u32 = 300;
/// Width of a plot, in pixels.
const WIDTH: u32 = 900;

/// Plots figures over rounds: a panel for each unit, a line for each series.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn rounds<'a>(path: &Path, title: &str, series: impl Iterator<Item = &'a Series>) -> Result<()> {
    let mut panels: Vec<(&str, Vec<&Series>)> = Vec::new();
    for one in series {
        match panels.iter_mut().find(|(unit, _)| *unit == one.unit) {
            Some((_, panel)) => panel.push(one),
            None => panels.push((one.unit, vec![one])),
        }
    }
    // There are at most a handful of units.
    let height = PANEL * panels.len().max(1) as u32;
    let whole = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    whole.fill(&WHITE)?;
    for (area, (unit, panel)) in whole.split_evenly((panels.len().max(1), 1)).iter().zip(&panels) {
        let most = panel.iter().flat_map(|series| &series.rounds).copied().fold(0.0, f64::max).max(1e-9);
        // The number of rounds is exact in a double.
        let last = panel.iter().map(|series| series.rounds.len()).max().unwrap_or(1).max(2) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(70)
            .build_cartesian_2d(1.0..last, 0.0..most * 1.1)?;
        chart.configure_mesh().x_desc("round").y_desc(*unit).draw()?;
        for (index, one) in panel.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let points = one.rounds.iter().enumerate().map(|(round, figure)| (round as f64 + 1.0, *figure));
            let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            line.label(&one.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    }
    whole.present().context("the plot cannot be written")?;
    Ok(())
}

/// Plots latencies over percentiles. Each curve consists of (`-log10(1 - quantile)`, microseconds).
///
/// # Errors
/// If the file cannot be written.
pub fn curves(path: &Path, title: &str, curves: &[(String, Vec<(f64, f64)>)]) -> Result<()> {
    let high = curves.iter().flat_map(|(_, curve)| curve).map(|(_, us)| us / 1_000.0).fold(1.0, f64::max);
    let area = SVGBackend::new(path, (WIDTH, 520)).into_drawing_area();
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
