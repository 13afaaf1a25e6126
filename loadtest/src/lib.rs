//! Load tests: open-loop scenarios, side-by-side benchmarks and reports.
