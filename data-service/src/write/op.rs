//! What can be asked of a scope's turn, and what can be answered.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};
use weir_proto::{
    data::{self, EventContext, Message, RefusalReason},
    pair::UserPair,
};

use crate::{
    outbox::record::Audience,
    ownership::{NotOwner, mint::MintError},
};

/// Channels of a guild; Discord's bound (error 30013).
pub(crate) const CHANNELS_MAX: usize = 500;
/// Roles of a guild; Discord's bound (error 30005).
pub(crate) const ROLES_MAX: usize = 250;
/// Overwrites of all channels of a guild together. A choice: 20 for each of as many channels as there may be, and 300 KB of a guild's state,
/// which every gateway keeps, every change copies and GUILD_CREATE shows. Discord bounds those of a channel only (error 30060).
pub(crate) const OVERWRITES_MAX: usize = 10_000;
/// Guilds that one user may own. Discord's bound of guilds that a paying account may be in, of which it may own all; its bots may found
/// guilds only while they are in fewer than 10.
pub(crate) const OWNED_MAX: usize = 200;

/// Why a change was refused before it was made: nothing happened, the same change may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The scope's queue is full.
    #[error("too many changes wait for this channel")]
    Overloaded,
    /// The table of scopes has no place for another one: all that it could forget have changes under way.
    #[error("too many channels have changes under way at once")]
    TableFull,
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Database(String),
    /// This node does not own the scope.
    #[error("this node does not own the channel now")]
    NotOwner,
    /// Ids would run ahead of the clock.
    #[error(transparent)]
    ClockBehind(MintError),
    /// The clock is off.
    #[error(transparent)]
    ClockOff(NotOwner),
    /// A limit.
    #[error("over the limit {limit}")]
    Limit {
        /// Its name.
        limit: String,
        /// Which kind.
        reason: RefusalReason,
        /// When to come back.
        retry_after: Duration,
    },
}

/// Why a change has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Refused before anything was done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What it would change is not there.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A row on which the caller's decision rests is no longer as it was seen; nothing was done.
    #[error("a {0} was changed since it was looked at")]
    Conflict(&'static str),
    /// The guild has as many as it may have; nothing was done.
    #[error(transparent)]
    GuildFull(#[from] GuildFull),
    /// The user owns as many guilds as it may; nothing was done.
    #[error("a user owns at most {OWNED_MAX} guilds")]
    OwnedGuilds,
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The deadline passed while it waited; it was not done.
    #[error("the deadline passed before the change was made")]
    Deadline,
    /// It was sent to the database and nobody knows yet whether it happened.
    #[error("the outcome of the change is not known")]
    OutcomeUnknown,
}

impl ChangeError {
    /// True if the change was certainly not made, and never will be.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::GuildFull(_)
            | Self::OwnedGuilds
            | Self::Invalid(_)
            | Self::Deadline => true,
            Self::OutcomeUnknown => false,
        }
    }
}

/// What a guild has as many of as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuildFull {
    /// Channels.
    #[error("a guild has at most {CHANNELS_MAX} channels")]
    Channels,
    /// Roles.
    #[error("a guild has at most {ROLES_MAX} roles")]
    Roles,
    /// Overwrites of all channels.
    #[error("a guild's channels have at most {OVERWRITES_MAX} overwrites together")]
    Overwrites,
}

impl GuildFull {
    /// What callers are told.
    #[must_use]
    pub fn reason(self) -> RefusalReason {
        match self {
            Self::Channels => RefusalReason::GuildChannels,
            Self::Roles => RefusalReason::GuildRoles,
            Self::Overwrites => RefusalReason::GuildOverwrites,
        }
    }
}

/// A created message, or the one an earlier creation with the same nonce made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The row.
    pub message: Message,
    /// True if nothing was written.
    pub deduplicated: bool,
}

/// Where an outcome goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, ChangeError>>;

/// A message to append.
pub(crate) struct CreateOp {
    pub(crate) message: Message,
    pub(crate) deduplicate: bool,
    pub(crate) context: Option<EventContext>,
    pub(crate) audience: Audience,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<Created>,
}

/// What a change does to a message that is there.
pub(crate) enum MessageChange {
    Edit(Box<data::EditMessageRequest>, Answer<Message>),
    /// Answers with the removal's revision.
    Delete(Answer<u64>),
}

/// A change of one message.
pub(crate) struct ChangeOp {
    pub(crate) message_id: u64,
    pub(crate) change: MessageChange,
    pub(crate) context: Option<EventContext>,
    pub(crate) audience: Audience,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
}

