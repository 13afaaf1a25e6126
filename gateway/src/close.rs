//! Close codes: what a client is told when the gateway closes its connection.

use std::borrow::Cow;

/// Why the gateway closes a connection.
///
/// Client libraries stop for good at a code that is not resumable, so a fault of ours is always
/// [`CloseCode::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// A fault of ours, a client that reads too slowly, or a gateway that is stopping. The client may resume.
    Unknown = 4000,
    /// An opcode that does not exist or that only servers send.
    UnknownOpcode = 4001,
    /// A payload that is too long, not JSON, or not of its opcode's shape.
    Decode = 4002,
    /// A payload that needs an identified session came before one.
    NotAuthenticated = 4003,
    /// The token is not one of ours.
    AuthenticationFailed = 4004,
    /// Identify or resume on a connection that has a session.
    AlreadyAuthenticated = 4005,
    /// A resume from a number that was never sent.
    InvalidSequence = 4007,
    /// More payloads than a connection may send.
    RateLimited = 4008,
    /// No heartbeat in time, or no identify after connecting.
    SessionTimedOut = 4009,
    /// A shard that cannot exist.
    InvalidShard = 4010,
    /// More guilds than one session may hold; the bot must shard.
    ShardingRequired = 4011,
    /// A gateway version or encoding that is not served.
    InvalidVersion = 4012,
    /// Unknown intent bits, or no intents.
    InvalidIntents = 4013,
    /// Privileged intents that were not granted.
    DisallowedIntents = 4014,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }
}

/// A close: the code, and a text for the reader of the client's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}", code.number())]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    /// At most 123 bytes, as a close frame allows.
    pub reason: Cow<'static, str>,
}

/// Bytes that a close frame has for its reason: 125 for a control frame, less two for the code.
const REASON_MAX: usize = 123;

impl Close {
    /// A close with a reason, cut at the last character that fits a close frame.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > REASON_MAX {
            let mut text = reason.into_owned();
            text.truncate(text.floor_char_boundary(REASON_MAX));
            reason = Cow::Owned(text);
        }
        Self { code, reason }
    }

    /// A fault of ours: 4000, after which the client resumes.
    #[must_use]
    pub fn fault(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CloseCode::Unknown, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_discords() {
        let numbers = [
            (CloseCode::Unknown, 4000),
            (CloseCode::UnknownOpcode, 4001),
            (CloseCode::Decode, 4002),
            (CloseCode::NotAuthenticated, 4003),
            (CloseCode::AuthenticationFailed, 4004),
            (CloseCode::AlreadyAuthenticated, 4005),
            (CloseCode::InvalidSequence, 4007),
            (CloseCode::RateLimited, 4008),
            (CloseCode::SessionTimedOut, 4009),
            (CloseCode::InvalidShard, 4010),
            (CloseCode::ShardingRequired, 4011),
            (CloseCode::InvalidVersion, 4012),
            (CloseCode::InvalidIntents, 4013),
            (CloseCode::DisallowedIntents, 4014),
        ];
        for (code, number) in numbers {
            assert_eq!(code.number(), number, "{code:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let close = Close::fault("é".repeat(100));
        assert_eq!(close.reason.len(), 122);
        assert_eq!(Close::fault("short").reason, "short");
    }
}
