//! Graceful stop: the first signal starts it, and a second one forces it.
//!
//! The first SIGINT, SIGTERM or SIGHUP cancels a token that every component holds; the process then drains. A
//! second signal means that somebody does not want to wait: the process exits at once with code 130. Whatever
//! was not durable is lost as in a crash, which every store must survive anyway. A process that was started
//! with SIGHUP ignored (`nohup`) goes on ignoring it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::EXIT_FORCED;

/// The request of the process to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A shutdown that SIGINT, SIGTERM and SIGHUP start. From this call on they no longer kill the process by
    /// themselves.
    ///
    /// It must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses the handlers.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::default();
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup_is_handled() { Some(signal(SignalKind::hangup())?) } else { None },
        };
        let begin = shutdown.clone();
        tokio::spawn(async move {
            let Some(signal) = signals.next().await else { return };
            tracing::info!(signal, "stopping: a second signal ends the process at once");
            begin.begin();
            let Some(signal) = signals.next().await else { return };
            tracing::warn!(signal, "second signal: not waiting for the drain");
            // A second signal asks to skip every destructor.
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
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// True if SIGHUP is known not to be ignored. A process that was started with `nohup` is meant to outlive its
/// terminal, and a handler would put an end to that. Where the operating system does not show it (other than
/// Linux), SIGHUP is left as it is.
fn hangup_is_handled() -> bool {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignores_hangup(&status))
        == Some(false)
}

/// Whether SIGHUP is ignored, by a process's status file: it is the lowest bit of the mask of ignored
/// signals.
fn ignores_hangup(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(|mask| mask & 1 == 1)
}

impl Signals {
    /// The name of the next signal; `None` once the runtime delivers no more.
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
    use super::*;

    #[test]
    fn a_status_tells_whether_hangup_is_ignored() {
        let status = |mask: &str| format!("Name:\tweir\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert_eq!(ignores_hangup(&status("0000000000001000")), Some(false));
        assert_eq!(ignores_hangup(&status("0000000000001001")), Some(true));
        assert_eq!(ignores_hangup("Name:\tweir\n"), None);
    }
}
