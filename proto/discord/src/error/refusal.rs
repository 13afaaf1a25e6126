//! The data service's refusals in Discord's terms: a channel's limit is a shared 429, a full guild Discord's own 400, all else a 503.

use std::time::Duration;

use weir_proto::data::{Refusal, RefusalReason};

use super::{ApiError, RateLimitScope, RateLimited};

/// Wait told to the client if a limit refused without saying when to come back. Number: a choice; one second is what whole-second clients
/// wait anyway.
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
            // Only deletions in bulk change several rows. Not a 429: clients would wait and send the same again.
            RefusalReason::WriteBurst => Self::BulkDeleteCount,
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
