//! Names and labels must come out exactly as dashboards expect them.

use prometheus_client::encoding::EncodeLabelSet;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Hit,
    Joined,
}

crate::label_values!(Outcome { Hit => "hit", Joined => "joined" });

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    method: &'static str,
    outcome: Outcome,
}

fn lines(registry: &Registry) -> Vec<String> {
    registry.encode().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_line(registry: &Registry, line: &str) {
    let lines = lines(registry);
    assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
}

#[test]
fn a_help_text_ends_with_one_full_stop_however_it_is_written() {
    let registry = Registry::new();
    registry.gauge("weir_gateway_sessions", "Sessions.");
    registry.counter("weir_api_panics_total", "Panics");
    assert_line(&registry, "# HELP weir_gateway_sessions Sessions.");
    assert_line(&registry, "# HELP weir_api_panics Panics.");
}

#[test]
fn counters_come_out_under_their_full_name_and_labels() {
    let registry = Registry::new();
    let reads = registry.counters::<Read>("weir_data_reads_total", "Reads by outcome");
    reads.get_or_create(&Read { method: "ListMessages", outcome: Outcome::Hit }).inc_by(3);
    reads.get_or_create(&Read { method: "GetMessage", outcome: Outcome::Joined }).inc();
    registry.counter("weir_api_panics_total", "Panics").inc();
    assert_line(&registry, r#"weir_data_reads_total{method="ListMessages",outcome="hit"} 3"#);
    assert_line(&registry, r#"weir_data_reads_total{method="GetMessage",outcome="joined"} 1"#);
    assert_line(&registry, "weir_api_panics_total 1");
}

#[test]
fn units_are_announced_and_not_doubled() {
    let registry = Registry::new();
    registry.histogram("weir_data_read_seconds", "Latency of reads", &[0.1, 1.0]).observe(0.05);
    registry.gauge("weir_gateway_queue_bytes", "Bytes queued").set(12);
    registry.gauge("weir_gateway_sessions", "Open sessions").set(-1);
    assert_line(&registry, "# UNIT weir_data_read_seconds seconds");
    assert_line(&registry, r#"weir_data_read_seconds_bucket{le="0.1"} 1"#);
    assert_line(&registry, "weir_data_read_seconds_count 1");
    assert_line(&registry, "weir_gateway_queue_bytes 12");
    assert_line(&registry, "weir_gateway_sessions -1");
}

#[test]
fn histograms_by_label_share_their_buckets() {
    let registry = Registry::new();
    let seconds = registry.histograms::<Read>("weir_data_read_seconds", "Latency", LATENCY_SECONDS);
    seconds.get_or_create(&Read { method: "GetMessage", outcome: Outcome::Hit }).observe(0.0002);
    assert_line(
        &registry,
        r#"weir_data_read_seconds_bucket{le="0.00025",method="GetMessage",outcome="hit"} 1"#,
    );
}

#[test]
fn the_same_name_is_the_same_metric() {
    let registry = Registry::new();
    registry.counter("weir_client_calls_total", "Calls").inc();
    registry.clone().counter("weir_client_calls_total", "Calls").inc();
    let text = registry.encode();
    assert_eq!(text.matches("# TYPE weir_client_calls ").count(), 1, "{text}");
    assert_line(&registry, "weir_client_calls_total 2");
}

#[test]
fn mistakes_in_the_program_are_panics() {
    let registry = Registry::new();
    registry.gauge("weir_gateway_sessions", "Open sessions");
    let panics = |act: &dyn Fn(&Registry)| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&registry))).is_err()
    };
    assert!(panics(&|registry| drop(registry.counter("weir_reads", "no _total"))));
    assert!(panics(&|registry| drop(registry.gauge("weir_Sessions", "capital"))));
    assert!(panics(&|registry| drop(registry.gauge("sessions", "no weir_"))));
    assert!(panics(&|registry| drop(registry.histogram("weir_gateway_sessions", "other kind", &[1.0]))));
    // None of them has broken the registry.
    assert_line(&registry, "weir_gateway_sessions 0");
}

#[test]
fn latency_buckets_rise() {
    assert!(LATENCY_SECONDS.is_sorted_by(|a, b| a < b));
}
