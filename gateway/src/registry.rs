//! The sessions of this process by id, with and without a connection, and how they end.

use std::{
    collections::{BTreeSet, HashMap},
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

/// A user's sessions.
#[derive(Debug, Default)]
struct Owned {
    sessions: usize,
    /// Those without a connection, the longest first.
    detached: BTreeSet<(Instant, String)>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Known>,
    /// Whose they are, by user.
    owned: HashMap<u64, Owned>,
    /// Ids of rows that another process left, and until when they may be resumed.
    left: HashMap<String, Instant>,
}

impl Table {
    /// Adds a session that has a connection.
    fn insert(&mut self, session: Arc<Session>) {
        // An id that is there already does not happen: they are random, and a row is claimed once.
        self.remove(&session.id);
        self.owned.entry(session.user.id).or_default().sessions += 1;
        self.sessions.insert(session.id.clone(), Known { session, detached_at: None });
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        self.set_detached(id, None);
        let session = self.sessions.remove(id)?.session;
        if let Some(owned) = self.owned.get_mut(&session.user.id) {
            owned.sessions -= 1;
            if owned.sessions == 0 {
                self.owned.remove(&session.user.id);
            }
        }
        Some(session)
    }

    /// Notes since when a session has had no connection. False if there is no such session.
    fn set_detached(&mut self, id: &str, at: Option<Instant>) -> bool {
        let Some(known) = self.sessions.get_mut(id) else { return false };
        let before = std::mem::replace(&mut known.detached_at, at);
        let owned = self.owned.entry(known.session.user.id).or_default();
        before.map(|before| owned.detached.remove(&(before, id.to_owned())));
        at.map(|at| owned.detached.insert((at, id.to_owned())));
        true
    }

    /// Makes room for another session of a user. Who has many, or comes when there are as many as there may be, gives one of its own first;
    /// only who has none to give takes the one that is longest without a connection.
    fn make_room(
        &mut self,
        user_id: u64,
        (sessions_max, per_user_max): (usize, usize),
    ) -> Result<Option<Arc<Session>>, Full> {
        let owned = self.owned.get(&user_id);
        let full = self.sessions.len() >= sessions_max;
        let many = owned.is_some_and(|owned| owned.sessions >= per_user_max);
        if !full && !many {
            return Ok(None);
        }
        let own = owned.and_then(|owned| owned.detached.first());
        let anybodys = || self.owned.values().filter_map(|owned| owned.detached.first()).min();
        let (_, id) = own.or_else(|| if many { None } else { anybodys() }).cloned().ok_or(Full)?;
        Ok(self.remove(&id))
    }
}

/// The sessions of this process.
pub(crate) struct Registry {
    table: Mutex<Table>,
    store: Arc<dyn SessionStore>,
    /// Whether rows are kept at all: they are worth nothing if positions end with the process.
    durable: bool,
    fanout: Arc<Fanout>,
    metrics: Metrics,
    /// Of all users, and of one.
    sessions_max: (usize, usize),
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
        sessions_max: (usize, usize),
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

    /// Adds a session that has a connection. If there are too many, one without a connection ends for it: its user's own first.
    pub(crate) async fn add(&self, session: Arc<Session>) -> Result<(), Full> {
        let evicted = {
            let mut table = self.table();
            let evicted = table.make_room(session.user.id, self.sessions_max)?;
            table.insert(session);
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            evicted
        };
        if let Some(session) = evicted {
            self.finish(&session).await;
        }
        Ok(())
    }

    /// Notes that a session has a connection, or no longer. False if the session has ended.
    pub(crate) fn set_attached(&self, session: &Session, attached: bool) -> bool {
        session.listener.set_attached(attached);
        self.table().set_detached(&session.id, (!attached).then(Instant::now))
    }

    /// Ends a session: it cannot be resumed any more.
    pub(crate) async fn end(&self, session: &Session) {
        let known = {
            let mut table = self.table();
            let known = table.remove(&session.id);
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
            let over = |known: &Known| known.detached_at.is_some_and(|at| now >= at + self.resume_window);
            let over: Vec<_> =
                table.sessions.iter().filter(|(_, known)| over(known)).map(|(id, _)| id.clone()).collect();
            let sessions: Vec<_> = over.iter().filter_map(|id| table.remove(id)).collect();
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
