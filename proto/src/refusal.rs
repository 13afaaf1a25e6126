//! Causes of refusals, and the words for refusals in metrics and logs.

use crate::data::RefusalReason;

/// The cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The request: it met a limit that somebody set, another caller's change, or a guild or user that has
    /// all it may have. Nothing is wrong with the service.
    Request,
    /// The data service: it is full, is stopping, does not own the channel, or has no clock that it can
    /// trust.
    Service,
    /// The database: it does not answer, or the outcome of an earlier write is not known yet.
    Database,
}

impl RefusalReason {
    /// The cause of the refusal.
    #[must_use]
    pub const fn cause(self) -> RefusalCause {
        match self {
            Self::RequestLimit
            | Self::DatabaseReadLimit
            | Self::WriteLimit
            | Self::WriteBurst
            | Self::Concurrency
            | Self::Conflict
            | Self::GuildChannels
            | Self::GuildRoles
            | Self::GuildOverwrites
            | Self::OwnedGuilds
            | Self::ChannelPins
            | Self::MessageReactions
            | Self::NotAllowed => RefusalCause::Request,
            // A later version of the service may name reasons that this one does not know; they arrive as
            // `Unspecified`.
            Self::Unspecified | Self::Overloaded | Self::NotOwner | Self::Clock | Self::Stopping => {
                RefusalCause::Service
            }
            Self::DatabaseUnavailable | Self::UnresolvedWrite => RefusalCause::Database,
        }
    }

    /// The refusal's word in metrics and logs. It is the value of a label, so it never changes.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::RequestLimit => "request_limit",
            Self::DatabaseReadLimit => "database_read_limit",
            Self::WriteLimit => "write_limit",
            Self::Concurrency => "concurrency",
            Self::Overloaded => "overloaded",
            Self::DatabaseUnavailable => "database_unavailable",
            Self::UnresolvedWrite => "unresolved_write",
            Self::NotOwner => "not_owner",
            Self::Clock => "clock",
            Self::Stopping => "stopping",
            Self::Conflict => "conflict",
            Self::GuildChannels => "guild_channels",
            Self::GuildRoles => "guild_roles",
            Self::GuildOverwrites => "guild_overwrites",
            Self::OwnedGuilds => "owned_guilds",
            Self::WriteBurst => "write_burst",
            Self::ChannelPins => "channel_pins",
            Self::MessageReactions => "message_reactions",
            Self::NotAllowed => "not_allowed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_contracts_names_in_small_letters() {
        let reasons: Vec<_> = (0..).map_while(|number| RefusalReason::try_from(number).ok()).collect();
        assert!(reasons.len() >= 17);
        for reason in reasons {
            assert_eq!(format!("refusal_reason_{}", reason.label()), reason.as_str_name().to_lowercase());
        }
    }
}
