//! Figures of rounds, and their goals.

use std::fmt;

use serde::Serialize;

/// The goal of a ratio or figure.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The figure must be this or more.
    AtLeast(f64),
    /// The figure must be this or less.
    AtMost(f64),
}

impl Goal {
    /// True if `figure` meets the goal.
    pub(crate) fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(goal) => figure >= goal,
            Self::AtMost(goal) => figure <= goal,
        }
    }

    /// The worst of several figures by this goal.
    pub(crate) fn worst(self, figures: &[f64]) -> f64 {
        match self {
            Self::AtLeast(_) => figures.iter().copied().fold(f64::INFINITY, f64::min),
            Self::AtMost(_) => figures.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(formatter, ">= {goal}"),
            Self::AtMost(goal) => write!(formatter, "<= {goal}"),
        }
    }
}

/// One contender's figures, one for each round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    /// Name of the contender.
    pub(crate) name: String,
    /// Unit, e.g. `creates/s`.
    pub(crate) unit: &'static str,
    /// A figure for each round, in order.
    pub(crate) rounds: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
}

impl Series {
    pub(crate) fn new(name: &str, unit: &'static str, rounds: Vec<f64>, goal: Option<Goal>) -> Self {
        let median = median(&rounds);
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { name: name.to_owned(), unit, rounds, median, least, most, goal }
    }
}

/// The middle one of some figures. Of an even number it is the upper one; of none it is 0.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// How many standard errors the 95 % interval of a mean reaches to each side, by Student's t distribution
/// with 1 to 30 degrees of freedom.
const STUDENT_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The mean of rounds, and how far its 95 % interval reaches to each side; `None` of fewer than two rounds.
/// Of more than 31 rounds the interval is a little wider than it need be.
#[must_use]
pub fn mean_95(rounds: &[f64]) -> Option<(f64, f64)> {
    let freedom = rounds.len().checked_sub(1)?;
    let errors = STUDENT_95.get(freedom.min(STUDENT_95.len()).checked_sub(1)?)?;
    let count = rounds.len() as f64;
    let mean = rounds.iter().sum::<f64>() / count;
    let variance = rounds.iter().map(|round| (round - mean).powi(2)).sum::<f64>() / freedom as f64;
    Some((mean, errors * (variance / count).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_an_interval_from_two_rounds_on() {
        let (mean, reach) = mean_95(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five rounds");
        // 2.776 standard errors of sqrt(2.5 / 5).
        assert!((mean - 3.0).abs() < 1e-9 && (reach - 1.963).abs() < 1e-3, "{mean} {reach}");
        assert_eq!((mean_95(&[1.0]), mean_95(&[])), (None, None));
        assert!(mean_95(&[1.0; 100]).is_some_and(|(_, reach)| reach == 0.0));
    }

    #[test]
    fn a_goal_knows_its_worst() {
        assert!(Goal::AtMost(1.0).is_met(1.0) && !Goal::AtMost(1.0).is_met(1.1));
        assert_eq!(Goal::AtMost(1.0).worst(&[1.0, 3.0, 2.0]).to_bits(), 3.0_f64.to_bits());
        assert_eq!(Goal::AtLeast(1.0).worst(&[1.0, 3.0, 2.0]).to_bits(), 1.0_f64.to_bits());
    }
}
