//! Which machine and versions a figure is from.

use std::fmt;

use serde::Serialize;

/// The machine, and what was built how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    processors: usize,
    /// Their model, as the system names it.
    processor: String,
    /// Memory.
    memory_gib: u64,
    /// Linux's release.
    kernel: String,
    /// Weir's version.
    weir: &'static str,
    /// `release` or `debug`: of the benchmark itself.
    build: &'static str,
    /// Processes that wanted to run in the last minute, on average, before the report was made: work beside the benchmark shows here.
    load: String,
}

impl Machine {
    /// This one, now.
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
