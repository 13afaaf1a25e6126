//! A record on its way to sessions: it is decoded once, rendered once, and shared by all sessions that may
//! see it.

use std::sync::{Arc, OnceLock, Weak};

use weir_bus::Position;
use weir_discord::dispatch::{DispatchedEvent, dispatch};
use weir_proto::{
    change::ChangeKind,
    data::EventContext,
    event::{Record, record::Change},
    id::{ChannelId, GuildId, MessageId, UserId},
};

use super::snapshot::Snapshot;
use crate::limits::weight::{ByteGauge, Weight};

/// Bytes counted for an entry besides its text: the structs, the pointers to snapshots, the slot of the ring.
const OVERHEAD: usize = 512;
/// A decoded record counts as this many times its encoded size, because strings and vectors have headers and
/// varints have none. An estimate.
const DECODED_FACTOR: usize = 2;

/// Bytes counted for a record of this size on the bus, before it is rendered.
pub(crate) fn weight(encoded_len: usize) -> usize {
    OVERHEAD + encoded_len * DECODED_FACTOR
}

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) record: Record,
    /// Context that `consume::enrich` rebuilt because the record carried none.
    pub(crate) context: Option<EventContext>,
    /// Size on the bus, bytes.
    pub(crate) encoded_len: usize,
}

impl Publication {
    /// A change of a channel is rendered with the newest message of the channel. This raises that message to
    /// the one that is `known` here: the data service may not have found it in time, and clients replace what
    /// they knew by what they are told.
    pub(crate) fn raise_newest(&mut self, known: impl FnOnce(ChannelId) -> Option<MessageId>) {
        let (Some(Change::ChannelUpdated(row)) | Some(Change::ChannelDeleted(row))) = &self.record.change
        else {
            return;
        };
        let known = ChannelId::try_from(row.id).ok().and_then(known).map_or(0, MessageId::get);
        // This is the context that is rendered.
        let context = match &mut self.context {
            Some(rebuilt) => rebuilt,
            None => self.record.context.get_or_insert_default(),
        };
        context.last_message_id = context.last_message_id.max(known);
    }
}

/// What a position of the log holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// A change. It is boxed because it takes more than a kilobyte and the other variants nothing.
    Change(Box<Publication>),
    /// Records of the guild were lost here and could not be recovered.
    LostInGuild,
    /// Records of a direct message between these users were lost here.
    LostInDirect(Vec<u64>),
    /// Records were lost here, and it is not known whose.
    LostAnywhere,
}

/// One position of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    /// `None` if it is of a direct message, or concerns no single guild.
    pub(crate) guild_id: Option<GuildId>,
    pub(crate) body: Body,
    /// The guild after the change. `None` if no session here is in the guild, and for a record that is read
    /// again from the log while its guild is not loaded.
    pub(crate) after: Option<Arc<Snapshot>>,
    /// The state for an ephemeral entry, which waits at sessions and not in the ring. It is weak, so that the
    /// entry keeps no state that its guild has replaced.
    newest: Weak<Snapshot>,
    rendered: OnceLock<Option<Box<DispatchedEvent>>>,
    weight: Weight,
}

impl Entry {
    /// An entry whose bytes are counted in `bytes`.
    pub(crate) fn new(
        position: Position,
        guild_id: Option<GuildId>,
        body: Body,
        after: Option<Arc<Snapshot>>,
        bytes: &ByteGauge,
    ) -> Self {
        let encoded_len = match &body {
            Body::Change(publication) => publication.encoded_len,
            Body::LostInGuild | Body::LostInDirect(_) | Body::LostAnywhere => 0,
        };
        let weight = Weight::new(bytes, weight(encoded_len));
        Self { position, guild_id, body, after, newest: Weak::new(), rendered: OnceLock::new(), weight }
    }

    /// An entry without a position, for sessions that have a connection now.
    pub(crate) fn ephemeral(
        guild_id: GuildId,
        body: Body,
        newest: &Arc<Snapshot>,
        bytes: &ByteGauge,
    ) -> Self {
        Self { newest: Arc::downgrade(newest), ..Self::new(0, Some(guild_id), body, None, bytes) }
    }

    /// The state that visibility is decided by, if the entry has one.
    pub(crate) fn state(&self) -> Option<Arc<Snapshot>> {
        self.after.clone().or_else(|| self.newest.upgrade())
    }

    /// Bytes counted for it so far; rendering adds to them.
    pub(crate) fn weight(&self) -> usize {
        self.weight.get()
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        match &self.body {
            Body::Change(publication) => Some(&publication.record),
            Body::LostInGuild | Body::LostInDirect(_) | Body::LostAnywhere => None,
        }
    }

    /// True if it belongs to a direct message of this user.
    pub(crate) fn is_direct_of(&self, user_id: UserId) -> bool {
        let recipient_ids = match &self.body {
            Body::Change(publication) if self.guild_id.is_none() => &publication.record.recipient_ids,
            Body::LostInDirect(recipient_ids) => recipient_ids,
            Body::Change(_) | Body::LostInGuild | Body::LostAnywhere => return false,
        };
        recipient_ids.contains(&user_id.get())
    }

    pub(crate) fn change(&self) -> Option<&Change> {
        self.record().and_then(|record| record.change.as_ref())
    }

    /// True if it belongs to a channel's history and its revision is at most `rev`.
    pub(crate) fn is_message_up_to(&self, rev: u64) -> bool {
        self.record().is_some_and(|record| {
            let kind = record.change.as_ref().map(ChangeKind::of);
            kind == Some(ChangeKind::History) && record.rev <= rev
        })
    }

    /// The event. It is rendered by the first caller.
    pub(crate) fn dispatch(&self) -> Option<&DispatchedEvent> {
        self.rendered
            .get_or_init(|| {
                let Body::Change(publication) = &self.body else { return None };
                let Publication { record, context, .. } = &**publication;
                let rendered = dispatch(record, context.as_ref())?;
                self.weight.grow(rendered.data().len());
                Some(Box::new(rendered))
            })
            .as_deref()
    }
}

/// The users whose membership a change is about, and whether they are members after it.
pub(crate) fn membership(change: &Change) -> Option<(&[u64], Option<u64>, bool)> {
    match change {
        Change::GuildCreated(created) => Some((&created.member_ids, None, true)),
        Change::MemberAdded(added) | Change::MemberUpdated(added) => {
            Some((&[], Some(added.member.as_ref()?.user_id), true))
        }
        Change::MemberRemoved(removed) => Some((&[], Some(removed.user.as_ref()?.id), false)),
        // Of all members at once, or of none.
        other => {
            debug_assert_ne!(ChangeKind::of(other), ChangeKind::Membership, "{other:?}");
            None
        }
    }
}

/// True if a change is about this user's membership of a guild.
pub(crate) fn is_about(change: &Change, user_id: UserId) -> bool {
    let user_id = user_id.get();
    membership(change).is_some_and(|(many, one, _)| one == Some(user_id) || many.contains(&user_id))
}
