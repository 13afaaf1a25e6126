//! A data service in memory: the real one's semantics (ids that rise, pages, nonces, contexts) behind the
//! real transport and wire types, with a log of calls and errors to order.

mod directory;
mod marks;
mod messages;
mod wiring;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{Barrier, oneshot, watch};

use weir_connect::{Code, ConnectError};
use weir_data_client::{DataClient, error::REFUSAL_TYPE, transport::InProcess};
use weir_proto::{
    data::{Basis, Channel, Guild, GuildState, Member, Message, Refusal, RefusalReason, Role, User},
    id::EPOCH_MS,
};

/// A moment in 2033, ahead of every clock: ids minted from here have 19 digits, as client libraries expect.
const START_MS: u64 = 2_000_000_000_000;

/// Everything stored.
#[derive(Default)]
pub(crate) struct World {
    minted: u64,
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) tokens: HashMap<Vec<u8>, u64>,
    pub(crate) guilds: BTreeMap<u64, Guild>,
    pub(crate) roles: BTreeMap<u64, Role>,
    pub(crate) channels: BTreeMap<u64, Channel>,
    /// By guild and user.
    pub(crate) members: BTreeMap<(u64, u64), Member>,
    /// By channel and message.
    pub(crate) messages: BTreeMap<(u64, u64), Message>,
    /// Message, slot and user of each reaction.
    pub(crate) reactions: BTreeSet<(u64, u64, u64)>,
    /// Every RPC, by the last segment of its path.
    pub(crate) calls: Vec<&'static str>,
    /// Bytes of all answers.
    pub(crate) answered: usize,
    /// The last write's event context.
    pub(crate) context: Option<weir_proto::data::EventContext>,
    /// What the last change said of when the client's request was accepted.
    pub(crate) accepted_at_us: u64,
    pub(crate) typing: Vec<(u64, u64)>,
    /// Of each removal of several messages, those that were there.
    pub(crate) removed_together: Vec<Vec<u64>>,
    /// It was just started: what only the owner's memory knows is not known.
    pub(crate) restarted: bool,
    failures: HashMap<&'static str, VecDeque<ConnectError>>,
}

impl World {
    /// An id above all before, one millisecond later.
    pub(crate) fn mint(&mut self) -> u64 {
        self.minted += 1;
        (START_MS - EPOCH_MS + self.minted) << 22
    }

