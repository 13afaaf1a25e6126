//! Latencies and failures of one stream of requests.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;
use weir_data_client::DataError;

/// Longest latency: from 1 us to 60 s are recorded, in three digits.
const MICROS_MAX: u64 = 60_000_000;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A limit refused it, which is the intended answer to a stampede.
    Refused,
    /// Too many of the stream's requests were open when it was due.
    Backlog,
    /// Its deadline passed.
    Deadline,
    /// Any other failure.
    Error,
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Refused { .. } => Self::Refused,
            DataError::DeadlineExceeded => Self::Deadline,
            DataError::NotFound { .. }
            | DataError::Invalid { .. }
            | DataError::OutcomeUnknown { .. }
            | DataError::Unavailable { .. }
            | DataError::Failed { .. } => Self::Error,
        }
    }
}

/// Latencies and failures.
pub(crate) struct Recorder {
    latencies: Mutex<Histogram<u64>>,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// The numbers of a stream. An error or a late answer counts as infinite latency: the percentiles include it
/// as [`MICROS_MAX`].
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Numbers {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        let latencies =
            Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("the bounds are constants in range");
        Self { latencies: Mutex::new(latencies), refused: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }
}

impl Recorder {
    pub(crate) fn answer(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros.max(1));
    }

    pub(crate) fn fail(&self, failure: Failure) {
        match failure {
            Failure::Refused => self.refused.fetch_add(1, Ordering::Relaxed),
            Failure::Backlog | Failure::Deadline | Failure::Error => {
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Adds the numbers of another recorder.
    pub(crate) fn add(&self, other: &Self) {
        let theirs = other.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ours = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        ours.add(&theirs).expect("all recorders have the same bounds");
        self.refused.fetch_add(other.refused.load(Ordering::Relaxed), Ordering::Relaxed);
        self.failed.fetch_add(other.failed.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answered = latencies.len();
        let failed = self.failed.load(Ordering::Relaxed);
        // Even a count of 0 would make this the maximum.
        if failed > 0 {
            latencies.saturating_record_n(MICROS_MAX, failed);
        }
        let at = |quantile: f64| latencies.value_at_quantile(quantile);
        Numbers {
            answered,
            refused: self.refused.load(Ordering::Relaxed),
            failed,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.max(),
        }
    }

    /// The histogram so far as points of a plot: (percentile, microseconds).
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        latencies.saturating_record_n(MICROS_MAX, self.failed.load(Ordering::Relaxed));
        let points = (0..=400).map(|step| {
            // From 0 to 99.99 %, with steps that get finer towards the end: x = -log10(1 - q).
            let x = f64::from(step) / 100.0;
            let quantile = 1.0 - 10_f64.powf(-x);
            (x, latencies.value_at_quantile(quantile) as f64)
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_failure_the_greatest_is_what_was_seen() {
        let recorder = Recorder::default();
        recorder.answer(Duration::from_millis(7));
        assert!((7_000..7_100).contains(&recorder.numbers().max_us), "{}", recorder.numbers().max_us);
        recorder.fail(Failure::Error);
        assert!(recorder.numbers().max_us >= MICROS_MAX);
    }

    #[test]
    fn a_failure_is_the_worst_latency_and_a_refusal_is_none() {
        let recorder = Recorder::default();
        for _ in 0..98 {
            recorder.answer(Duration::from_millis(1));
        }
        recorder.fail(Failure::Deadline);
        recorder.fail(Failure::Backlog);
        recorder.fail(Failure::Refused);
        let numbers = recorder.numbers();
        assert_eq!((numbers.answered, numbers.failed, numbers.refused), (98, 2, 1));
        assert!(numbers.p50_us < 1_100 && numbers.p99_us >= MICROS_MAX);
    }
}
