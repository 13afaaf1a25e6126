//! Replay: records that a session reads again when it resumes, from the ring, or from the durable log if the
//! ring no longer has them. This module finds out for which records the visibility of then can still be
//! decided.
//!
//! What a session may see follows from its user's membership and from the guild's roles and channels **at the
//! record**. The ring keeps the guild's state with each record, and the log keeps none; neither keeps the
//! user's membership of then. What held then can be taken from the state of now only if nothing that it
//! depends on has changed since. So before anything is sent, the records in between are searched for such
//! changes ([`Unsettled`]). For records of a guild below its last such change, visibility cannot be decided.
//! If one of them might be for the session, the session is invalid.

use std::{collections::HashMap, sync::Arc};

use weir_bus::{InboxError, Position};
use weir_discord::dispatch::Visibility;
use weir_proto::{
    change::ChangeKind,
    event::record::Change,
    id::{GuildId, UserId},
};

use super::{stop::Stop, visibility::Recipient};
use crate::{
    Close,
    consume::{
        consumer::{Logged, read_logged},
        enrich::enrich,
        gap::GapDetector,
    },
    fanout::{
        entry::{Body, Entry, is_about},
        snapshot::Snapshot,
    },
    session::start::Attached,
    shared::Shared,
};

/// Records read from the log at once. With the largest records these are about 5 MiB, which each session that
/// resumes may hold.
const PAGE: usize = 64;
/// Scopes whose last revision is remembered while the log is read again.
const LOG_SCOPES: usize = 4_096;

/// In each guild, the last changes of what a session's view of the guild depends on.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    guilds: HashMap<GuildId, LastChanges>,
}

/// Positions of the last changes of a guild; 0 for none.
#[derive(Debug, Clone, Copy, Default)]
struct LastChanges {
    /// The session's user joined or left.
    membership: Position,
    /// The same, or its rights changed: by a role of the user, a role, or a channel.
    rights: Position,
}

impl Unsettled {
    fn note(&mut self, guild_id: GuildId, position: Position, of_membership: bool) {
        let last = self.guilds.entry(guild_id).or_default();
        last.rights = last.rights.max(position);
        if of_membership {
            last.membership = last.membership.max(position);
        }
    }

    /// Adds what another search found.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (guild_id, theirs) in &other.guilds {
            let last = self.guilds.entry(*guild_id).or_default();
            last.membership = last.membership.max(theirs.membership);
            last.rights = last.rights.max(theirs.rights);
        }
    }

    /// True if the entry might be for the session and its visibility cannot be decided.
    pub(crate) fn concerns(&self, recipient: Recipient<'_>, entry: &Entry) -> bool {
        let Some(guild_id) = entry.guild_id else { return false };
        let Some(last) = self.guilds.get(&guild_id) else { return false };
        let (Some(change), true) = (entry.change(), entry.position < last.rights) else { return false };
        if is_about(change, recipient.subscriber.user_id) || !recipient.guilds.contains_key(&guild_id) {
            // The session is always told when its own user joins or leaves; of a guild that it has left it is
            // told nothing else.
            return false;
        }
        let Some(dispatch) = entry.dispatch() else { return false };
        let by_channel = match &dispatch.needs {
            Visibility::Channel(_) => true,
            Visibility::Guild(_) | Visibility::Users(_) => false,
        };
        dispatch.passes(recipient.subscriber.user_id.get(), recipient.intents)
            && (by_channel || entry.position < last.membership)
    }
}

/// `None` if a change does not affect a user's view of its guild; otherwise whether it is a change of the
/// membership itself.
fn changes_view(change: &Change, user_id: UserId) -> Option<bool> {
    match change {
        Change::GuildCreated(_) | Change::MemberAdded(_) | Change::MemberRemoved(_) => {
            is_about(change, user_id).then_some(true)
        }
        Change::GuildDeleted(_) => Some(true),
        Change::MemberUpdated(_) => is_about(change, user_id).then_some(false),
        other => (ChangeKind::of(other) == ChangeKind::Rights).then_some(false),
    }
}

/// What is unsettled for a session that goes back in the ring. The states there are those of then, but its
/// memberships include everything up to the position that it had reached.
pub(crate) fn rewound(shared: &Shared, attached: &Attached) -> Unsettled {
    let (user_id, progress) = (attached.session.user_id(), &attached.progress);
    let mut unsettled = Unsettled::default();
    // Positions below the floor of the ring are read from the log, and are searched with it.
    let mut after = progress.cursor.max(shared.fanout.ring.floor());
    while after < progress.applied {
        let Ok(scan) = shared.fanout.ring.scan(after, (usize::MAX, usize::MAX), |_| false, |_| false) else {
            after = shared.fanout.ring.floor();
            continue;
        };
        for entry in scan.entries.iter().filter(|entry| entry.position <= progress.applied) {
            if let Some(change) = entry.change().filter(|change| is_about(change, user_id))
                && let Some(guild_id) = entry.guild_id
            {
                let of_membership = changes_view(change, user_id) == Some(true);
                unsettled.note(guild_id, entry.position, of_membership);
            }
        }
        if scan.up_to == after {
            break;
        }
        after = scan.up_to;
    }
    unsettled
}

