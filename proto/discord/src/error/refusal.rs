//! The data service's refusals in Discord's terms: a channel's limit becomes a shared 429, a full guild
//! Discord's own 400, and everything else a 503.

use std::time::Duration;

use weir_proto::data::{Refusal, RefusalReason};

use super::{ApiError, RateLimitScope, RateLimited};

/// The wait that a client gets if a limit refused without naming one. The number is a choice: clients that
/// count whole seconds wait one second anyway.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

impl From<&Refusal> for ApiError {
    fn from(refusal: &Refusal) -> Self {
        let wait = (refusal.retry_after_ms != 0).then(|| Duration::from_millis(refusal.retry_after_ms));
        match refusal.reason() {
            RefusalReason::RequestLimit
            | RefusalReason::DatabaseReadLimit
            | RefusalReason::WriteLimit
            | RefusalReason::Concurrency => Self::RateLimited(RateLimited {
                retry_after: wait.unwrap_or(RETRY_AFTER_UNKNOWN),
                scope: RateLimitScope::Shared,
                code: None,
            }),
            RefusalReason::Conflict => Self::Contended,
            // Only bulk deletions change several rows. It is not a 429, because clients would wait and send
            // the same again.
            RefusalReason::WriteBurst => Self::BulkDeleteCount,
            RefusalReason::NotAllowed => Self::MissingPermissions,
            RefusalReason::MessageReactions => Self::ReactionLimit,
            RefusalReason::ChannelPins => Self::PinLimit,
            RefusalReason::GuildChannels => Self::ChannelLimit,
            RefusalReason::GuildRoles => Self::RoleLimit,
            RefusalReason::GuildOverwrites => Self::OverwriteLimit,
            RefusalReason::OwnedGuilds => Self::OwnedGuildLimit,
            RefusalReason::Unspecified
            | RefusalReason::Overloaded
            | RefusalReason::DatabaseUnavailable
            // This request was not tried, so its own outcome is known: it did not happen.
            | RefusalReason::UnresolvedWrite
            | RefusalReason::NotOwner
            | RefusalReason::Clock
            | RefusalReason::Stopping => Self::Overloaded { retry_after: wait },
        }
    }
}
