//! The sessions of this process by id, with and without a connection, and how they end.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use weir_bus::SessionStore;
use weir_discord::token::TokenHash;
use weir_proto::id::UserId;

use super::{Restored, Session, is_same};
use crate::{
    fanout::Fanout,
    limits::weight::{ByteGauge, Weight},
    metrics::GatewayMetrics,
};

/// Rows read when the process starts: more than the sessions that a process may hold.
const ROWS_MAX: usize = 100_000;

#[derive(Debug)]
struct Tracked {
    session: Arc<Session>,
    /// Since when it has had no connection; `None` while it has one.
    detached_at: Option<Instant>,
    /// Its bytes.
    weight: Weight,
}

/// Bounds on the sessions of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionBounds {
    /// Sessions of all users.
    pub(crate) sessions: usize,
    /// Sessions of one user.
    pub(crate) per_user: usize,
    /// Bytes of all sessions; half of it for those of one user. An existing session may grow beyond it,
    /// because its user is told of every guild that it joins.
    pub(crate) bytes: usize,
}

/// A user's sessions.
#[derive(Debug, Default)]
struct Owned {
    sessions: usize,
    /// Their bytes.
    bytes: usize,
    /// Those without a connection; the one that lost it first comes first.
    detached: BTreeSet<(Instant, String)>,
    /// Bytes of those without a connection.
    detached_bytes: usize,
}

/// A row that an earlier process left.
#[derive(Debug)]
pub(crate) struct LeftRow {
    /// Until when the session may be resumed.
    until: Instant,
    /// Hash of its token; `None` if the row cannot be read. It is kept here, so that tries with other tokens
    /// cost no read.
    token_hash: Option<TokenHash>,
}

#[derive(Debug, Default)]
struct Table {
    /// Gauge of the bytes of all sessions.
    bytes: ByteGauge,
    sessions: HashMap<String, Tracked>,
    /// The sessions of each user.
    owned: HashMap<UserId, Owned>,
    /// Number and bytes of the sessions without a connection, which may end to make room.
    detached: usize,
    detached_bytes: usize,
    /// The rows that an earlier process left, by id.
    left: HashMap<String, LeftRow>,
}

impl Table {
    /// Adds a session that has a connection and takes so many bytes.
    fn insert(&mut self, session: Arc<Session>, bytes: usize) {
        // An id cannot be there already: ids are random, and a row is claimed once.
        self.remove(&session.id);
        let owned = self.owned.entry(session.user_id()).or_default();
        owned.sessions += 1;
        owned.bytes += bytes;
        let weight = Weight::new(&self.bytes, bytes);
        self.sessions.insert(session.id.clone(), Tracked { session, detached_at: None, weight });
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        self.set_detached(id, None);
        let Tracked { session, weight, .. } = self.sessions.remove(id)?;
        if let Some(owned) = self.owned.get_mut(&session.user_id()) {
            owned.sessions -= 1;
            owned.bytes -= weight.get();
            if owned.sessions == 0 {
                self.owned.remove(&session.user_id());
            }
        }
        Some(session)
    }

    /// Notes since when a session has had no connection. False if there is no such session.
    fn set_detached(&mut self, id: &str, at: Option<Instant>) -> bool {
        let Some(tracked) = self.sessions.get_mut(id) else { return false };
        let before = std::mem::replace(&mut tracked.detached_at, at);
        let owned = self.owned.entry(tracked.session.user_id()).or_default();
        let bytes = tracked.weight.get();
        if let Some(before) = before {
            owned.detached.remove(&(before, id.to_owned()));
            owned.detached_bytes -= bytes;
            self.detached -= 1;
            self.detached_bytes -= bytes;
        }
        if let Some(at) = at {
            owned.detached.insert((at, id.to_owned()));
            owned.detached_bytes += bytes;
            self.detached += 1;
            self.detached_bytes += bytes;
        }
        true
    }

