//! Gateway events and the intents that gate them.

use std::{fmt, ops::BitOr};

/// A set of gateway intents: what a session asked for in Identify.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Intents(u64);

/// Identify named intent bits that do not exist: close code 4013.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown intent bits {bits:#x}")]
pub struct UnknownIntents {
    /// The bits without a meaning.
    pub bits: u64,
}

macro_rules! intents {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Intents {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// Every bit that has a meaning.
            pub const ALL: Self = Self($(1 << $bit)|*);
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

intents! {
    /// Guilds, channels, roles.
    GUILDS = 0;
    /// Joins, changes and leaves of members. Privileged.
    GUILD_MEMBERS = 1;
    /// Bans and audit log.
    GUILD_MODERATION = 2;
    /// Emoji, stickers, sounds.
    GUILD_EXPRESSIONS = 3;
    /// Integrations.
    GUILD_INTEGRATIONS = 4;
    /// Webhooks.
    GUILD_WEBHOOKS = 5;
    /// Invites.
    GUILD_INVITES = 6;
    /// Voice states.
    GUILD_VOICE_STATES = 7;
    /// Presences. Privileged.
    GUILD_PRESENCES = 8;
    /// Messages in guilds.
    GUILD_MESSAGES = 9;
    /// Reactions in guilds.
    GUILD_MESSAGE_REACTIONS = 10;
    /// Typing in guilds.
    GUILD_MESSAGE_TYPING = 11;
    /// Direct messages.
    DIRECT_MESSAGES = 12;
    /// Reactions in direct messages.
    DIRECT_MESSAGE_REACTIONS = 13;
    /// Typing in direct messages.
    DIRECT_MESSAGE_TYPING = 14;
    /// Content, embeds, attachments and components of other users' messages. Privileged; it gates fields, not
    /// events.
    MESSAGE_CONTENT = 15;
    /// Scheduled events.
    GUILD_SCHEDULED_EVENTS = 16;
    /// Automatic moderation rules.
    AUTO_MODERATION_CONFIGURATION = 20;
    /// Actions of automatic moderation.
    AUTO_MODERATION_EXECUTION = 21;
    /// Poll votes in guilds.
    GUILD_MESSAGE_POLLS = 24;
    /// Poll votes in direct messages.
    DIRECT_MESSAGE_POLLS = 25;
}

impl Intents {
    /// No intent.
    pub const NONE: Self = Self(0);
    /// Intents that must have been granted to an application. Without the grant, the close code is 4014.
    pub const PRIVILEGED: Self =
        Self(Self::GUILD_MEMBERS.0 | Self::GUILD_PRESENCES.0 | Self::MESSAGE_CONTENT.0);

    /// The set with the bits that a client sent.
    ///
    /// # Errors
    /// [`UnknownIntents`] if a bit has no meaning.
    pub fn from_client(bits: u64) -> Result<Self, UnknownIntents> {
        match bits & !Self::ALL.0 {
            0 => Ok(Self(bits)),
            unknown => Err(UnknownIntents { bits: unknown }),
        }
    }

    /// The raw bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// True if every intent of `other` is in the set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if some intent of `other` is in the set.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The privileged intents of the set that are not in `granted`.
    #[must_use]
    pub fn not_granted(self, granted: Self) -> Self {
        Self(self.0 & Self::PRIVILEGED.0 & !granted.0)
    }
}

impl BitOr for Intents {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Intents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Self::NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| name))
            .finish()
    }
}

