//! Why a change has no result, and the maxima that are a reason.

use std::time::Duration;

use weir_proto::data::RefusalReason;

use crate::ownership::{NotOwner, mint::MintError};

/// Maximum channels of a guild; Discord's bound (error 30013).
pub(crate) const CHANNELS_MAX: usize = 500;
/// Maximum roles of a guild; Discord's bound (error 30005).
pub(crate) const ROLES_MAX: usize = 250;
/// Maximum overwrites of all channels of a guild together. We chose 20 for each of as many channels as there
/// may be: 300 KB of a guild's state, which every gateway keeps, every change copies and GUILD_CREATE shows.
/// Discord bounds only those of one channel (error 30060).
pub(crate) const OVERWRITES_MAX: usize = 10_000;
/// Maximum pinned messages of a channel; Discord's bound (error 30003).
pub(crate) const PINS_MAX: usize = 250;
/// Maximum emojis with which users reacted to a message; Discord's bound (error 30010).
pub(crate) const REACTIONS_MAX: usize = 20;
/// Guilds that one user may own. Discord lets a paying account be in this many guilds, and own all of them;
/// its bots may create guilds only while they are in fewer than 10.
pub(crate) const OWNED_MAX: usize = 200;

/// Reasons to refuse a change before it was made: nothing happened, and the same change may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The scope's queue is full.
    #[error("too many changes wait for this channel")]
    Overloaded,
    /// The table of scopes has no place for another one: all that it could evict have changes under way.
    #[error("too many channels have changes under way at once")]
    TableFull,
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Database(String),
    /// This node does not own the scope.
    #[error("this node does not own the channel now")]
    NotOwner,
    /// The next ids would run ahead of the clock.
    #[error(transparent)]
    ClockBehind(MintError),
    /// The node's clock is wrong.
    #[error(transparent)]
    ClockOff(NotOwner),
    /// The change exceeds a limit.
    #[error("over the limit {limit}")]
    Limit {
        /// Name of the limit.
        limit: String,
        /// Kind of limit.
        reason: RefusalReason,
        /// Wait before the next attempt.
        retry_after: Duration,
    },
}

/// Reasons why a change has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The change was refused before anything was done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The row to change does not exist.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A row on which the caller's decision rests has changed since it was read; nothing was done.
    #[error("a {0} was changed since it was looked at")]
    Conflict(&'static str),
    /// The guild or channel has the maximum of this kind; nothing was done.
    #[error(transparent)]
    Maximum(#[from] Maximum),
    /// The user owns the maximum of guilds; nothing was done.
    #[error("a user owns at most {OWNED_MAX} guilds")]
    OwnedGuilds,
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The user's permissions, as the caller gave them, do not allow the change of what the turn found.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The deadline passed while the change waited; it was not made.
    #[error("the deadline passed before the change was made")]
    Deadline,
    /// The change was sent to the database, and its outcome is not known yet.
    #[error("the outcome of the change is not known")]
    OutcomeUnknown,
}

impl ChangeError {
    /// True if the change was certainly not made and never will be.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::Maximum(_)
            | Self::OwnedGuilds
            | Self::Invalid(_)
            | Self::NotAllowed(_)
            | Self::Deadline => true,
            Self::OutcomeUnknown => false,
        }
    }
}

/// The kind of which a guild or channel has the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Maximum {
    /// Channels.
    #[error("a guild has at most {CHANNELS_MAX} channels")]
    Channels,
    /// Roles.
    #[error("a guild has at most {ROLES_MAX} roles")]
    Roles,
    /// Overwrites of all channels together.
    #[error("a guild's channels have at most {OVERWRITES_MAX} overwrites together")]
    Overwrites,
    /// Pinned messages of a channel.
    #[error("a channel has at most {PINS_MAX} pinned messages")]
    Pins,
    /// Emojis with which users reacted to a message.
    #[error("a message has reactions with at most {REACTIONS_MAX} emojis")]
    Reactions,
}

impl Maximum {
    /// The refusal reason that callers get.
    #[must_use]
    pub fn reason(self) -> RefusalReason {
        match self {
            Self::Channels => RefusalReason::GuildChannels,
            Self::Roles => RefusalReason::GuildRoles,
            Self::Overwrites => RefusalReason::GuildOverwrites,
            Self::Pins => RefusalReason::ChannelPins,
            Self::Reactions => RefusalReason::MessageReactions,
        }
    }
}
