//! Figures of rounds, and what they should be.

use std::fmt;

use serde::Serialize;

/// What a ratio or figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    /// Whether `figure` reaches it.
    pub(crate) fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(goal) => figure >= goal,
            Self::AtMost(goal) => figure <= goal,
        }
    }

    /// The worst of several figures.
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
    /// Who or what.
    pub(crate) name: String,
    /// Of what.
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

/// The middle of some figures, of an even number the upper one; 0 of none.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_knows_its_worst() {
        assert!(Goal::AtMost(1.0).is_met(1.0) && !Goal::AtMost(1.0).is_met(1.1));
        assert_eq!(Goal::AtMost(1.0).worst(&[1.0, 3.0, 2.0]).to_bits(), 3.0_f64.to_bits());
        assert_eq!(Goal::AtLeast(1.0).worst(&[1.0, 3.0, 2.0]).to_bits(), 1.0_f64.to_bits());
    }
}