    /// A revision above all before.
    fn rev(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// Refuses a change if a row that it rests on is another, as the guild's turn does.
    fn holds(&self, guild_id: u64, basis: Option<Basis>) -> Result<(), ConnectError> {
        let Basis { roles, channels, members } = basis.unwrap_or_default();
        let same = roles.iter().all(|seen| self.roles.get(&seen.id).map(|row| row.rev) == seen.rev)
            && channels.iter().all(|seen| self.channels.get(&seen.id).map(|row| row.rev) == seen.rev)
            && members
                .iter()
                .all(|seen| self.members.get(&(guild_id, seen.id)).map(|row| row.rev) == seen.rev);
        if same {
            return Ok(());
        }
        let refusal = Refusal { reason: RefusalReason::Conflict.into(), ..Refusal::default() };
        Err(ConnectError::new(Code::Aborted, "changed").with_detail(REFUSAL_TYPE, &refusal))
    }

    fn note(&mut self, headers: &http::HeaderMap) {
        let accepted_at = headers.get(weir_data_client::client::ACCEPTED_AT);
        if let Some(us) = accepted_at.and_then(|value| value.to_str().ok()?.parse().ok()) {
            self.accepted_at_us = us;
        }
    }

    fn state(&self, guild_id: u64) -> Result<GuildState, ConnectError> {
        let guild = self.guilds.get(&guild_id).ok_or_else(|| ConnectError::not_found("guild"))?;
        Ok(GuildState {
            guild: Some(guild.clone()),
            roles: self.roles.values().filter(|role| role.guild_id == guild_id).cloned().collect(),
            channels: self
                .channels
                .values()
                .filter(|channel| channel.guild_id == guild_id)
                .cloned()
                .collect(),
            member_count: self.members.keys().filter(|(guild, _)| *guild == guild_id).count() as u32,
            rev: guild.rev,
        })
    }

    fn user(&self, id: u64) -> Option<User> {
        self.users.get(&id).cloned()
    }

    /// Logs the call, and fails it if a failure was ordered.
    fn begin(&mut self, rpc: &'static str) -> Result<(), ConnectError> {
        self.calls.push(rpc);
        match self.failures.get_mut(rpc).and_then(VecDeque::pop_front) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// The service, shared with the test that looks inside.
#[derive(Clone, Default)]
pub(crate) struct DataService {
    world: Arc<Mutex<World>>,
    hold: Arc<Mutex<Option<Hold>>>,
    gathering: Arc<Mutex<Option<Arc<Barrier>>>>,
    /// Closed to those who bring users into guilds until the test says true, or lets go of its half.
    door: Arc<Mutex<Option<watch::Receiver<bool>>>>,
}

/// The next change, to be kept waiting.
struct Hold {
    arrived: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// A change that arrived, and waits until this is dropped.
pub(crate) struct Held {
    pub(crate) arrived: oneshot::Receiver<()>,
    pub(crate) release: oneshot::Sender<()>,
}

impl DataService {
    /// The world, locked.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the world")
    }

    /// Keeps the next change of a guild waiting: what it was decided by has been read.
    pub(crate) fn hold_change(&self) -> Held {
        let ((arrive, arrived), (release, released)) = (oneshot::channel(), oneshot::channel());
        *self.hold.lock().expect("nothing panics under it") = Some(Hold { arrived: arrive, released });
        Held { arrived, release }
    }

    /// Keeps changes of a guild waiting until so many have arrived: each was decided before any of them is
    /// made.
    pub(crate) fn gather_changes(&self, count: usize) {
        *self.gathering.lock().expect("nothing panics under it") = Some(Arc::new(Barrier::new(count)));
    }

    /// Keeps all who bring users into guilds waiting until the sender says true.
    pub(crate) fn close_door(&self) -> watch::Sender<bool> {
        let (open, door) = watch::channel(false);
        *self.door.lock().expect("nothing panics under it") = Some(door);
        open
    }

    /// Until no call has arrived for long: all that can be decided is.
    pub(crate) async fn quiet(&self) {
        let mut calls = (0, 0);
        while calls.1 < 2_000 {
            let now = self.world().calls.len();
            calls = if now == calls.0 { (now, calls.1 + 1) } else { (now, 0) };
            tokio::task::yield_now().await;
        }
    }

    /// The arrival of a call.
    async fn pass(&self, rpc: &'static str) {
        let door = self.door.lock().expect("nothing panics under it").clone();
        if let Some(mut door) = door.filter(|_| ["PutMember", "CreateGuild"].contains(&rpc)) {
            let _ = door.wait_for(|open| *open).await;
        }
        let changes = ["Put", "Update", "Delete"].iter().any(|verb| rpc.starts_with(verb));
        let gathering = self.gathering.lock().expect("nothing panics under it").clone();
        if let Some(barrier) = gathering.filter(|_| changes)
            && barrier.wait().await.is_leader()
        {
            // What is repeated after that goes through.
            *self.gathering.lock().expect("nothing panics under it") = None;
        }
        let hold = if changes { self.hold.lock().expect("nothing panics under it").take() } else { None };
        if let Some(Hold { arrived, released }) = hold {
            arrived.send(()).expect("the test waits for it");
            // A test that drops the other half lets it go too.
            let _ = released.await;
        }
    }

    /// Fails the next call of `rpc`.
    pub(crate) fn fail_next(&self, rpc: &'static str, error: ConnectError) {
        self.world().failures.entry(rpc).or_default().push_back(error);
    }

    /// The calls since the last look.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.world().calls)
    }

    /// A typed client that calls it.
    pub(crate) fn client(&self) -> DataClient {
        DataClient::new(Arc::new(InProcess::new(Arc::new(wiring::router(self)))))
    }
}