/// The dispatch events that Weir sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first dispatch of a session.
    Ready,
    /// The end of a replay.
    Resumed,
    /// A guild became available, or the user joined it.
    GuildCreate,
    /// A guild became unavailable, or the user left it.
    GuildDelete,
    /// A channel was created.
    ChannelCreate,
    /// A channel was changed.
    ChannelUpdate,
    /// A channel was deleted.
    ChannelDelete,
    /// A message was pinned or unpinned.
    ChannelPinsUpdate,
    /// A role was created.
    GuildRoleCreate,
    /// A role was changed.
    GuildRoleUpdate,
    /// A role was deleted.
    GuildRoleDelete,
    /// A user joined a guild.
    GuildMemberAdd,
    /// A member was changed.
    GuildMemberUpdate,
    /// A user left a guild.
    GuildMemberRemove,
    /// The answer to a request for members (op 8).
    GuildMembersChunk,
    /// A message was created.
    MessageCreate,
    /// A message was edited.
    MessageUpdate,
    /// A message was deleted.
    MessageDelete,
    /// Messages were deleted in one step.
    MessageDeleteBulk,
    /// A user reacted to a message.
    MessageReactionAdd,
    /// A reaction was taken back, or removed by a moderator.
    MessageReactionRemove,
    /// All reactions of a message were removed.
    MessageReactionRemoveAll,
    /// All reactions with one emoji were removed.
    MessageReactionRemoveEmoji,
    /// A user started typing.
    TypingStart,
    /// A user's presence changed.
    PresenceUpdate,
}

/// The place of an event, as far as intents distinguish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a guild.
    Guild,
    /// In a direct message.
    Direct,
}

impl Place {
    /// The place for a row's guild id, where 0 means that there is none.
    #[must_use]
    pub fn of(guild_id: u64) -> Self {
        if guild_id == 0 { Self::Direct } else { Self::Guild }
    }
}

