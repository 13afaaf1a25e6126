//! Delivery to one session: reads from the session's cursor on, in the ring or, while it resumes, in the log;
//! filters; and writes to the socket.

use std::{collections::VecDeque, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};
use weir_bus::Position;
use weir_discord::object::{Availability, GuildDeleteEvent, ResumedEvent, to_json};
use weir_proto::{event::record::Change, id::GuildId};

use super::{
    guild_create::guild_create,
    member_list::MemberLists,
    replay::{self, Unsettled},
    stop::Stop,
    visibility::{Action, Recipient, decide},
};
use crate::{
    Close,
    data::calls::LoadError,
    fanout::entry::{Entry, is_about},
    session::{
        hears_of_guilds,
        numbering::SEQUENCE_MAX,
        start::{Attached, fault},
    },
    shared::Shared,
    socket::{payload, stream::Socket},
};

/// Positions looked at under one hold of the ring's lock.
const SCAN_MAX: usize = 4_096;
/// Entries taken out of the ring at once.
const ENTRIES_MAX: usize = 64;
/// Bytes gathered before a write. Together with the largest single payload this bounds a connection's write
/// buffer.
pub(crate) const BATCH_BYTES: usize = 16 << 10;
/// Batches that a session may write before it looks at what its client sent.
const BATCHES_AT_ONCE: usize = 16;

/// Where a session's next records are read.
enum Source {
    /// Nowhere: up to the head, nothing concerns the session.
    Nothing,
    Ring(Position),
    /// The ring does not have what the session needs, or never had it.
    Log(Position),
}