    /// True if another session of a user, of so many bytes, would fit once all sessions without a connection
    /// have ended.
    fn may_have_room(&self, user_id: UserId, bytes: usize, bounds: SessionBounds) -> bool {
        let all = self.sessions.len() - self.detached < bounds.sessions
            && self.bytes.get() - self.detached_bytes + bytes <= bounds.bytes;
        let own = self.owned.get(&user_id).is_none_or(|owned| {
            owned.sessions - owned.detached.len() < bounds.per_user
                && owned.bytes - owned.detached_bytes + bytes <= bounds.bytes / 2
        });
        all && own && bytes <= bounds.bytes / 2
    }

    /// Makes room for another session of a user, of so many bytes, and adds the sessions that ended for it to
    /// `ended`. The sessions of the user itself end first. Only if none of them can, and the user is within
    /// its own bounds, does the session end that has been without a connection longest.
    fn make_room(
        &mut self,
        user_id: UserId,
        bytes: usize,
        bounds: SessionBounds,
        ended: &mut Vec<Arc<Session>>,
    ) -> Result<(), NoRoom> {
        // No session ends for one that would be refused all the same.
        if !self.may_have_room(user_id, bytes, bounds) {
            return Err(NoRoom);
        }
        loop {
            let owned = self.owned.get(&user_id);
            let full = self.sessions.len() >= bounds.sessions || self.bytes.get() + bytes > bounds.bytes;
            let many = owned.is_some_and(|owned| {
                owned.sessions >= bounds.per_user || owned.bytes + bytes > bounds.bytes / 2
            });
            if !full && !many {
                return Ok(());
            }
            let own = owned.and_then(|owned| owned.detached.first());
            let anybodys = || self.owned.values().filter_map(|owned| owned.detached.first()).min();
            let (_, id) = own.or_else(|| if many { None } else { anybodys() }).cloned().ok_or(NoRoom)?;
            ended.extend(self.remove(&id));
        }
    }
}

/// The sessions of this process.
pub(crate) struct SessionRegistry {
    table: Mutex<Table>,
    store: Arc<dyn SessionStore>,
    /// Whether rows are stored. They are useless if positions end with the process.
    durable: bool,
    fanout: Arc<Fanout>,
    metrics: GatewayMetrics,
    bounds: SessionBounds,
    resume_window: Duration,
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this gateway holds as many sessions as it may")]
pub(crate) struct NoRoom;

impl SessionRegistry {
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        durable: bool,
        fanout: Arc<Fanout>,
        metrics: GatewayMetrics,
        bounds: SessionBounds,
        resume_window: Duration,
    ) -> Self {
        Self { table: Mutex::default(), store, durable, fanout, metrics, bounds, resume_window }
    }

