//! Graceful stop: one signal asks, a second one insists, and a deadline ends the asking.
//!
//! The first SIGINT, SIGTERM or SIGHUP cancels a token that every component holds; the process then drains. A second signal means that somebody
//! does not want to wait: the process exits at once with code 130, and whatever was not durable is lost as in a crash, which every
//! store must survive anyway. A process that was started with SIGHUP ignored (`nohup`) goes on ignoring it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::EXIT_FORCED;

/// The process's wish to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

/// Work that was still going on when the drain deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the drain was not complete within {deadline:?}")]
pub struct DrainTimedOut {
    /// The deadline.
    pub deadline: Duration,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::begin`] starts: for tests and embedded use.
    pub fn manual() -> Shutdown {
        Shutdown::default()
    }

    /// A shutdown that SIGINT, SIGTERM and SIGHUP start. From here on they no longer kill the process by themselves.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::default();
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup_is_heard() { Some(signal(SignalKind::hangup())?) } else { None },
        };
        let begin = shutdown.clone();
        tokio::spawn(async move {
            let Some(signal) = signals.next().await else { return };
            tracing::info!(signal, "stopping: a second signal ends the process at once");
            begin.begin();
            let Some(signal) = signals.next().await else { return };
            tracing::warn!(signal, "second signal: not waiting for the drain");
            // Skipping every destructor is what a second signal asks for.
            std::process::exit(EXIT_FORCED);
        });
        Ok(shutdown)
    }

    /// The token that is cancelled when the stop begins.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Begins the stop. Repeating it changes nothing.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Waits until the stop begins.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Waits for `work`, but once the stop has begun for at most `deadline` longer.
    ///
    /// # Errors
    /// [`DrainTimedOut`] if `work` was dropped unfinished.
    ///
    /// # Cancel safety
    /// Dropping the future drops `work`.
    pub async fn drain<W: Future>(&self, work: W, deadline: Duration) -> Result<W::Output, DrainTimedOut> {
        let overdue = async {
            self.token.cancelled().await;
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = overdue => Err(DrainTimedOut { deadline }),
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// True if SIGHUP is known not to be ignored. Whoever starts a process with `nohup` means that it outlives its terminal, and a handler would
/// put an end to that. Where the operating system does not say (other than Linux), SIGHUP is left as it is.
fn hangup_is_heard() -> bool {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignores_hangup(&status))
        == Some(false)
}

/// What a process' status file says of SIGHUP: the mask of ignored signals, of which it is the lowest bit.
fn ignores_hangup(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(|mask| mask & 1 == 1)
}

impl Signals {
    /// The next signal's name; `None` once the runtime delivers no more.
    async fn next(&mut self) -> Option<&'static str> {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(()) = self.interrupt.recv() => Some("SIGINT"),
            Some(()) = self.terminate.recv() => Some("SIGTERM"),
            Some(()) = hangup => Some("SIGHUP"),
            else => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_status_tells_whether_hangup_is_ignored() {
        let status = |mask: &str| format!("Name:\tweir\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert_eq!(ignores_hangup(&status("0000000000001000")), Some(false));
        assert_eq!(ignores_hangup(&status("0000000000001001")), Some(true));
        assert_eq!(ignores_hangup("Name:\tweir\n"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn work_may_take_any_time_until_the_stop_begins() {
        let shutdown = Shutdown::manual();
        let work = tokio::time::sleep(Duration::from_secs(3600));
        assert_eq!(shutdown.drain(work, Duration::from_secs(1)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_deadline_counts_from_the_beginning_of_the_stop() {
        let shutdown = Shutdown::manual();
        let start = Instant::now();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.begin();
        });
        let deadline = Duration::from_secs(2);
        let drained = shutdown.drain(pending::<()>(), deadline).await;
        assert_eq!(drained, Err(DrainTimedOut { deadline }));
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_in_time_is_a_clean_drain() {
        let shutdown = Shutdown::manual();
        shutdown.begin();
        let work = async {
            shutdown.begun().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            7
        };
        assert_eq!(shutdown.drain(work, Duration::from_secs(2)).await, Ok(7));
    }
}