/// One connection's delivery.
pub(crate) struct Delivery<'a, S> {
    pub(crate) shared: &'a Shared,
    pub(crate) attached: &'a mut Attached,
    pub(crate) socket: &'a mut Socket<S>,
    /// When the changes in the batch were accepted, microseconds since 1970-01-01T00:00Z. At most
    /// [`ENTRIES_MAX`].
    accepted: Vec<u64>,
    /// While the session resumes: the guilds whose state and membership of now differ from those of then.
    unsettled: Unsettled,
    pub(crate) member_lists: MemberLists,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Delivery<'a, S> {
    pub(crate) fn new(shared: &'a Shared, attached: &'a mut Attached, socket: &'a mut Socket<S>) -> Self {
        let member_lists = MemberLists::within(shared.config.call_timeout);
        Self { shared, attached, socket, accepted: Vec::new(), unsettled: Unsettled::default(), member_lists }
    }

    /// Sends everything up to the record that was the newest when this began, then RESUMED.
    pub(crate) async fn replay(&mut self) -> Result<(), Stop> {
        let target = self.shared.fanout.ring.head();
        let mut log: Option<replay::Log> = None;
        self.unsettled = replay::rewound(self.shared, self.attached);
        loop {
            match self.source() {
                Source::Nothing => break,
                Source::Ring(after) if after >= target => {
                    self.attached.session.subscriber.rewind(after + 1);
                    break;
                }
                Source::Ring(after) => self.read_ring(after).await?,
                Source::Log(after) => {
                    // The log is opened anew, with the states of now, when the last stretch was read to its
                    // end or was left for the ring.
                    if log.as_ref().is_none_or(|log| after < log.from() || after >= log.to()) {
                        let next = replay::Log::open(self.shared, self.attached, after).await?;
                        self.unsettled.extend(next.unsettled());
                        log = Some(next);
                    }
                    if let Some(log) = &mut log {
                        self.read_log(after, log).await?;
                    }
                }
            }
        }
        self.unsettled = Unsettled::default();
        let s = self.attached.session.last_s(&self.attached.progress);
        self.socket.queue(&payload::dispatch("RESUMED", s, &to_json(&ResumedEvent {})))?;
        self.flush().await
    }

    /// Sends what is there for the session now, up to [`BATCHES_AT_ONCE`] batches.
    pub(crate) async fn live(&mut self) -> Result<(), Stop> {
        self.ephemeral(self.attached.session.subscriber.take_ephemeral())?;
        for _ in 0..BATCHES_AT_ONCE {
            match self.source() {
                Source::Nothing => return self.flush().await,
                Source::Ring(after) => self.read_ring(after).await?,
                Source::Log(after) => {
                    // The client may resume, from the log if there is one. That is slower and must stay the
                    // exception.
                    self.attached.session.subscriber.rewind(after + 1);
                    return Err(Close::fault("the client reads too slowly").into());
                }
            }
        }
        self.attached.session.subscriber.nudge();
        self.flush().await
    }

    fn source(&mut self) -> Source {
        let Some(first) = self.attached.session.subscriber.take() else { return Source::Nothing };
        // Nothing between the cursor and the first announced record concerns the session.
        let progress = &mut *self.attached.progress;
        // From here until the work is done, only this flag says that there is work.
        progress.in_batch = true;
        progress.cursor = progress.cursor.max(first - 1);
        let after = progress.cursor;
        if after < self.shared.fanout.ring.floor().max(progress.ring_from) {
            Source::Log(after)
        } else {
            Source::Ring(after)
        }
    }

    async fn read_ring(&mut self, after: Position) -> Result<(), Stop> {
        let subscriber = self.attached.session.subscriber.clone();
        let guilds = &self.attached.progress.guilds;
        let wants = |entry: &Entry| {
            entry.guild_id.is_some_and(|guild_id| guilds.contains_key(&guild_id))
                || (subscriber.has_direct() && entry.is_direct_of(subscriber.user_id))
        };
        // A guild that the user joins here is not among its guilds yet, so the scan must stop there.
        let joins = |entry: &Entry| entry.change().is_some_and(|change| is_about(change, subscriber.user_id));
        let scan = match self.shared.fanout.ring.scan(after, (SCAN_MAX, ENTRIES_MAX), wants, joins) {
            Ok(scan) => scan,
            // It fell off the ring after its floor was read: the next look at the floor notices it.
            Err(_) => {
                subscriber.rewind(after + 1);
                return Ok(());
            }
        };
        if scan.up_to < self.shared.fanout.ring.head() {
            subscriber.rewind(scan.up_to + 1);
        }
        // Entries keep states of their guilds. So what does not go out at once is read again, and is not held
        // while the client takes its time.
        self.work(scan.entries, scan.up_to, true).await
    }

    async fn read_log(&mut self, after: Position, log: &mut replay::Log) -> Result<(), Stop> {
        let (entries, up_to) = log.read(self.shared, after).await?;
        // They are counted until they are written, however slowly the client reads.
        let _waiting = self.socket.wait_with(entries.iter().map(|entry| entry.weight()).sum())?;
        if up_to < self.shared.fanout.ring.head() {
            self.attached.session.subscriber.rewind(up_to + 1);
        }
        self.work(entries, up_to, false).await
    }

    /// Sends the entries that are for the session. Afterwards everything up to `up_to` was looked at; or, if
    /// the rest may be read `again`, only what filled a batch.
    async fn work(&mut self, entries: Vec<Arc<Entry>>, mut up_to: Position, again: bool) -> Result<(), Stop> {
        for entry in entries {
            if entry.position <= self.attached.progress.cursor {
                continue;
            }
            self.take(&entry).await?;
            self.attached.progress.cursor = entry.position;
            if again && self.socket.queued() >= BATCH_BYTES && entry.position < up_to {
                up_to = entry.position;
                self.attached.session.subscriber.rewind(up_to + 1);
                break;
            }
            self.flush_if_full().await?;
        }
        self.flush().await?;
        let progress = &mut *self.attached.progress;
        progress.cursor = progress.cursor.max(up_to);
        progress.in_batch = false;
        Ok(())
    }

    async fn take(&mut self, entry: &Arc<Entry>) -> Result<(), Stop> {
        let session = self.attached.session.clone();
        if entry.is_message_up_to(session.begun_rev) {
            return Ok(());
        }
        let recipient = Recipient {
            subscriber: &session.subscriber,
            intents: session.intents,
            bot: session.user.bot,
            guilds: &self.attached.progress.guilds,
        };
        if self.unsettled.concerns(recipient, entry) {
            return Err(Stop::Invalid);
        }
        match decide(recipient, entry, |guild_id| self.shared.fanout.present(guild_id)) {
            Action::Skip => {}
            Action::Send { name, d } => self.dispatch(entry, name, d)?,
            Action::Join(guild_id) => self.joined(entry, guild_id).await?,
            Action::Leave(guild_id) => {
                if entry.position > self.attached.progress.applied {
                    self.attached.progress.guilds.remove(&guild_id);
                    self.shared.registry.weigh(&session, session.bytes(&self.attached.progress));
                }
                if hears_of_guilds(session.intents) {
                    self.dispatch(entry, "GUILD_DELETE", &to_json(&GuildDeleteEvent::left(guild_id.get())))?;
                }
            }
            Action::Lost => return Err(Stop::Invalid),
        }
        let progress = &mut *self.attached.progress;
        if entry.position > progress.applied {
            if let (Some(Change::MemberUpdated(updated)), Some(record)) = (entry.change(), entry.record())
                && let (Some(row), Some(guild_id)) = (&updated.member, entry.guild_id)
                && let Some(held) = progress.guilds.get_mut(&guild_id)
                && row.user_id == session.user.id
                && record.rev > held.rev
            {
                held.clone_from(row);
                self.shared.registry.weigh(&session, session.bytes(progress));
            }
            progress.applied = entry.position;
        }
        Ok(())
    }

    /// Handles that the user joined a guild. In a replay it may have left the guild since: then the number
    /// stays unused.
    async fn joined(&mut self, entry: &Arc<Entry>, guild_id: GuildId) -> Result<(), Stop> {
        let session = self.attached.session.clone();
        if entry.position > self.attached.progress.applied {
            let row = match entry.change() {
                Some(Change::MemberAdded(added)) => added.member.clone(),
                _ => None,
            };
            let loaded = async {
                self.shared.guild_loader.ensure_loaded(guild_id).await?;
                match row {
                    Some(row) => Ok(row),
                    None => self.shared.calls.member(guild_id, session.user_id()).await,
                }
            };
            match loaded.await {
                Ok(member) => {
                    self.attached.progress.guilds.insert(guild_id, member);
                    self.shared.registry.weigh(&session, session.bytes(&self.attached.progress));
                }
                Err(LoadError::NotFound) => return Ok(()),
                Err(error @ (LoadError::Unavailable { .. } | LoadError::Full)) => {
                    return Err(fault(&error).into());
                }
            }
        }
        let snapshot = entry.after.clone().or_else(|| self.shared.fanout.present(guild_id));
        let member = self.attached.progress.guilds.get(&guild_id).cloned();
        if hears_of_guilds(session.intents)
            && let (Some(snapshot), Some(member)) = (snapshot, member)
        {
            let joined = [(guild_id, snapshot)];
            let mut read = self.member_lists.of(self.shared, &session, &joined).await;
            if let (Some(list), [(_, snapshot)]) = (read.pop(), &joined)
                && let Some(d) = guild_create(snapshot, (member, &session.user), list, Availability::Joined)
            {
                self.dispatch(entry, "GUILD_CREATE", &d)?;
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, entry: &Entry, name: &'static str, d: &str) -> Result<(), Stop> {
        let s = self.attached.session.numbering.of(entry.position);
        if s > SEQUENCE_MAX {
            return Err(Stop::Invalid);
        }
        // This is set before the write: the client may see the dispatch even if the write fails half-way.
        self.attached.progress.sent = entry.position;
        self.socket.queue(&payload::dispatch(name, s, d))?;
        self.shared.metrics.dispatches.inc();
        if let Some(record) = entry.record().filter(|record| record.accepted_at_us != 0) {
            self.accepted.push(record.accepted_at_us);
        }
        Ok(())
    }

    fn ephemeral(&mut self, entries: VecDeque<Arc<Entry>>) -> Result<(), Stop> {
        let session = &self.attached.session;
        let recipient = Recipient {
            subscriber: &session.subscriber,
            intents: session.intents,
            bot: session.user.bot,
            guilds: &self.attached.progress.guilds,
        };
        let s = session.last_s(&self.attached.progress);
        for entry in entries {
            if let Action::Send { name, d } =
                decide(recipient, &entry, |guild_id| self.shared.fanout.present(guild_id))
            {
                self.socket.queue(&payload::dispatch(name, s, d))?;
                self.shared.metrics.dispatches.inc();
            }
        }
        Ok(())
    }

    pub(crate) async fn flush_if_full(&mut self) -> Result<(), Stop> {
        if self.socket.queued() >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        self.socket.flush().await?;
        if !self.accepted.is_empty() {
            let now = self.shared.clock.wall_us();
            for accepted in self.accepted.drain(..) {
                // Both are wall clocks, perhaps of two machines: a difference below zero counts as zero.
                self.shared.metrics.delivery.observe(now.saturating_sub(accepted) as f64 / 1e6);
            }
        }
        Ok(())
    }
}
