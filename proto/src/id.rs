//! Snowflakes (ids that carry their creation time), and newtypes that keep one kind of id from being passed
//! for another.

use std::{fmt, num::NonZeroU64, str::FromStr};

/// Milliseconds between 1970-01-01T00:00Z and 2015-01-01T00:00Z, the epoch of snowflakes. It is Discord's,
/// and client libraries compute with it.
pub const EPOCH_MS: u64 = 1_420_070_400_000;
/// Bits of the worker number.
pub const WORKER_BITS: u32 = 10;
/// Bits of the sequence within one millisecond of one worker.
pub const SEQUENCE_BITS: u32 = 12;
/// Bound of worker numbers: all are below it.
pub(crate) const WORKERS: u16 = 1 << WORKER_BITS;
/// Bound of sequence numbers: all are below it.
pub const SEQUENCES: u16 = 1 << SEQUENCE_BITS;
/// Worker number of every imported message, and of no other. No live worker has it, so an id shows that its
/// message was imported, whatever any clock shows.
pub const IMPORT_WORKER: u16 = 1_022;

/// A 64-bit id: 42 bits of milliseconds since [`EPOCH_MS`], 10 bits of worker, 12 bits of sequence. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snowflake(NonZeroU64);

/// Why a number or text is not a snowflake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnowflakeError {
    /// 0 is never an id, because some client libraries hold ids in types that have no 0.
    #[error("an id is never 0")]
    Zero,
    /// The text is not a decimal number below 2^64.
    #[error("an id is a decimal number below 2^64")]
    NotANumber,
}

impl Snowflake {
    /// The id made of its three parts; `None` if a part is out of range or all are 0.
    #[must_use]
    pub fn from_parts(unix_ms: u64, worker: u16, sequence: u16) -> Option<Self> {
        let since = unix_ms.checked_sub(EPOCH_MS)?;
        if since >= 1 << 42 || worker >= WORKERS || sequence >= SEQUENCES {
            return None;
        }
        let raw =
            since << (WORKER_BITS + SEQUENCE_BITS) | u64::from(worker) << SEQUENCE_BITS | u64::from(sequence);
        NonZeroU64::new(raw).map(Self)
    }

    /// The raw number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Milliseconds since 1970-01-01T00:00Z at which the id was made.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        unix_ms(self.get())
    }

    /// The number of the worker that made the id.
    #[must_use]
    pub fn worker(self) -> u16 {
        (self.get() >> SEQUENCE_BITS) as u16 & (WORKERS - 1)
    }

    /// The place of the id among those that one worker made in one millisecond.
    #[must_use]
    pub fn sequence(self) -> u16 {
        self.get() as u16 & (SEQUENCES - 1)
    }
}

/// Milliseconds since 1970-01-01T00:00Z of a raw snowflake.
#[must_use]
pub fn unix_ms(raw: u64) -> u64 {
    (raw >> (WORKER_BITS + SEQUENCE_BITS)) + EPOCH_MS
}

/// True for a raw snowflake that an import derived, as opposed to one that a channel's owner made.
#[must_use]
pub fn is_imported(raw: u64) -> bool {
    (raw >> SEQUENCE_BITS) as u16 & (WORKERS - 1) == IMPORT_WORKER
}

impl TryFrom<u64> for Snowflake {
    type Error = SnowflakeError;
    fn try_from(raw: u64) -> Result<Self, SnowflakeError> {
        NonZeroU64::new(raw).map(Self).ok_or(SnowflakeError::Zero)
    }
}

impl FromStr for Snowflake {
    type Err = SnowflakeError;
    fn from_str(text: &str) -> Result<Self, SnowflakeError> {
        // `u64::from_str` accepts a leading plus sign; an id has none.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SnowflakeError::NotANumber);
        }
        text.parse::<u64>().map_err(|_| SnowflakeError::NotANumber)?.try_into()
    }
}

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Snowflake);

        impl $name {
            /// The raw number.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }
        }
        impl TryFrom<u64> for $name {
            type Error = SnowflakeError;
            fn try_from(raw: u64) -> Result<Self, SnowflakeError> {
                Snowflake::try_from(raw).map(Self)
            }
        }
        impl FromStr for $name {
            type Err = SnowflakeError;
            fn from_str(text: &str) -> Result<Self, SnowflakeError> {
                text.parse().map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(/// A channel.
    ChannelId);
id!(/// A message; unique and rising within its channel.
    MessageId);
id!(/// A guild; also the id of its @everyone role.
    GuildId);
id!(/// A user or bot.
    UserId);
id!(/// A role of a guild.
    RoleId);

/// A scope: the channel, guild or user whose changes are made one after another. It prints as its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeId {
    /// A channel with its messages.
    Channel(ChannelId),
    /// A guild with its channels, roles and members.
    Guild(GuildId),
    /// A user, in whose scope its direct messages are opened.
    User(UserId),
}

impl ScopeId {
    /// The id without its kind, as tokens of freshness and requests for changes carry it.
    #[must_use]
    pub fn id(self) -> Snowflake {
        match self {
            Self::Channel(id) => id.0,
            Self::Guild(id) => id.0,
            Self::User(id) => id.0,
        }
    }

    /// The raw number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.id().get()
    }

    /// True for a channel's scope.
    #[must_use]
    pub fn is_channel(self) -> bool {
        matches!(self, Self::Channel(_))
    }
}

impl From<ChannelId> for ScopeId {
    fn from(id: ChannelId) -> Self {
        Self::Channel(id)
    }
}

impl From<GuildId> for ScopeId {
    fn from(id: GuildId) -> Self {
        Self::Guild(id)
    }
}

impl From<UserId> for ScopeId {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_survive_the_round_trip(ms in 0..(1_u64 << 42), worker in 0..WORKERS, sequence in 0..SEQUENCES) {
            prop_assume!(ms | u64::from(worker) | u64::from(sequence) != 0);
            let id = Snowflake::from_parts(ms + EPOCH_MS, worker, sequence).expect("in range");
            prop_assert_eq!((id.unix_ms(), id.worker(), id.sequence()), (ms + EPOCH_MS, worker, sequence));
            prop_assert_eq!(id.to_string().parse::<Snowflake>(), Ok(id));
        }

        #[test]
        fn order_is_time_then_worker_then_sequence(a in any::<(u32, u16, u16)>(), b in any::<(u32, u16, u16)>()) {
            let id = |(ms, w, s): (u32, u16, u16)| {
                Snowflake::from_parts(u64::from(ms) + EPOCH_MS + 1, w % WORKERS, s % SEQUENCES).expect("in range")
            };
            let key = |(ms, w, s): (u32, u16, u16)| (ms, w % WORKERS, s % SEQUENCES);
            prop_assert_eq!(id(a).cmp(&id(b)), key(a).cmp(&key(b)));
        }
    }

    #[test]
    fn zero_signs_and_junk_are_refused() {
        assert_eq!("0".parse::<Snowflake>(), Err(SnowflakeError::Zero));
        for text in ["", "+1", "-1", " 1", "1a", "18446744073709551616"] {
            assert!(text.parse::<Snowflake>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_known_discord_id_has_its_known_time() {
        // The worked example of Discord's public reference: 175928847299117063 was made at
        // 2016-04-30T11:18:25.796Z.
        let id: Snowflake = "175928847299117063".parse().expect("a number");
        assert_eq!((id.unix_ms(), id.worker(), id.sequence()), (1_462_015_105_796, 32, 7));
    }
}
