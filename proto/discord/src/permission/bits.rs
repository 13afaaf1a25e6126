//! The permission bits, written as a decimal string.

use std::{
    fmt,
    ops::{BitAnd, BitOr, BitOrAssign, Not},
    str::FromStr,
};

use serde::{Serialize, Serializer};

/// A set of permissions. Bits without a meaning grant nothing; rows of earlier versions may hold some.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(pub u64);

/// The text is not a decimal number below 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("permissions are a decimal number below 2^64")]
pub struct ParsePermissionsError;

macro_rules! permissions {
    ($($name:ident = $bit:literal, $doc:literal;)*) => {
        impl Permissions {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*
            /// Every bit that has a meaning: what owners and administrators hold.
            pub const ALL: Self = Self($(1 << $bit)|*);
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

permissions! {
    CREATE_INSTANT_INVITE = 0, "Create invites.";
    KICK_MEMBERS = 1, "Remove members.";
    BAN_MEMBERS = 2, "Ban members.";
    ADMINISTRATOR = 3, "Everything, past all overwrites.";
    MANAGE_CHANNELS = 4, "Create, change and delete channels.";
    MANAGE_GUILD = 5, "Change the guild.";
    ADD_REACTIONS = 6, "Add a reaction of a new kind.";
    VIEW_AUDIT_LOG = 7, "Read the audit log.";
    PRIORITY_SPEAKER = 8, "Be heard above others.";
    STREAM = 9, "Go live.";
    VIEW_CHANNEL = 10, "See a channel; without it, nothing else there.";
    SEND_MESSAGES = 11, "Send messages in a channel, not in threads.";
    SEND_TTS_MESSAGES = 12, "Send messages that are read aloud.";
    MANAGE_MESSAGES = 13, "Delete other people's messages.";
    EMBED_LINKS = 14, "Have links and embeds shown.";
    ATTACH_FILES = 15, "Upload files.";
    READ_MESSAGE_HISTORY = 16, "Read messages of the past.";
    MENTION_EVERYONE = 17, "Mention everyone, and roles that are not mentionable.";
    USE_EXTERNAL_EMOJIS = 18, "Use other guilds' emoji.";
    VIEW_GUILD_INSIGHTS = 19, "See the guild's statistics.";
    CONNECT = 20, "Join a voice channel.";
    SPEAK = 21, "Speak.";
    MUTE_MEMBERS = 22, "Mute members.";
    DEAFEN_MEMBERS = 23, "Deafen members.";
    MOVE_MEMBERS = 24, "Move members between voice channels.";
    USE_VAD = 25, "Speak without a key pressed.";
    CHANGE_NICKNAME = 26, "Change one's own nickname.";
    MANAGE_NICKNAMES = 27, "Change others' nicknames.";
    MANAGE_ROLES = 28, "Create, change and grant roles below one's own.";
    MANAGE_WEBHOOKS = 29, "Manage webhooks.";
    MANAGE_GUILD_EXPRESSIONS = 30, "Manage emoji, stickers and sounds.";
    USE_APPLICATION_COMMANDS = 31, "Use commands.";
    REQUEST_TO_SPEAK = 32, "Ask to speak on a stage.";
    MANAGE_EVENTS = 33, "Manage scheduled events.";
    MANAGE_THREADS = 34, "Manage threads and see private ones.";
    CREATE_PUBLIC_THREADS = 35, "Create public threads.";
    CREATE_PRIVATE_THREADS = 36, "Create private threads.";
    USE_EXTERNAL_STICKERS = 37, "Use other guilds' stickers.";
    SEND_MESSAGES_IN_THREADS = 38, "Send messages in threads.";
    USE_EMBEDDED_ACTIVITIES = 39, "Use activities.";
    MODERATE_MEMBERS = 40, "Time members out.";
    VIEW_CREATOR_MONETIZATION_ANALYTICS = 41, "See the creator's income.";
    USE_SOUNDBOARD = 42, "Use sounds.";
    CREATE_GUILD_EXPRESSIONS = 43, "Create emoji, stickers and sounds.";
    CREATE_EVENTS = 44, "Create scheduled events.";
    USE_EXTERNAL_SOUNDS = 45, "Use other guilds' sounds.";
    SEND_VOICE_MESSAGES = 46, "Send voice messages.";
    SET_VOICE_CHANNEL_STATUS = 48, "Set a voice channel's status.";
    SEND_POLLS = 49, "Send polls.";
    USE_EXTERNAL_APPS = 50, "Use apps that are not in the guild.";
    PIN_MESSAGES = 51, "Pin messages.";
    BYPASS_SLOWMODE = 52, "Not be slowed down.";
}

impl Permissions {
    /// No permission.
    pub const NONE: Self = Self(0);

    /// True if every permission of `other` is held.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if some permission of `other` is held.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The permissions of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Permissions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Permissions {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Permissions {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Self::NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| name))
            .finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl FromStr for Permissions {
    type Err = ParsePermissionsError;
    fn from_str(text: &str) -> Result<Self, ParsePermissionsError> {
        // The check is needed because `u64::from_str` accepts a leading plus sign.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParsePermissionsError);
        }
        text.parse().map(Self).map_err(|_| ParsePermissionsError)
    }
}
