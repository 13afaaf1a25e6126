//! One of the client's fixed set of connections: the live connection, or the one attempt to make it.
//!
//! Connecting runs in a task of its own, once for all callers that wait. A caller with a short deadline that
//! leaves does not stop the attempt; otherwise a server that is slow to answer would never be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::uri::Authority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::config::ClientConfig;
use super::connect::{Http2Sender, connect};
use super::error::NotSent;
use super::reconnect::{Reconnect, random};

pub(super) struct Slot {
    authority: Authority,
    config: Arc<ClientConfig>,
    /// A permit for each request in flight, so that no request waits inside HTTP/2.
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    connection: Connection,
    reconnect: Reconnect,
}

enum Connection {
    None,
    /// An attempt is under way; its outcome is published once. A channel that closes without an outcome means
    /// that the attempt's task died.
    Connecting(watch::Receiver<Option<Outcome>>),
    Live(Sender),
}

type Outcome = Result<Sender, NotSent>;

/// A connection's sender and whether it has ever carried a reply.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) http2: Http2Sender,
    proven: Arc<AtomicBool>,
}

impl Sender {
    /// Notes that the connection carried a reply.
    pub(super) fn proven(&self) {
        // Relaxed: the flag only ever rises and guards no other memory.
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
    }
}

/// What a caller has to do to get a connection.
enum Step {
    Use(Sender),
    Await(watch::Receiver<Option<Outcome>>),
    Refuse(NotSent),
}

impl Slot {
    pub(super) fn new(authority: Authority, config: Arc<ClientConfig>) -> Slot {
        let places = Arc::new(Semaphore::new(config.streams_per_connection.max(1)));
        let state = State { connection: Connection::None, reconnect: Reconnect::default() };
        Slot { authority, config, places, state: Mutex::new(state) }
    }

    // Recovers a poisoned lock: it guards a state that is consistent at every moment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one request, if one is free.
    pub(super) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for a place, first come first served.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// The live connection, which is made if there is none.
    ///
    /// # Cancel safety
    /// Dropping the future leaves an attempt running for the next caller.
    pub(super) async fn sender(self: &Arc<Self>) -> Result<Sender, NotSent> {
        loop {
            let mut outcome = match self.step(Instant::now()) {
                Step::Use(sender) => return Ok(sender),
                Step::Refuse(error) => return Err(error),
                Step::Await(outcome) => outcome,
            };
            // If the attempt's task died, the loop starts another attempt.
            if let Ok(outcome) = outcome.wait_for(Option::is_some).await
                && let Some(outcome) = outcome.as_ref()
            {
                return outcome.clone();
            }
        }
    }

    fn step(self: &Arc<Self>, now: Instant) -> Step {
        let mut state = self.lock();
        match &state.connection {
            Connection::Live(sender) if !sender.http2.is_closed() => return Step::Use(sender.clone()),
            Connection::Live(lost) => {
                if lost.proven.load(Ordering::Relaxed) {
                    state.reconnect.succeeded();
                } else {
                    state.reconnect.failed(now, random());
                }
                state.connection = Connection::None;
            }
            Connection::Connecting(outcome) if outcome.has_changed().is_ok() => {
                return Step::Await(outcome.clone());
            }
            Connection::Connecting(_) | Connection::None => {}
        }
        if let Some(retry_after) = state.reconnect.pause(now) {
            return Step::Refuse(NotSent::BackingOff { retry_after });
        }
        let (publish, outcome) = watch::channel(None);
        state.connection = Connection::Connecting(outcome.clone());
        tokio::spawn(Arc::clone(self).attempt(publish));
        Step::Await(outcome)
    }

    async fn attempt(self: Arc<Self>, publish: watch::Sender<Option<Outcome>>) {
        let outcome = connect(&self.authority, &self.config)
            .await
            .map(|http2| Sender { http2, proven: Arc::new(AtomicBool::new(false)) });
        {
            let mut state = self.lock();
            match &outcome {
                Ok(sender) => state.connection = Connection::Live(sender.clone()),
                Err(_) => {
                    state.reconnect.failed(Instant::now(), random());
                    state.connection = Connection::None;
                }
            }
        }
        // It is published after the state, so that a caller who wakes and asks again finds the state.
        publish.send_replace(Some(outcome));
    }
}