impl Event {
    /// The name in the payload's `t`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Resumed => "RESUMED",
            Self::GuildCreate => "GUILD_CREATE",
            Self::GuildDelete => "GUILD_DELETE",
            Self::ChannelCreate => "CHANNEL_CREATE",
            Self::ChannelUpdate => "CHANNEL_UPDATE",
            Self::ChannelDelete => "CHANNEL_DELETE",
            Self::ChannelPinsUpdate => "CHANNEL_PINS_UPDATE",
            Self::GuildRoleCreate => "GUILD_ROLE_CREATE",
            Self::GuildRoleUpdate => "GUILD_ROLE_UPDATE",
            Self::GuildRoleDelete => "GUILD_ROLE_DELETE",
            Self::GuildMemberAdd => "GUILD_MEMBER_ADD",
            Self::GuildMemberUpdate => "GUILD_MEMBER_UPDATE",
            Self::GuildMemberRemove => "GUILD_MEMBER_REMOVE",
            Self::GuildMembersChunk => "GUILD_MEMBERS_CHUNK",
            Self::MessageCreate => "MESSAGE_CREATE",
            Self::MessageUpdate => "MESSAGE_UPDATE",
            Self::MessageDelete => "MESSAGE_DELETE",
            Self::MessageDeleteBulk => "MESSAGE_DELETE_BULK",
            Self::MessageReactionAdd => "MESSAGE_REACTION_ADD",
            Self::MessageReactionRemove => "MESSAGE_REACTION_REMOVE",
            Self::MessageReactionRemoveAll => "MESSAGE_REACTION_REMOVE_ALL",
            Self::MessageReactionRemoveEmoji => "MESSAGE_REACTION_REMOVE_EMOJI",
            Self::TypingStart => "TYPING_START",
            Self::PresenceUpdate => "PRESENCE_UPDATE",
        }
    }

    /// The intents of which a session needs at least one; [`Intents::NONE`] if the event is not gated.
    #[must_use]
    pub fn intents(self, place: Place) -> Intents {
        match (self, place) {
            (Self::Ready | Self::Resumed | Self::GuildMembersChunk, _) => Intents::NONE,
            // Discord announces a direct message's channel to all its users.
            (Self::ChannelCreate, Place::Direct) => Intents::NONE,
            (
                Self::GuildCreate
                | Self::GuildDelete
                | Self::ChannelCreate
                | Self::ChannelUpdate
                | Self::ChannelDelete
                | Self::GuildRoleCreate
                | Self::GuildRoleUpdate
                | Self::GuildRoleDelete,
                _,
            )
            | (Self::ChannelPinsUpdate, Place::Guild) => Intents::GUILDS,
            (Self::GuildMemberAdd | Self::GuildMemberUpdate | Self::GuildMemberRemove, _) => {
                Intents::GUILD_MEMBERS
            }
            (
                Self::MessageCreate | Self::MessageUpdate | Self::MessageDelete | Self::MessageDeleteBulk,
                Place::Guild,
            ) => Intents::GUILD_MESSAGES,
            (
                Self::MessageCreate
                | Self::MessageUpdate
                | Self::MessageDelete
                | Self::MessageDeleteBulk
                | Self::ChannelPinsUpdate,
                Place::Direct,
            ) => Intents::DIRECT_MESSAGES,
            (
                Self::MessageReactionAdd
                | Self::MessageReactionRemove
                | Self::MessageReactionRemoveAll
                | Self::MessageReactionRemoveEmoji,
                place,
            ) => match place {
                Place::Guild => Intents::GUILD_MESSAGE_REACTIONS,
                Place::Direct => Intents::DIRECT_MESSAGE_REACTIONS,
            },
            (Self::TypingStart, Place::Guild) => Intents::GUILD_MESSAGE_TYPING,
            (Self::TypingStart, Place::Direct) => Intents::DIRECT_MESSAGE_TYPING,
            (Self::PresenceUpdate, _) => Intents::GUILD_PRESENCES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_are_named_and_known_ones_kept() {
        assert_eq!(Intents::from_client(1 << 9 | 1), Ok(Intents::GUILDS | Intents::GUILD_MESSAGES));
        assert_eq!(
            Intents::from_client(1 << 17 | 1 << 40 | 1),
            Err(UnknownIntents { bits: 1 << 17 | 1 << 40 })
        );
        assert_eq!(Intents::from_client(Intents::ALL.bits()), Ok(Intents::ALL));
        // A client library that asks for everything sends these bits.
        assert_eq!(Intents::ALL.bits(), 53_608_447);
    }

    #[test]
    fn only_privileged_intents_need_a_grant() {
        let asked = Intents::GUILDS | Intents::MESSAGE_CONTENT | Intents::GUILD_MEMBERS;
        assert_eq!(asked.not_granted(Intents::PRIVILEGED), Intents::NONE);
        assert_eq!(asked.not_granted(Intents::GUILD_MEMBERS), Intents::MESSAGE_CONTENT);
        assert_eq!(Intents::GUILDS.not_granted(Intents::NONE), Intents::NONE);
    }

    #[test]
    fn messages_reactions_and_typing_are_gated_by_place() {
        assert_eq!(Event::MessageDelete.intents(Place::of(5)), Intents::GUILD_MESSAGES);
        assert_eq!(Event::MessageDelete.intents(Place::of(0)), Intents::DIRECT_MESSAGES);
        assert_eq!(Event::TypingStart.intents(Place::Guild), Intents::GUILD_MESSAGE_TYPING);
        for event in [
            Event::MessageReactionAdd,
            Event::MessageReactionRemove,
            Event::MessageReactionRemoveAll,
            Event::MessageReactionRemoveEmoji,
        ] {
            assert_eq!(event.intents(Place::Guild), Intents::GUILD_MESSAGE_REACTIONS);
            assert_eq!(event.intents(Place::Direct), Intents::DIRECT_MESSAGE_REACTIONS);
        }
        assert_eq!(Event::ChannelCreate.intents(Place::Direct), Intents::NONE);
        assert_eq!(Event::ChannelCreate.intents(Place::Guild), Intents::GUILDS);
    }

    #[test]
    fn debug_names_the_intents() {
        assert_eq!(
            format!("{:?}", Intents::GUILDS | Intents::GUILD_MESSAGES),
            "{\"GUILDS\", \"GUILD_MESSAGES\"}"
        );
    }
}
