//! A shared registry of metrics over `prometheus-client`.
//!
//! Metrics are registered by their full exposed name, `_total` and unit included, so that a name can be
//! searched for from dashboard to code. Registering a name again gives the same metric, so two components of
//! one process may share one.
//!
//! The caller must bound the cardinality: label sets are structs of enums and `&'static str`, never text that
//! clients choose. Label types derive `EncodeLabelSet` from `prometheus_client`;
//! [`label_values!`](crate::label_values) gives an enum its label text.
//!
//! Hot paths should keep the metric that [`Family::get_or_create_owned`] returns: looking it up takes a lock
//! and a hash.

mod memory;

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::registry::Unit;
use weir_connect::Budget;

use memory::MemoryCollector;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// Content type of [`Registry::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of latency histograms, in seconds: 1-2.5-5 steps from 100 µs, which is a cache hit, to 10 s,
/// which is the longest deadline that clients usually set.
pub const LATENCY_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A family of histograms with the same buckets.
pub type HistogramFamily<L> = Family<L, Histogram, Buckets>;

/// Upper bounds of a histogram's buckets, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Buckets(pub &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// The bounds on a label set that keys a family.
pub trait Labels: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> Labels for L {}

/// The metrics of a process, and its memory budget, which they show. Clones share both.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
    budget: Budget,
}

impl Default for Registry {
    fn default() -> Registry {
        let (budget, mut inner) = (Budget::default(), Inner::default());
        inner.exposed.register_collector(Box::new(MemoryCollector(budget.clone())));
        Registry { inner: Arc::new(Mutex::new(inner)), budget }
    }
}

#[derive(Default)]
struct Inner {
    exposed: prometheus_client::registry::Registry,
    // The metric registered under each name, to hand it out again. There are as many entries as names in the
    // program.
    by_name: HashMap<String, Box<dyn Any + Send>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The process's memory budget. Everything that holds memory for clients has a part of it.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The counter `name`, which ends in `_total`.
    ///
    /// # Panics
    /// If the name does not have the form that its kind requires, or belongs to a metric of another kind.
    /// Both are mistakes in the program. The same holds for all registering methods.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, counter_name(name), help, Counter::default)
    }

    /// Counters `name`, which ends in `_total`, by label set.
    ///
    /// # Panics
    /// As for [`Registry::counter`].
    pub fn counters<L: Labels>(&self, name: &str, help: &str) -> Family<L, Counter> {
        self.register(name, counter_name(name), help, Family::default)
    }

    /// The gauge `name`.
    ///
    /// # Panics
    /// As for [`Registry::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, name, help, Gauge::default)
    }

    /// The histogram `name` with the upper bounds `buckets`; for latencies [`LATENCY_SECONDS`].
    ///
    /// # Panics
    /// As for [`Registry::counter`].
    pub fn histogram(&self, name: &str, help: &str, buckets: &'static [f64]) -> Histogram {
        self.register(name, name, help, || Buckets(buckets).new_metric())
    }

    /// Histograms `name` by label set, with the upper bounds `buckets`.
    ///
    /// # Panics
    /// As for [`Registry::counter`].
    pub fn histograms<L: Labels>(
        &self,
        name: &str,
        help: &str,
        buckets: &'static [f64],
    ) -> HistogramFamily<L> {
        self.register(name, name, help, || Family::new_with_constructor(Buckets(buckets)))
    }

    /// All metrics in the OpenMetrics text form.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, and our label types write nothing that could fail.
        encode(&mut text, &self.lock().exposed).expect("encoding into a string does not fail");
        text
    }

    /// Registers `make()` under `stem`, unless `name` is known. The stem is the name without the suffix that
    /// the encoder adds for its kind.
    fn register<M>(&self, name: &str, stem: &str, help: &str, make: impl FnOnce() -> M) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + Debug + Send + Sync + 'static,
    {
        assert!(is_metric_name(name), "{name:?} is not a metric name: weir_ and then a-z, 0-9 and _");
        let mut inner = self.lock();
        if let Some(known) = inner.by_name.get(name) {
            let known = known.downcast_ref::<M>();
            return known.unwrap_or_else(|| panic!("metric {name} is registered as another kind")).clone();
        }
        let metric = make();
        // The encoder ends the sentence itself.
        let help = help.trim_end_matches('.');
        match unit_of(stem) {
            Some((stem, unit)) => inner.exposed.register_with_unit(stem, help, unit, metric.clone()),
            None => inner.exposed.register(stem, help, metric.clone()),
        }
        inner.by_name.insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Recovers a poisoned lock: only a registering method can panic under it, before anything has
        // changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().by_name.keys()).finish()
    }
}

/// The name of a counter without `_total`, which the encoder adds.
fn counter_name(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or_else(|| panic!("counter {name} must end in _total"))
}

/// The name of a metric without its unit, which the encoder adds and announces to the scraper.
fn unit_of(name: &str) -> Option<(&str, Unit)> {
    if let Some(stem) = name.strip_suffix("_seconds") {
        Some((stem, Unit::Seconds))
    } else {
        name.strip_suffix("_bytes").map(|stem| (stem, Unit::Bytes))
    }
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with("weir_")
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Gives an enum the text of its label values: `label_values!(pub Outcome { Hit => "hit", Joined => "joined"
/// });`.
///
/// The derive of `prometheus_client` would expose the Rust names, such as `Hit`. Metrics use the words of
/// code, console and documents instead. The `match` is exhaustive, so a new variant cannot be forgotten. The
/// macro also defines `as_str`, with the visibility that stands before the name.
#[macro_export]
macro_rules! label_values {
    ($vis:vis $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl $name {
            /// The word for this value in metrics, logs and the console.
            $vis const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl $crate::metrics::EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut $crate::metrics::LabelValueEncoder<'_>,
            ) -> ::std::result::Result<(), ::std::fmt::Error> {
                $crate::metrics::EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

pub use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

#[cfg(test)]
mod tests;
