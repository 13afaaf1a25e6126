//! Requests to a scope's turn, and their outcomes.

use tokio::{sync::oneshot, time::Instant};
use weir_proto::{
    data::{self, EventContext, Message},
    id::{ChannelId, MessageId, RoleId, UserId},
    pair::UserPair,
};

use super::{error::ChangeError, plan::Alteration};
use crate::outbox::record::Audience;

/// A created message, or the one that an earlier create with the same nonce made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The row.
    pub message: Message,
    /// True if nothing was written because the nonce was a repetition.
    pub deduplicated: bool,
}

/// Sender of an outcome.
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

/// A change of one message.
pub(crate) struct AlterOp {
    pub(crate) message_id: MessageId,
    pub(crate) plan: Box<dyn Alteration>,
    pub(crate) context: Option<EventContext>,
    pub(crate) audience: Audience,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<Altered>,
}

/// Result of a change of one message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Altered {
    /// The row after the change; the row before, if the message was removed.
    pub(crate) message: Message,
    /// The revision of the change, or of the row that was left as it is.
    pub(crate) rev: u64,
    /// False if the message was as asked already.
    pub(crate) changed: bool,
}

/// The removal of several messages in one step.
pub(crate) struct BulkOp {
    /// Ascending, each once; at most as many as a request may name.
    pub(crate) message_ids: Vec<MessageId>,
    pub(crate) context: Option<EventContext>,
    pub(crate) audience: Audience,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<Removed>,
}

/// Result of a removal of several messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The removal's revision, or the channel's last one if none of the messages existed.
    pub(crate) rev: u64,
    /// The messages that existed, ascending.
    pub(crate) message_ids: Vec<MessageId>,
}

/// Rows with ids from the past.
pub(crate) struct ImportOp {
    pub(crate) messages: Vec<Message>,
    pub(crate) answer: Answer<u32>,
}

impl ImportOp {
    /// Bytes that the import holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(message_bytes).sum()
    }
}

/// What an import makes of a guild.
pub(crate) struct ImportGuildOp {
    /// Its guild, role and channels; none in a call that adds authors only.
    pub(crate) founding: Option<(data::Guild, data::Role, Vec<data::Channel>)>,
    /// Authors and their memberships, by rising user id.
    pub(crate) authors: Vec<(data::User, data::Member)>,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<()>,
}

/// A change of a guild or of its channels, roles or members.
#[derive(Debug, Clone)]
pub(crate) enum GuildChange {
    Create(Box<data::CreateGuildRequest>),
    Delete,
    PutChannel(data::Channel),
    DeleteChannel(ChannelId),
    PutRole(data::Role),
    DeleteRole(RoleId),
    PutMember(data::Member),
    UpdateMember(MemberUpdate),
    DeleteMember(UserId),
}

impl GuildChange {
    /// The user whose membership changes, if one does.
    pub(crate) fn member_id(&self) -> Option<UserId> {
        match self {
            Self::PutMember(member) => UserId::try_from(member.user_id).ok(),
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

/// Changes of an existing member, as set operations on the row that the turn finds.
#[derive(Debug, Clone)]
pub(crate) struct MemberUpdate {
    pub(crate) user_id: UserId,
    /// Roles, raw as in the member's row: one that the guild does not have is refused, whatever its number.
    pub(crate) add_role_ids: Vec<u64>,
    pub(crate) remove_role_ids: Vec<u64>,
}

/// Answer to a guild's change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuildAnswer {
    Created { state: data::GuildState, members: Vec<data::Member> },
    Channel(data::Channel),
    Role(data::Role),
    Member(data::Member, Option<data::User>),
    Done,
}

/// A guild's change that waits for its turn.
pub(crate) struct GuildOp {
    pub(crate) change: GuildChange,
    /// Preconditions: the rows on which the caller's decision rests.
    pub(crate) basis: data::Basis,
    /// Newest message of the channel that is changed or deleted, as read before; `None` if there is none or
    /// it is not known.
    pub(crate) last_message_id: Option<MessageId>,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<GuildAnswer>,
}

/// A request to open a pair's direct messages.
pub(crate) struct OpenOp {
    pub(crate) pair: UserPair,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<data::Channel>,
}

/// A request to make the channel of a pair's direct messages, in the channel's own turn.
pub(crate) struct MakeOp {
    pub(crate) pair: UserPair,
    /// Both users.
    pub(crate) users: Vec<data::User>,
    pub(crate) accepted_at_us: u64,
    pub(crate) deadline: Instant,
    pub(crate) answer: Answer<data::Channel>,
    /// Dropped at the end of the turn, which is later than the answer if the commit is in doubt.
    pub(crate) over: oneshot::Sender<std::convert::Infallible>,
}

/// One entry of a scope's queue.
pub(crate) enum Op {
    Create(Box<CreateOp>),
    Alter(Box<AlterOp>),
    Bulk(Box<BulkOp>),
    Import(ImportOp),
    ImportGuild(Box<ImportGuildOp>),
    Guild(Box<GuildOp>),
    Open(OpenOp),
    Make(Box<MakeOp>),
}

/// Bytes of a row beside its text: ids, revisions, framing. Measured on encoded rows of the chat schema: 60
/// to 110.
const ROW_BYTES: usize = 128;

/// Bytes that a message counts for, in queues and batches.
pub(crate) fn message_bytes(message: &Message) -> usize {
    // A reaction's count: an emoji, a slot, framing.
    let reactions = message.reactions.len() * 40;
    ROW_BYTES + message.content.len() + message.embeds_json.len() + message.nonce.len() + reactions
}

impl Op {
    /// Bytes that the entry counts for in its queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Create(op) => message_bytes(&op.message),
            Self::Alter(op) => ROW_BYTES + op.plan.bytes(),
            Self::Bulk(op) => ROW_BYTES + op.message_ids.len() * size_of::<MessageId>(),
            Self::Import(op) => op.bytes(),
            Self::ImportGuild(op) => {
                let channels = op.founding.as_ref().map_or(0, |(_, _, channels)| channels.len());
                let names: usize = op.authors.iter().map(|(user, _)| user.username.len()).sum();
                ROW_BYTES * (2 + channels + 2 * op.authors.len()) + names
            }
            Self::Guild(op) => {
                let data::Basis { roles, channels, members } = &op.basis;
                ROW_BYTES * 8 + (roles.len() + channels.len() + members.len()) * size_of::<data::RowSeen>()
            }
            Self::Open(_) => ROW_BYTES,
            Self::Make(_) => ROW_BYTES * 4,
        }
    }
}
