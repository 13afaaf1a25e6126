//! Fan-out: the guilds' state at each record, and the sessions that a record concerns.
//!
//! One task, the consumer, publishes, and sessions read. Publishing a record applies it to its guild, puts it
//! into the ring with the snapshot that its visibility is decided by, and wakes the sessions of the guild.
//! Each session then filters and writes on its own, so sessions work in parallel and none holds up another.
//!
//! This module knows a session only as a subscriber: it does not know whether a session is sent an entry, or
//! how.

pub(crate) mod entry;
mod guild;
pub(crate) mod ring;
pub(crate) mod snapshot;
pub(crate) mod subscriber;
mod subscribers;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use weir_bus::Position;
use weir_proto::{
    data::{Channel, GuildState},
    event::{Record, record::Change},
    id::{ChannelId, GuildId, MessageId, UserId},
};

use self::{
    entry::{Body, Entry, Publication, membership},
    guild::{Guild, LoadState},
    ring::Ring,
    snapshot::Snapshot,
    subscriber::Subscriber,
    subscribers::{SubscriberKey, Subscribers, key},
};
use crate::limits::weight::ByteGauge;

/// Guilds that a session leaves under one hold of the lock when it ends. A session may have thousands, and
/// publications wait meanwhile.
const LEFT_AT_ONCE: usize = 64;
/// How long a guild must have had no subscribers before its state makes room for another guild's. This is
/// longer than it takes to load the guilds of a session that is about to subscribe.
const STATE_IDLE: Duration = Duration::from_secs(10);

/// A user with sessions here.
#[derive(Debug, Default)]
struct User {
    subscribers: Subscribers,
    /// Revision above which every record of its direct messages comes to the inbox.
    interest_since_us: Option<u64>,
}

/// Whose records were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LossScope {
    InGuild(GuildId),
    /// Those of a direct message between these users.
    InDirect(Vec<u64>),
    Anywhere,
}

#[derive(Debug, Default)]
struct Index {
    /// Gauge of the bytes of the states in `guilds`.
    states: ByteGauge,
    guilds: HashMap<GuildId, Guild>,
    users: HashMap<UserId, User>,
    /// The guilds that each subscriber is in, so that it can leave them without a search through all guilds.
    subscribed: HashMap<SubscriberKey, HashSet<GuildId>>,
    /// Users whose last subscriber has gone since this was last taken. There are at most as many as sessions
    /// that ended.
    gone_users: HashSet<UserId>,
}

/// Result of installing a loaded state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// It is in use.
    Done,
    /// The records that came meanwhile do not continue it: load it again.
    Again,
    /// It has no guild row.
    Broken,
    /// The states of guilds take as much as they may.
    Full,
}

/// The fan-out.
#[derive(Debug)]
pub(crate) struct Fanout {
    pub(crate) ring: Ring,
    index: Mutex<Index>,
    /// Bytes of guilds' states above which no state is installed. Installed states may grow beyond it,
    /// because a committed change has to be applied.
    states_max: usize,
}

impl Fanout {
    pub(crate) fn new(ring: Ring, states_max: usize) -> Self {
        Self { ring, index: Mutex::default(), states_max }
    }

    /// The gauge of the bytes of guilds' states. States that only the ring keeps are not included.
    pub(crate) fn states_bytes(&self) -> ByteGauge {
        self.index().states.clone()
    }

    // If a holder of the lock panicked, the data is still whole: no statement leaves it half changed.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- for the consumer ----

