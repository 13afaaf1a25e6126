//! The gateway side of the bot: a task that drives the shard, and the events that it delivered, in order.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time,
};
use twilight_gateway::{Event, EventTypeFlags, Shard, StreamExt as _, error::ReceiveMessageErrorType};

/// Longest wait for one event or reply. Delivery takes milliseconds; this only bounds a failure.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Most events between the shard's task and the scenario: ten times what the whole scenario causes.
const BACKLOG: usize = 4096;

/// The events that the gateway delivered.
#[derive(Debug)]
pub(crate) struct Events {
    incoming: mpsc::Receiver<Result<Event>>,
    held: watch::Sender<bool>,
    log: Vec<Event>,
    driver: JoinHandle<()>,
}

impl Events {
    /// Starts to drive `shard`.
    pub(crate) fn drive(shard: Shard) -> Self {
        let (outgoing, incoming) = mpsc::channel(BACKLOG);
        let (held, hold) = watch::channel(false);
        let driver = tokio::spawn(drive(shard, outgoing, hold));
        Self { incoming, held, log: Vec::new(), driver }
    }

    /// Stops or resumes driving the shard. A shard that is not driven cannot reconnect.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until an event is accepted, counting from `mark`; events before it stay in the log.
    ///
    /// # Errors
    /// If none comes within [`WAIT`], or one could not be parsed.
    pub(crate) async fn until<T>(
        &mut self,
        mark: usize,
        what: &str,
        mut accept: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        if let Some(found) = self.log[mark..].iter().find_map(&mut accept) {
            return Ok(found);
        }
        let search = async {
            loop {
                let event = self.incoming.recv().await.context("the shard ended")??;
                let found = accept(&event);
                self.log.push(event);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        };
        time::timeout(WAIT, search).await.with_context(|| format!("no {what} within {} s", WAIT.as_secs()))?
    }

    /// The position in the log at which the next event will be.
    pub(crate) fn mark(&self) -> usize {
        self.log.len()
    }

    /// All events so far, in order.
    pub(crate) fn log(&self) -> &[Event] {
        &self.log
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(mut shard: Shard, outgoing: mpsc::Sender<Result<Event>>, mut hold: watch::Receiver<bool>) {
    loop {
        if hold.wait_for(|held| !held).await.is_err() {
            return;
        }
        let next = tokio::select! {
            biased;
            _ = hold.changed() => continue,
            next = shard.next_event(EventTypeFlags::all()) => next,
        };
        let message = match next {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => match error.kind() {
                // The library tries again by itself.
                ReceiveMessageErrorType::Reconnect => continue,
                _ => Err(anyhow::Error::new(error).context("twilight could not read an event")),
            },
            None => return,
        };
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}

/// Fails with `message` unless `condition` holds.
pub(crate) fn check(condition: bool, message: &str) -> Result<()> {
    if condition { Ok(()) } else { bail!("{message}") }
}
