//! What the change of a record is about. Code that need not know each change asks for its kind, so a new
//! change is sorted in here once.

use crate::event::record::Change;

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A channel's history: its messages, and what hangs on them.
    History,
    /// Something that is told and not kept.
    Ephemeral,
    /// A guild as a whole.
    Guild,
    /// A channel or a role, on which rights depend.
    Rights,
    /// A membership.
    Membership,
    /// Nothing: records were lost.
    Loss,
}

impl ChangeKind {
    /// The kind of a change.
    #[must_use]
    pub fn of(change: &Change) -> Self {
        match change {
            Change::MessageCreated(_)
            | Change::MessageEdited(_)
            | Change::MessageDeleted(_)
            | Change::MessagesDeleted(_)
            | Change::PinsChanged(_)
            | Change::ReactionAdded(_)
            | Change::ReactionRemoved(_)
            | Change::ReactionsCleared(_) => Self::History,
            Change::Typing(_) => Self::Ephemeral,
            Change::GuildCreated(_) | Change::GuildDeleted(_) => Self::Guild,
            Change::ChannelCreated(_)
            | Change::ChannelUpdated(_)
            | Change::ChannelDeleted(_)
            | Change::RoleCreated(_)
            | Change::RoleUpdated(_)
            | Change::RoleDeleted(_) => Self::Rights,
            Change::MemberAdded(_) | Change::MemberUpdated(_) | Change::MemberRemoved(_) => Self::Membership,
            Change::RecordsLost(_) => Self::Loss,
        }
    }
}