    /// Publishes a record at `position`.
    pub(crate) fn publish(&self, position: Position, mut publication: Box<Publication>) {
        let mut index = self.index();
        let Ok(guild_id) = GuildId::try_from(publication.record.guild_id) else {
            return self.publish_direct(&index, position, publication);
        };
        let by_user = index.apply_membership(guild_id, &publication.record);
        let Some(guild) = index.guilds.get_mut(&guild_id) else {
            // No session here is in the guild. One that joins it later starts from a state that includes this
            // record.
            drop(index);
            return self.ring.push(position, false, None);
        };
        // This comes before the change, which may remove the channel.
        publication.raise_newest(|channel_id| guild.newest_message(channel_id));
        let (after, mut outdated) = guild.apply(&publication.record);
        let gone = matches!(publication.record.change, Some(Change::GuildDeleted(_)));
        let body = Body::Change(publication);
        let entry = Arc::new(Entry::new(position, Some(guild_id), body, after, self.ring.bytes()));
        // The entry goes into the ring first, so that the sessions that are woken find it.
        self.ring.push(position, by_user, Some(entry.clone()));
        guild.subscribers.iter().for_each(|subscriber| subscriber.offer(position));
        if let Some(change) = entry.change() {
            index.drop_members(guild_id, change);
        }
        if gone && let Some(guild) = index.guilds.get_mut(&guild_id) {
            // The guild stays in the table until it is swept, so that interest in it is withdrawn then.
            outdated += guild.vacate();
        }
        self.ring.keep(outdated);
    }

    /// Publishes a record of a direct message. It carries no state: a session may see it if the record names
    /// its user.
    fn publish_direct(&self, index: &Index, position: Position, publication: Box<Publication>) {
        let subscribers = index.direct(&publication.record.recipient_ids);
        if subscribers.is_empty() {
            self.ring.push(position, false, None);
            return;
        }
        let body = Body::Change(publication);
        let entry = Entry::new(position, None, body, None, self.ring.bytes());
        self.ring.push(position, false, Some(Arc::new(entry)));
        subscribers.iter().for_each(|subscriber| subscriber.offer(position));
    }

    /// Leaves a position empty.
    pub(crate) fn skip(&self, position: Position) {
        self.ring.push(position, false, None);
    }

    /// Reports at `position` that records were lost. The states of their guilds are dropped, because the lost
    /// records may have changed them; sessions that begin again load them anew.
    pub(crate) fn publish_loss(&self, position: Position, lost: LossScope) {
        let mut index = self.index();
        let outdated = match &lost {
            LossScope::InGuild(id) => index.guilds.get_mut(id).map_or(0, Guild::drop_state),
            LossScope::InDirect(_) => 0,
            LossScope::Anywhere => index.guilds.values_mut().map(Guild::drop_state).sum(),
        };
        let (guild_id, body, by_user) = match &lost {
            LossScope::InGuild(guild_id) => (Some(*guild_id), Body::LostInGuild, false),
            LossScope::InDirect(users) => (None, Body::LostInDirect(users.clone()), false),
            LossScope::Anywhere => (None, Body::LostAnywhere, true),
        };
        let entry = Entry::new(position, guild_id, body, None, self.ring.bytes());
        self.ring.push(position, by_user, Some(Arc::new(entry)));
        self.ring.keep(outdated);
        let offer = |subscriber: &Arc<Subscriber>| subscriber.offer(position);
        match lost {
            LossScope::InGuild(id) => {
                index.guilds.get(&id).into_iter().flat_map(|guild| &guild.subscribers).for_each(offer);
            }
            LossScope::InDirect(users) => index.direct(&users).into_iter().for_each(offer),
            LossScope::Anywhere => index.users.values().flat_map(|user| &user.subscribers).for_each(offer),
        }
    }

    /// Hands an ephemeral record to the sessions of its guild, or of the users of its direct message, that
    /// have a connection.
    pub(crate) fn publish_ephemeral(&self, publication: Box<Publication>) {
        let index = self.index();
        let Ok(guild_id) = GuildId::try_from(publication.record.guild_id) else {
            let subscribers = index.direct(&publication.record.recipient_ids);
            let body = Body::Change(publication);
            let entry = Arc::new(Entry::new(0, None, body, None, self.ring.bytes()));
            subscribers.iter().for_each(|subscriber| subscriber.offer_ephemeral(&entry));
            return;
        };
        let Some(guild) = index.guilds.get(&guild_id) else { return };
        let LoadState::Loaded(snapshot) = &guild.load else { return };
        let body = Body::Change(publication);
        let entry = Arc::new(Entry::ephemeral(guild_id, body, snapshot, self.ring.bytes()));
        guild.subscribers.iter().for_each(|subscriber| subscriber.offer_ephemeral(&entry));
    }

