//! Open-loop arrivals.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::recorder::{Failure, Recorder};

/// Most requests of one stream that may be under way. A request that is due when so many are open counts as
/// failed, because the server is that far behind.
const OPEN_MAX: usize = 4_000;

/// Sends requests at `per_second` for `length`, evenly spaced, and records each from the moment at which it
/// was due.
///
/// `request` is given the request's number. The function waits for the last answers before it returns; each
/// request has a deadline of its own.
pub(crate) async fn run<F, T>(per_second: f64, length: Duration, recorder: Arc<Recorder>, request: F)
where
    F: Fn(u64) -> T,
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let start = Instant::now();
    let gap = Duration::from_secs_f64(1.0 / per_second);
    // A run has at most a few million requests, so the product is exact enough.
    let count = (per_second * length.as_secs_f64()) as u64;
    let open = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let due = start + gap.mul_f64(number as f64);
        // Timers have a resolution of a millisecond. Requests due within it are sent together, and their
        // lateness counts as latency.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        while tasks.try_join_next().is_some() {}
        if open.load(Ordering::Relaxed) >= OPEN_MAX {
            recorder.fail(Failure::Backlog);
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (open, recorder, answer) = (Arc::clone(&open), Arc::clone(&recorder), request(number));
        tasks.spawn(async move {
            let outcome = answer.await;
            open.fetch_sub(1, Ordering::Relaxed);
            match outcome {
                Ok(()) => recorder.answer(due.elapsed()),
                Err(failure) => recorder.fail(failure),
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
