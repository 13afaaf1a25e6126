//! The machine and the versions that produced a figure.

use std::fmt;

use serde::Serialize;

/// The machine, and the build of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    processors: usize,
    /// Processor model, as the system names it.
    processor: String,
    /// Memory in GiB.
    memory_gib: u64,
    /// Release of Linux.
    kernel: String,
    /// Version of Weir.
    weir: &'static str,
    /// Build of the benchmark itself: `release` or `debug`.
    build: &'static str,
    /// Average number of processes that wanted to run in the last minute before the report. It shows whether
    /// other work ran beside the benchmark.
    load: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let processor = read("/proc/cpuinfo");
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.to_owned()),
            memory_gib: kib.unwrap_or(0) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            weir: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or("unknown").to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, processor, memory_gib, kernel, weir, build, load } = self;
        write!(
            formatter,
            "{processors} x {processor}, {memory_gib} GiB, Linux {kernel}, load {load}; weir {weir}, {build} build"
        )
    }
}