    /// The revision of the guild's own scope up to which its state here includes everything; `None` if its
    /// state is not here.
    pub(crate) fn guild_rev(&self, guild_id: GuildId) -> Option<u64> {
        self.present(guild_id).map(|snapshot| snapshot.rev())
    }

    /// The revision above which every record of the guild comes to the inbox.
    pub(crate) fn interest_since_us(&self, guild_id: GuildId) -> Option<u64> {
        self.index().guilds.get(&guild_id).and_then(|guild| guild.interest_since_us)
    }

    /// The revision above which every record of direct messages between these users comes to the inbox.
    /// Interest in one of them is enough.
    pub(crate) fn direct_since_us(&self, recipient_ids: &[u64]) -> Option<u64> {
        let index = self.index();
        let since = |id: &u64| index.user(*id).and_then(|user| user.interest_since_us);
        recipient_ids.iter().filter_map(since).min()
    }

    // ---- loading ----

    /// The guild's state as of the newest position, if it is here.
    pub(crate) fn present(&self, guild_id: GuildId) -> Option<Arc<Snapshot>> {
        match &self.index().guilds.get(&guild_id)?.load {
            LoadState::Loaded(snapshot) => Some(snapshot.clone()),
            LoadState::Absent | LoadState::Loading { .. } => None,
        }
    }

    /// Notes that interest in a guild is registered and that its state is about to be loaded. From here on
    /// its records are kept.
    pub(crate) fn begin_loading(&self, guild_id: GuildId) {
        let mut index = self.index();
        let Index { guilds, states, .. } = &mut *index;
        let guild = guilds.entry(guild_id).or_insert_with(|| Guild::new(states));
        guild.idle_since = Instant::now();
        if !matches!(guild.load, LoadState::Loaded(_)) {
            guild.load =
                LoadState::Loading { records: Vec::new(), overflowed: false, newest: HashMap::new() };
        }
    }

    /// Installs a loaded state, which includes everything up to `as_of_us`; its own revision may be lower,
    /// because members and deleted rows do not show in it. `last_message_ids` has the newest message of each
    /// of the state's channels, in their order.
    pub(crate) fn install(
        &self,
        guild_id: GuildId,
        state: GuildState,
        last_message_ids: &[u64],
        as_of_us: u64,
    ) -> Installed {
        let pair =
            |(row, id): (&Channel, &u64)| ChannelId::try_from(row.id).ok().zip(MessageId::try_from(*id).ok());
        let loaded: Vec<(ChannelId, MessageId)> =
            state.channels.iter().zip(last_message_ids).filter_map(pair).collect();
        let state = GuildState { rev: state.rev.max(as_of_us), ..state };
        let Some(mut snapshot) = Snapshot::new(state) else { return Installed::Broken };
        let mut index = self.index();
        if !self.has_room(&mut index, snapshot.bytes()) {
            return Installed::Full;
        }
        let Index { guilds, states, .. } = &mut *index;
        let guild = guilds.entry(guild_id).or_insert_with(|| Guild::new(states));
        if let LoadState::Loading { records, overflowed, newest } = &mut guild.load {
            if std::mem::take(overflowed) {
                records.clear();
                return Installed::Again;
            }
            for record in records.iter() {
                // Each of the kept records continues the one before it; the first that is not included in the
                // state must continue the state.
                if record.prev_rev > snapshot.rev() {
                    records.clear();
                    return Installed::Again;
                }
                snapshot = snapshot.after(record).unwrap_or(snapshot);
            }
            let posted = newest.iter().map(|(channel_id, id)| (*channel_id, *id));
            loaded
                .into_iter()
                .chain(posted)
                .for_each(|(channel_id, id)| snapshot.note_message(channel_id, id));
            guild.put_state(snapshot);
            guild.interest_since_us.get_or_insert(as_of_us);
        } else if let LoadState::Absent = guild.load {
            // The guild was deleted while it was loaded, or `begin_loading` was not called, so the records
            // since then are not known.
            return Installed::Again;
        }
        Installed::Done
    }

