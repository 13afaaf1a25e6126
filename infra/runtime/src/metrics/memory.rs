//! Metrics of what each part of the process's memory holds, read from the budget at each scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use weir_connect::Budget;
use weir_connect::budget::Usage;

/// Collects a budget's usage.
#[derive(Debug)]
pub(super) struct MemoryCollector(pub(super) Budget);

type Figure = (&'static str, &'static str, fn(&Usage) -> usize);

const GAUGES: [Figure; 3] = [
    ("weir_memory_held", "Bytes that a part of the memory budget holds", |usage| usage.used),
    ("weir_memory_held_peak", "Most bytes that a part has held", |usage| usage.peak),
    ("weir_memory_held_max", "Most bytes that a part may hold", |usage| usage.total),
];

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let parts = self.0.usage();
        for (name, help, figure) in GAUGES {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
            for usage in &parts {
                let gauge = ConstGauge::new(i64::try_from(figure(usage)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("part", usage.part)])?)?;
            }
        }
        let kind = prometheus_client::metrics::MetricType::Counter;
        let help = "Times that a part had no room";
        let mut family = encoder.encode_descriptor("weir_memory_refused", help, None, kind)?;
        for usage in &parts {
            ConstCounter::new(usage.refused).encode(family.encode_family(&[("part", usage.part)])?)?;
        }
        Ok(())
    }
}
