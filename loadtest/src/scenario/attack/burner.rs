//! Spends processor time on nothing, to measure what attackers cost their victims only because they share a
//! machine.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::machine::yield_to_others;

/// Longest time for which a burner spins or sleeps before it checks again.
const STEP: Duration = Duration::from_micros(500);

/// Processor time of this process's threads with this name; zero if the system does not say.
pub(super) fn spent(name: &str) -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let of = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        if read("comm")?.trim_end() != name {
            return None;
        }
        // Nanoseconds on a processor, followed by other numbers.
        read("schedstat")?.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.flatten().filter_map(of).sum())
}

/// Threads that spin. They stop when this value is dropped.
pub(super) struct Burners {
    stop: Arc<AtomicBool>,
}

impl Burners {
    /// Starts `threads` threads with a lower priority than all others. Together they use `share` processors,
    /// as far as the others leave them.
    pub(super) fn start(threads: usize, share: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = Arc::clone(&stop);
            thread::spawn(move || burn(share / threads as f64, &stop));
        }
        Self { stop }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn burn(share: f64, stop: &AtomicBool) {
    yield_to_others();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let used = Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0));
        if used < start.elapsed().mul_f64(share.clamp(0.0, 1.0)) {
            let spin = Instant::now();
            while spin.elapsed() < STEP {
                std::hint::spin_loop();
            }
        } else {
            thread::park_timeout(STEP);
        }
    }
}