    /// True if there is room for a state of so many bytes. If need be, this drops the states of guilds that
    /// have had no subscribers for long.
    fn has_room(&self, index: &mut Index, bytes: usize) -> bool {
        let full = |index: &Index| index.states.get().saturating_add(bytes) > self.states_max;
        if full(index) {
            let idle =
                |guild: &Guild| guild.subscribers.is_empty() && guild.idle_since.elapsed() >= STATE_IDLE;
            let idle = index.guilds.values_mut().filter(|guild| guild.bytes() > 0 && idle(guild));
            self.ring.keep(idle.map(Guild::drop_state).sum());
        }
        !full(index)
    }

    /// Gives up loading a guild. Entries of the guild carry no state until it is loaded.
    pub(crate) fn abandon(&self, guild_id: GuildId) {
        if let Some(guild) = self.index().guilds.get_mut(&guild_id)
            && let LoadState::Loading { .. } = guild.load
        {
            guild.load = LoadState::Absent;
        }
    }

    // ---- for sessions ----

    /// From here on the subscriber is woken by changes of its user's memberships.
    pub(crate) fn register(&self, subscriber: &Arc<Subscriber>) {
        self.index().users.entry(subscriber.user_id).or_default().subscribers.insert(subscriber);
    }

    /// Notes that interest in a user with sessions here was registered before anything above `since_us` was
    /// committed.
    pub(crate) fn note_user_interest(&self, user_id: UserId, since_us: u64) {
        if let Some(user) = self.index().users.get_mut(&user_id) {
            user.interest_since_us.get_or_insert(since_us);
        }
    }

    /// Subscribes to guilds. Returns the newest position and the guilds' states at exactly that position: the
    /// subscriber is woken by every later record. Guilds whose state is not here are left out of the list.
    pub(crate) fn subscribe(
        &self,
        subscriber: &Arc<Subscriber>,
        guild_ids: &[GuildId],
    ) -> (Position, Vec<(GuildId, Arc<Snapshot>)>) {
        let mut index = self.index();
        let mut snapshots = Vec::with_capacity(guild_ids.len());
        for &guild_id in guild_ids {
            let Some(guild) = index.guilds.get(&guild_id) else { continue };
            if let LoadState::Loaded(snapshot) = &guild.load {
                snapshots.push((guild_id, snapshot.clone()));
            }
            index.subscribe_to(guild_id, subscriber);
        }
        (self.ring.head(), snapshots)
    }

    /// The newest position, and the guilds' states at exactly that position. Guilds whose state is not here
    /// are left out.
    pub(crate) fn states(
        &self,
        guild_ids: impl Iterator<Item = GuildId>,
    ) -> (Position, HashMap<GuildId, Arc<Snapshot>>) {
        let index = self.index();
        let here = guild_ids.filter_map(|guild_id| match &index.guilds.get(&guild_id)?.load {
            LoadState::Loaded(snapshot) => Some((guild_id, snapshot.clone())),
            LoadState::Absent | LoadState::Loading { .. } => None,
        });
        (self.ring.head(), here.collect())
    }