/// A stretch of the durable log, with the guilds' states at its end.
pub(crate) struct Log {
    from: Position,
    to: Position,
    states: HashMap<GuildId, Arc<Snapshot>>,
    unsettled: Unsettled,
    gaps: GapDetector,
}

impl Log {
    /// Opens the log above `from` and up to the newest position, and searches it for changes after which the
    /// visibility of earlier records cannot be decided.
    ///
    /// # Errors
    /// [`Stop::Invalid`] if the log has nothing directly above `from` or is damaged there, 4000 if it does
    /// not answer.
    ///
    /// # Cancel safety
    /// Safe: reading changes nothing.
    pub(crate) async fn open(shared: &Shared, attached: &Attached, from: Position) -> Result<Self, Stop> {
        let (to, states) = shared.fanout.states(attached.progress.guilds.keys().copied());
        let user_id = attached.session.user_id();
        let mut unsettled = Unsettled::default();
        let mut gaps = GapDetector::new(LOG_SCOPES);
        let mut after = from;
        while after < to {
            let (records, up_to) = page(shared, after, to).await?;
            for (position, bytes) in records {
                if let Logged::Record(publication) = logged(&mut gaps, &bytes)?
                    && let Some(change) = &publication.record.change
                    && let Some(of_membership) = changes_view(change, user_id)
                    && let Ok(guild_id) = GuildId::try_from(publication.record.guild_id)
                {
                    unsettled.note(guild_id, position, of_membership);
                }
            }
            after = up_to;
        }
        Ok(Self { from, to, states, unsettled, gaps: GapDetector::new(LOG_SCOPES) })
    }

    /// The stretch begins above this position.
    pub(crate) fn from(&self) -> Position {
        self.from
    }

    /// The stretch ends at this position.
    pub(crate) fn to(&self) -> Position {
        self.to
    }

    /// The changes in the stretch.
    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.unsettled
    }

    /// The next page above `after`, and the position up to which it was read. The entries carry the states at
    /// the end of the log.
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// # Cancel safety
    /// A page that was read is not read again by a later call for the same position. A resume that is
    /// cancelled begins with another log, so nothing is lost.
    pub(crate) async fn read(
        &mut self,
        shared: &Shared,
        after: Position,
    ) -> Result<(Vec<Arc<Entry>>, Position), Stop> {
        let (records, up_to) = page(shared, after, self.to).await?;
        let (mut positions, mut publications) = (Vec::new(), Vec::new());
        for (position, bytes) in records {
            if let Logged::Record(publication) = logged(&mut self.gaps, &bytes)? {
                positions.push(position);
                publications.push(publication);
            }
        }
        enrich(&shared.calls, &mut publications).await;
        let entries = positions.into_iter().zip(publications).map(|(position, mut publication)| {
            let guild_id = GuildId::try_from(publication.record.guild_id).ok();
            let state = guild_id.and_then(|guild_id| self.states.get(&guild_id)).cloned();
            // If the channel is gone since, the record keeps the message that it names: nothing newer is
            // needed.
            publication.raise_newest(|id| state.as_ref().and_then(|state| state.newest_message(id)));
            let body = Body::Change(publication);
            Arc::new(Entry::new(position, guild_id, body, state, &shared.replayed))
        });
        Ok((entries.collect(), up_to))
    }
}

fn logged(gaps: &mut GapDetector, bytes: &bytes::Bytes) -> Result<Logged, Stop> {
    match read_logged(gaps, bytes) {
        Logged::Undecodable => Err(Stop::Invalid),
        read => Ok(read),
    }
}

/// The records of the log above `after` and up to `to`, and the position up to which these are all.
async fn page(
    shared: &Shared,
    after: Position,
    to: Position,
) -> Result<(Vec<(Position, bytes::Bytes)>, Position), Stop> {
    let inbox = &shared.inbox;
    if !inbox.durable() {
        return Err(Stop::Invalid);
    }
    let batch = match inbox.read(after, PAGE).await {
        Ok(batch) => batch,
        Err(InboxError::Truncated { .. }) => return Err(Stop::Invalid),
        Err(InboxError::Unavailable { reason }) => {
            tracing::warn!(reason, "the log could not be read for a resume");
            return Err(Close::fault("the log does not answer").into());
        }
    };
    let records: Vec<_> = batch.records.into_iter().take_while(|(position, _)| *position <= to).collect();
    let up_to = records.last().map_or(to, |(position, _)| *position);
    Ok((records, up_to))
}