    // If a holder of the lock panicked, the data is still whole: no statement leaves it half changed.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> bool {
        self.durable
    }

    pub(crate) fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Takes note of the rows that an earlier process left: each may be resumed for one resume window from
    /// now.
    pub(crate) async fn adopt_rows(&self) -> Result<(), weir_bus::SessionStoreError> {
        if !self.durable {
            return Ok(());
        }
        let rows = self.store.list(ROWS_MAX).await?;
        let until = Instant::now() + self.resume_window;
        let left = rows.into_iter().map(|row| {
            let token_hash = Restored::read(&row).map(|kept| kept.token_hash);
            (row.id, LeftRow { until, token_hash })
        });
        self.table().left.extend(left);
        Ok(())
    }

    /// Claims the row of this id, if it may still be resumed with this token. Only one caller gets it, to
    /// restore the session.
    pub(crate) fn claim_row(&self, id: &str, token_hash: &TokenHash) -> Option<LeftRow> {
        let mut table = self.table();
        let theirs = |hash: &TokenHash| is_same(hash, token_hash);
        let left = table.left.get(id)?;
        if left.until > Instant::now() && left.token_hash.as_ref().is_some_and(theirs) {
            table.left.remove(id)
        } else {
            None
        }
    }

    /// Returns a claimed row: the session could not be restored now, but perhaps later.
    pub(crate) fn return_row(&self, id: &str, left: LeftRow) {
        self.table().left.insert(id.to_owned(), left);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table().sessions.get(id).map(|tracked| tracked.session.clone())
    }

    /// The gauge of the bytes of all sessions.
    pub(crate) fn bytes(&self) -> ByteGauge {
        self.table().bytes.clone()
    }

    /// Updates the bytes of a session.
    pub(crate) fn weigh(&self, session: &Session, bytes: usize) {
        let mut table = self.table();
        let Table { sessions, owned, detached_bytes, .. } = &mut *table;
        if let (Some(tracked), Some(owned)) = (sessions.get(&session.id), owned.get_mut(&session.user_id())) {
            let before = tracked.weight.get();
            owned.bytes = owned.bytes - before + bytes;
            if tracked.detached_at.is_some() {
                owned.detached_bytes = owned.detached_bytes - before + bytes;
                *detached_bytes = *detached_bytes - before + bytes;
            }
            tracked.weight.set(bytes);
        }
    }

    /// Adds a session that has a connection and takes so many bytes. If there are too many sessions, or they
    /// take too much, sessions without a connection end for it, those of its user first.
    pub(crate) async fn add(&self, session: Arc<Session>, bytes: usize) -> Result<(), NoRoom> {
        let mut ended = Vec::new();
        let added = {
            let mut table = self.table();
            let room = table.make_room(session.user_id(), bytes, self.bounds, &mut ended);
            if room.is_ok() {
                table.insert(session, bytes);
            }
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            room
        };
        for session in ended {
            self.finish(&session).await;
        }
        added
    }

    /// Notes whether a session has a connection. False if the session has ended.
    pub(crate) fn set_attached(&self, session: &Session, attached: bool) -> bool {
        session.subscriber.set_attached(attached);
        self.table().set_detached(&session.id, (!attached).then(Instant::now))
    }

    /// Ends a session, which then cannot be resumed any more.
    pub(crate) async fn end(&self, session: &Session) {
        let tracked = {
            let mut table = self.table();
            let tracked = table.remove(&session.id);
            self.metrics.sessions.set(i64::try_from(table.sessions.len()).unwrap_or(i64::MAX));
            tracked
        };
        if tracked.is_some() {
            self.finish(session).await;
        }
    }

    async fn finish(&self, session: &Session) {
        self.fanout.forget(&session.subscriber);
        self.delete_row(&session.id).await;
    }

    /// Removes the row of a session that is not in this process.
    pub(crate) async fn delete_row(&self, id: &str) {
        if self.durable
            && let Err(error) = self.store.delete(id).await
        {
            // A row that stays costs its bytes until the next start, where it expires again.
            tracing::warn!(%error, "the row of an ended session stays");
        }
    }

    /// Ends sessions and rows that nobody resumed within the resume window.
    pub(crate) async fn expire(&self, now: Instant) {
        let (sessions, rows) = {
            let mut table = self.table();
            // They are removed under the lock under which a resume would mark them, so one of the two comes
            // first.
            let over =
                |tracked: &Tracked| tracked.detached_at.is_some_and(|at| now >= at + self.resume_window);
            let over: Vec<_> = table
                .sessions
                .iter()
                .filter(|(_, tracked)| over(tracked))
                .map(|(id, _)| id.clone())
                .collect();
            let sessions: Vec<_> = over.iter().filter_map(|id| table.remove(id)).collect();
            let rows: Vec<_> = table.left.extract_if(|_, left| left.until <= now).map(|(id, _)| id).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fanout::{ring::Ring, subscriber::Subscriber},
        session::tests::session,
    };
    use weir_bus::memory::MemoryBus;
    use weir_proto::id::GuildId;

    fn of_user(id: u64) -> Arc<Session> {
        let mut session = session(1);
        let user_id = UserId::try_from(id).expect("not 0");
        session.user.id = id;
        session.subscriber = Arc::new(Subscriber::new(user_id, session.subscriber.shard));
        Arc::new(session)
    }

    fn registry(bytes: usize) -> SessionRegistry {
        SessionRegistry::new(
            Arc::new(MemoryBus::new(1)),
            false,
            Arc::new(Fanout::new(Ring::new(0, 1, 1), 1)),
            GatewayMetrics::new(&weir_runtime::Registry::new()),
            SessionBounds { sessions: 100, per_user: 100, bytes },
            Duration::from_secs(300),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_take_too_much_end_those_without_a_connection_or_are_refused() {
        let registry = registry(1_000);
        let sessions: Vec<_> = (1..=4).map(of_user).collect();
        for session in &sessions[..2] {
            assert_eq!(registry.add(session.clone(), 400).await, Ok(()));
        }
        assert_eq!(registry.add(sessions[2].clone(), 400).await, Err(NoRoom), "all have connections");
        registry.set_attached(&sessions[1], false);
        assert_eq!(registry.add(sessions[2].clone(), 400).await, Ok(()));
        assert!(registry.get(&sessions[1].id).is_none() && registry.get(&sessions[0].id).is_some());
        registry.set_attached(&sessions[0], false);
        assert_eq!(registry.add(sessions[3].clone(), 501).await, Err(NoRoom), "larger than one may be");
        assert!(registry.get(&sessions[0].id).is_some(), "and nobody ended for it");
        registry.weigh(&sessions[0], 500);
        assert_eq!(registry.bytes().get(), 900);
        registry.end(&sessions[2]).await;
        registry.end(&sessions[0]).await;
        assert_eq!(registry.bytes().get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_user_take_half_and_end_for_each_other() {
        let registry = registry(1_000);
        let (own, other) = ([7, 7, 7].map(of_user), of_user(8));
        assert_eq!(registry.add(other.clone(), 200).await, Ok(()));
        registry.set_attached(&other, false);
        for session in &own[..2] {
            assert_eq!(registry.add(session.clone(), 200).await, Ok(()));
        }
        assert_eq!(registry.add(own[2].clone(), 200).await, Err(NoRoom));
        registry.set_attached(&own[0], false);
        assert_eq!(registry.add(own[2].clone(), 200).await, Ok(()));
        assert!(registry.get(&own[0].id).is_none() && registry.get(&other.id).is_some());
        registry.weigh(&own[2], 100);
        assert_eq!(registry.add(own[0].clone(), 200).await, Ok(()), "what it gave back is there");
    }

    #[tokio::test(start_paused = true)]
    async fn nobodys_session_ends_for_one_that_is_refused_all_the_same() {
        let registry = registry(1_000);
        let sessions: Vec<_> = (1..=4).map(of_user).collect();
        for (session, bytes) in sessions.iter().zip([400, 400, 100]) {
            assert_eq!(registry.add(session.clone(), bytes).await, Ok(()));
        }
        registry.set_attached(&sessions[2], false);
        assert_eq!(registry.add(sessions[3].clone(), 300).await, Err(NoRoom));
        assert!(registry.get(&sessions[2].id).is_some(), "its 100 would not have been enough");
        registry.weigh(&sessions[2], 200);
        registry.weigh(&sessions[1], 300);
        assert_eq!(registry.add(sessions[3].clone(), 300).await, Ok(()));
        assert!(registry.get(&sessions[2].id).is_none());
    }

    #[test]
    fn a_session_is_weighed_with_its_memberships() {
        let session = session(0);
        let mut progress = crate::session::Progress::default();
        let none = session.bytes(&progress);
        let row = weir_proto::data::Member { role_ids: vec![1; 100], ..Default::default() };
        progress.guilds.insert(GuildId::try_from(1_u64).expect("not 0"), row);
        assert!(session.bytes(&progress) - none >= 900, "{none}");
    }
}