    /// Removes a subscriber. It leaves its guilds in steps, so that a publication waits for a few of them and
    /// not for all.
    pub(crate) fn forget(&self, subscriber: &Arc<Subscriber>) {
        let subscribed = {
            let mut index = self.index();
            if let Some(user) = index.users.get_mut(&subscriber.user_id) {
                // It leaves the user first, so that no change of membership subscribes it again.
                user.subscribers.remove(subscriber);
                if user.subscribers.is_empty() {
                    index.users.remove(&subscriber.user_id);
                    index.gone_users.insert(subscriber.user_id);
                }
            }
            index.subscribed.remove(&key(subscriber)).unwrap_or_default()
        };
        let subscribed: Vec<GuildId> = subscribed.into_iter().collect();
        for step in subscribed.chunks(LEFT_AT_ONCE) {
            let mut index = self.index();
            for guild_id in step {
                index.guilds.get_mut(guild_id).into_iter().for_each(|guild| guild.unsubscribe(subscriber));
            }
        }
    }

    /// True if the user has a session here.
    pub(crate) fn has_user(&self, user_id: UserId) -> bool {
        self.index().users.contains_key(&user_id)
    }

    /// Takes the users whose last session has ended since the last call.
    pub(crate) fn take_gone_users(&self) -> HashSet<UserId> {
        std::mem::take(&mut self.index().gone_users)
    }

    /// Forgets guilds that have had no subscribers since `before`, and returns them: interest in them can be
    /// withdrawn.
    pub(crate) fn forget_idle(&self, before: Instant) -> Vec<GuildId> {
        let mut index = self.index();
        let idle = |guild: &Guild| guild.subscribers.is_empty() && guild.idle_since <= before;
        let ids: Vec<GuildId> =
            index.guilds.iter().filter(|(_, guild)| idle(guild)).map(|(id, _)| *id).collect();
        let gone = ids.iter().filter_map(|id| index.guilds.remove(id));
        self.ring.keep(gone.map(|mut guild| guild.drop_state()).sum());
        ids
    }
}

impl Index {
    /// The sessions that direct messages between these users go to.
    fn direct(&self, recipient_ids: &[u64]) -> Vec<&Arc<Subscriber>> {
        let users = recipient_ids.iter().filter_map(|id| self.user(*id));
        users.flat_map(|user| &user.subscribers).filter(|subscriber| subscriber.has_direct()).collect()
    }

    /// Subscribes to a guild that is in the table.
    fn subscribe_to(&mut self, guild_id: GuildId, subscriber: &Arc<Subscriber>) {
        if let Some(guild) = self.guilds.get_mut(&guild_id)
            && guild.subscribers.insert(subscriber)
        {
            self.subscribed.entry(key(subscriber)).or_default().insert(guild_id);
        }
    }

    /// Subscribes sessions whose user joins a guild to it, before the record goes out. True if the record may
    /// concern sessions by their user.
    fn apply_membership(&mut self, guild_id: GuildId, record: &Record) -> bool {
        let Some((many, one, member)) = record.change.as_ref().and_then(membership) else { return false };
        if member {
            for user_id in many.iter().copied().chain(one) {
                for subscriber in self.of_user(user_id) {
                    if subscriber.has_guild(guild_id) {
                        self.guilds.entry(guild_id).or_insert_with(|| Guild::new(&self.states));
                        self.subscribe_to(guild_id, &subscriber);
                    }
                }
            }
        }
        true
    }

    /// Unsubscribes sessions whose user left a guild, after the record went out.
    fn drop_members(&mut self, guild_id: GuildId, change: &Change) {
        let Some((_, Some(user_id), false)) = membership(change) else { return };
        for subscriber in self.of_user(user_id) {
            if let Some(guild) = self.guilds.get_mut(&guild_id) {
                guild.unsubscribe(&subscriber);
            }
            if let Some(subscribed) = self.subscribed.get_mut(&key(&subscriber)) {
                subscribed.remove(&guild_id);
            }
        }
    }

    /// A user with sessions here, by the id that a record names.
    fn user(&self, id: u64) -> Option<&User> {
        self.users.get(&UserId::try_from(id).ok()?)
    }

    /// The sessions of a user, by the id that a record names.
    fn of_user(&self, id: u64) -> Vec<Arc<Subscriber>> {
        self.user(id).into_iter().flat_map(|user| &user.subscribers).cloned().collect()
    }
}
