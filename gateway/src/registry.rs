//! The sessions of this process by id, with and without a connection, and how they end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use weir_bus::SessionStore;

use crate::{fanout::Fanout, metrics::Metrics, session::Session};

/// Rows looked at when the process starts: more than a process may hold sessions.
const ROWS_MAX: usize = 100_000;

#[derive(Debug)]
struct Known {
    session: Arc<Session>,
    /// Since when it has had no connection; `None` while it has one.
    detached_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Known>,
    /// Ids of rows that another process left, and until when they may be resumed.
    left: HashMap<String, Instant>,
}

/// The sessions of this process.
pub(crate) struct Registry {
    table: Mutex<Table>,
    store: Arc<dyn SessionStore>,
    /// Whether rows are kept at all: they are worth nothing if positions end with the process.
    durable: bool,
    fanout: Arc<Fanout>,
    metrics: Metrics,
    sessions_max: usize,
    resume_window: Duration,
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this gateway holds as many sessions as it may")]
pub(crate) struct Full;

impl Registry {
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        durable: bool,
        fanout: Arc<Fanout>,
        metrics: Metrics,
        sessions_max: usize,
        resume_window: Duration,
    ) -> Self {
        Self { table: Mutex::default(), store, durable, fanout, metrics, sessions_max, resume_window }
    }

    // A lock whose holder panicked guards plain data that is whole between statements.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> bool {
        self.durable
    }

    pub(crate) fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Takes note of the rows that an earlier process left: each may be resumed for one resume window from now.
    pub(crate) async fn adopt_rows(&self) -> Result<(), weir_bus::SessionStoreError> {
        if !self.durable {
            return Ok(());
        }
        let rows = self.store.list(ROWS_MAX).await?;
        let until = Instant::now() + self.resume_window;
        self.table().left.extend(rows.into_iter().map(|row| (row.id, until)));
        Ok(())
    }

    /// True if a row of this id may still be resumed. It is then this caller's to restore; a second one is told no.
    pub(crate) fn claim_row(&self, id: &str) -> bool {
        self.table().left.remove(id).is_some_and(|until| until > Instant::now())
    }

    /// Gives a claimed row back: it could not be restored now, perhaps later.
    pub(crate) fn return_row(&self, id: &str) {
        let until = Instant::now() + self.resume_window;
        self.table().left.insert(id.to_owned(), until);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table().sessions.get(id).map(|known| known.session.clone())
    }

    /// Adds a session that has a connection. If there are too many, the one longest without a connection ends for it.
    pub(crate) async fn add(&self, session: Arc<Session>) -> Result<(), Full> {
        let evicted = {
            let mut table = self.table();
            let mut evicted = None;
            if table.sessions.len() >= self.sessions_max {
                let oldest = table.sessions.iter().filter_map(|(id, known)| Some((known.detached_at?, id)));
                let id = oldest.min().map(|(_, id)| id.clone()).ok_or(Full)?;
                evicted = table.sessions.remove(&id);
            }
            table.sessions.insert(session.id.clone(), Known { session, detached_at: None });
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            evicted
        };
        if let Some(known) = evicted {
            self.finish(&known.session).await;
        }
        Ok(())
    }

    /// Notes that a session has a connection, or no longer. False if the session has ended.
    pub(crate) fn set_attached(&self, session: &Session, attached: bool) -> bool {
        session.listener.set_attached(attached);
        let mut table = self.table();
        let known = table.sessions.get_mut(&session.id);
        known.map(|known| known.detached_at = (!attached).then(Instant::now)).is_some()
    }

    /// Ends a session: it cannot be resumed any more.
    pub(crate) async fn end(&self, session: &Session) {
        let known = {
            let mut table = self.table();
            let known = table.sessions.remove(&session.id);
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            known
        };
        if known.is_some() {
            self.finish(session).await;
        }
    }

    async fn finish(&self, session: &Session) {
        self.fanout.forget(&session.listener);
        self.delete_row(&session.id).await;
    }

    async fn delete_row(&self, id: &str) {
        if self.durable
            && let Err(error) = self.store.delete(id).await
        {
            // A row that stays costs its bytes until the next start, where it expires again.
            tracing::warn!(%error, "the row of an ended session stays");
        }
    }

    /// Ends what has been without a connection for a whole resume window.
    pub(crate) async fn expire(&self, now: Instant) {
        let (sessions, rows) = {
            let mut table = self.table();
            // Taken out under the lock under which a resume would mark them: one of the two comes first.
            let expired =
                |known: &mut Known| known.detached_at.is_some_and(|at| now >= at + self.resume_window);
            let sessions: Vec<_> = table
                .sessions
                .extract_if(|_, known| expired(known))
                .map(|(_, known)| known.session)
                .collect();
            let rows: Vec<_> = table.left.extract_if(|_, until| *until <= now).map(|(id, _)| id).collect();
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            (sessions, rows)
        };
        for session in sessions {
            self.finish(&session).await;
        }
        for id in rows {
            self.delete_row(&id).await;
        }
    }
}