/// The removal of several messages in one step.
pub(crate) struct BulkOp {
    /// Ascending, each once; at most as many as a request may name.
    pub(crate) message_ids: Vec<u64>,
    pub(crate) context: Option<EventContext>,
    pub(crate) audience: Audience,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<Removed>,
}

/// What a removal of several messages did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The removal's revision, or the channel's last one if nothing was there.
    pub(crate) rev: u64,
    /// The messages that were there, ascending.
    pub(crate) message_ids: Vec<u64>,
}

/// Rows with ids of the past.
pub(crate) struct ImportOp {
    pub(crate) messages: Vec<Message>,
    pub(crate) answer: Answer<u32>,
}

impl ImportOp {
    /// Bytes it holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(message_bytes).sum()
    }
}

/// A change of a guild and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) enum GuildChange {
    Create(Box<data::CreateGuildRequest>),
    Delete,
    PutChannel(data::Channel),
    DeleteChannel(u64),
    PutRole(data::Role),
    DeleteRole(u64),
    PutMember(data::Member),
    UpdateMember(MemberUpdate),
    DeleteMember(u64),
}

impl GuildChange {
    /// The user whose membership it changes, if it changes one.
    pub(crate) fn member_id(&self) -> Option<u64> {
        match self {
            Self::PutMember(member) => Some(member.user_id),
            Self::UpdateMember(update) => Some(update.user_id),
            Self::DeleteMember(user_id) => Some(*user_id),
            Self::Create(_)
            | Self::Delete
            | Self::PutChannel(_)
            | Self::DeleteChannel(_)
            | Self::PutRole(_)
            | Self::DeleteRole(_) => None,
        }
    }
}

/// Changes of a member who is there, as set operations on the row that the turn finds.
#[derive(Debug, Clone)]
pub(crate) struct MemberUpdate {
    pub(crate) user_id: u64,
    pub(crate) add_role_ids: Vec<u64>,
    pub(crate) remove_role_ids: Vec<u64>,
}

/// What a guild's change answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuildAnswer {
    Created { state: data::GuildState, members: Vec<data::Member> },
    Channel(data::Channel),
    Role(data::Role),
    Member(data::Member, Option<data::User>),
    Done,
}

/// A guild's change, waiting.
pub(crate) struct GuildOp {
    pub(crate) change: GuildChange,
    /// What the caller's decision rests on.
    pub(crate) basis: data::Basis,
    /// Of a channel's change or deletion: its newest message, as it was read before; 0 if there is none or it is not known.
    pub(crate) last_message_id: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<GuildAnswer>,
}

/// The opening of a pair's direct messages.
pub(crate) struct OpenOp {
    pub(crate) pair: UserPair,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<data::Channel>,
}

/// The making of the channel of a pair's direct messages, in the channel's own turn.
pub(crate) struct MakeOp {
    pub(crate) pair: UserPair,
    /// Both users.
    pub(crate) users: Vec<data::User>,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<data::Channel>,
    /// Dropped when the turn is over: later than the answer if the commit is in doubt.
    pub(crate) over: oneshot::Sender<std::convert::Infallible>,
}

/// One entry of a scope's queue.
pub(crate) enum Op {
    Create(Box<CreateOp>),
    Change(Box<ChangeOp>),
    Bulk(Box<BulkOp>),
    Import(ImportOp),
    Guild(Box<GuildOp>),
    Open(OpenOp),
    Make(Box<MakeOp>),
}

/// Bytes that a row costs beside its text: ids, revisions, framing. Measured on encoded rows of the chat schema: 60 to 110.
const ROW_BYTES: usize = 128;

/// Bytes that a message counts for, in queues and batches.
pub(crate) fn message_bytes(message: &Message) -> usize {
    ROW_BYTES + message.content.len() + message.embeds_json.len() + message.nonce.len()
}

impl Op {
    /// Bytes that the entry counts for in its queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Create(op) => message_bytes(&op.message),
            Self::Change(op) => match &op.change {
                MessageChange::Edit(request, _) => {
                    ROW_BYTES
                        + request.content.as_ref().map_or(0, String::len)
                        + request.embeds_json.as_ref().map_or(0, String::len)
                }
                MessageChange::Delete(_) => ROW_BYTES,
            },
            Self::Bulk(op) => ROW_BYTES + op.message_ids.len() * size_of::<u64>(),
            Self::Import(op) => op.bytes(),
            Self::Guild(op) => {
                let data::Basis { roles, channels, members } = &op.basis;
                ROW_BYTES * 8 + (roles.len() + channels.len() + members.len()) * size_of::<data::RowSeen>()
            }
            Self::Open(_) => ROW_BYTES,
            Self::Make(_) => ROW_BYTES * 4,
        }
    }
}
