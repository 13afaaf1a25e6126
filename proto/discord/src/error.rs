//! Every refusal of the REST tier, in one enum and one table.
//!
//! [`ApiError::row`] is the only place that knows statuses, codes and messages; one list makes the variants
//! and their rows, so none can be forgotten. Bodies and rate-limit headers follow from it.

mod form;
mod refusal;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

pub use form::{FORM_ERRORS_MAX, FormErrors, Leaf, Path};
use serde::Serialize;

/// The wait that clients get when other changes interfere again and again: the least that `Retry-After` can
/// express, and far longer than a change takes.
const CONTENDED_RETRY: Duration = Duration::from_secs(1);

/// Makes [`ApiError`] of those that hold nothing, each with its row of the table, and of the others.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $status:literal, $code:literal, $message:literal, $label:literal;)*) => {
        /// Why a request was refused, as a Discord client sees it.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ApiError {
            $($(#[$doc])* $name,)*
            /// Fields of the body or query are wrong.
            InvalidForm(FormErrors),
            /// The request is over a limit.
            RateLimited(RateLimited),
            /// The tier, the data service or the database cannot take the request now.
            Overloaded {
                /// How long to wait before the next try, if known.
                retry_after: Option<Duration>,
            },
            /// The service's clock is behind its stored ids, or differs from the database's. Nothing can be
            /// created until it is right.
            ClockWrong {
                /// The service's message: what is wrong with the clock, and by how much.
                message: String,
                /// How long to wait before the next try.
                retry_after: Duration,
            },
        }

        impl ApiError {
            /// The refusal's row of the table.
            #[must_use]
            pub fn row(&self) -> ErrorRow {
                match self {
                    $(Self::$name => row($status, $code, $message, $label),)*
                    Self::InvalidForm(_) => row(400, 50_035, "Invalid Form Body", "invalid_form"),
                    Self::RateLimited(limited) => limited.row(),
                    Self::Overloaded { .. } => {
                        row(503, 130_000, "API resource is currently overloaded. Try again a little later", "overloaded")
                    }
                    Self::ClockWrong { .. } => row(503, 130_000, "The service's clock is wrong", "clock"),
                }
            }
        }
    };
}

refusals! {
    /// No such route.
    UnknownRoute: 404, 0, "404: Not Found", "unknown_route";
    /// The route exists, the method does not.
    MethodNotAllowed: 405, 0, "405: Method Not Allowed", "method_not_allowed";
    /// No token, or an unknown one.
    Unauthorized: 401, 0, "401: Unauthorized", "unauthorized";
    /// The path names an API version other than 9 and 10.
    UnknownApiVersion: 400, 50_041, "Invalid API version provided", "unknown_api_version";
    /// No such channel, or one that the caller may not know of.
    UnknownChannel: 404, 10_003, "Unknown Channel", "unknown_channel";
    /// No such guild.
    UnknownGuild: 404, 10_004, "Unknown Guild", "unknown_guild";
    /// The user is not in the guild.
    UnknownMember: 404, 10_007, "Unknown Member", "unknown_member";
    /// No such message.
    UnknownMessage: 404, 10_008, "Unknown Message", "unknown_message";
    /// No such role.
    UnknownRole: 404, 10_011, "Unknown Role", "unknown_role";
    /// No such user.
    UnknownUser: 404, 10_013, "Unknown User", "unknown_user";
    /// No such overwrite.
    UnknownOverwrite: 404, 10_009, "Unknown Permission Overwrite", "unknown_overwrite";
    /// The caller is not in the guild, or cannot see the channel.
    MissingAccess: 403, 50_001, "Missing Access", "missing_access";
    /// The caller can see it but may not do this.
    MissingPermissions: 403, 50_013, "Missing Permissions", "missing_permissions";
    /// Nobody may do this in a direct message.
    DirectChannel: 403, 50_003, "Cannot execute action on a DM channel", "direct_channel";
    /// The user cannot be sent direct messages.
    CannotMessageUser: 403, 50_007, "Cannot send messages to this user", "cannot_message_user";
    /// The users of a new direct message do not exist.
    InvalidRecipients: 400, 50_033, "Invalid Recipient(s)", "invalid_recipients";
    /// Only the owner may do this.
    OwnerOnly: 403, 20_018, "Only the owner of this account can perform this action", "owner_only";
    /// Only the author may edit.
    EditOtherUser: 403, 50_005, "Cannot edit a message authored by another user", "edit_other_user";
    /// The system wrote the message.
    CannotActOnSystemMessage: 403, 50_021, "Cannot execute action on a system message", "system_message";
    /// A reply without READ_MESSAGE_HISTORY.
    ReplyWithoutHistory: 403, 160_002,
        "Cannot reply without permission to read message history", "reply_without_history";
    /// Nothing to send.
    EmptyMessage: 400, 50_006, "Cannot send an empty message", "empty_message";
    /// The channel holds no messages.
    NonTextChannel: 400, 50_008, "Cannot send messages in a non-text channel", "non_text_channel";
    /// The channel's type does not allow this.
    WrongChannelType: 400, 50_024, "Cannot execute action on this channel type", "wrong_channel_type";
    /// The role cannot be used in this way.
    InvalidRole: 400, 50_028, "Invalid Role", "invalid_role";
    /// Not 2 to 100 messages.
    BulkDeleteCount: 400, 50_016, "Provided too few or too many messages to delete", "bulk_delete_count";
    /// A message is older than two weeks.
    BulkDeleteTooOld: 400, 50_034, "A message provided was too old to bulk delete", "bulk_delete_too_old";
    /// No such emoji.
    UnknownEmoji: 400, 10_014, "Unknown Emoji", "unknown_emoji";
    /// The message has reactions with the most emojis that it may have.
    ReactionLimit: 400, 30_010, "Maximum number of reactions reached (20)", "reaction_limit";
    /// The channel has the most pinned messages that it may have.
    PinLimit: 400, 30_003, "Maximum number of pins reached for the channel (250)", "pin_limit";
    /// The guild has the most roles that it may have.
    RoleLimit: 400, 30_005, "Maximum number of guild roles reached (250)", "role_limit";
    /// The guild has the most channels that it may have.
    ChannelLimit: 400, 30_013, "Maximum number of guild channels reached (500)", "channel_limit";
    /// The guild's channels together have the most overwrites that they may have.
    // Discord's bound is for each channel, and so is the text.
    OverwriteLimit: 400, 30_060,
        "Maximum number of channel permission overwrites reached (10000 in a guild)", "overwrite_limit";
    /// The user is in the most guilds that it may be in.
    GuildLimit: 400, 30_001, "Maximum number of guilds reached (100)", "guild_limit";
    /// The user owns the most guilds that it may own.
    OwnedGuildLimit: 400, 30_001, "Maximum number of guilds reached (200 owned)", "owned_guild_limit";
    /// A user would be added to a guild without having consented, and this server requires consent.
    ConsentNeeded: 403, 50_025,
        "Invalid OAuth2 access token (api.add_members is \"consent\": access_token must be the added user's own token)",
        "consent_needed";
    /// The body is not JSON.
    InvalidJson: 400, 50_109, "The request body contains invalid JSON.", "invalid_json";
    /// The body is longer than the route takes.
    TooLarge: 413, 40_005, "Request entity too large", "too_large";
    /// Other changes altered the rows that the request depends on, again and again. Nothing happened.
    Contended: 503, 130_000, "The resource is being changed by others. Try again a little later", "contended";
    /// The change may or may not have happened. A retry without a nonce may duplicate it.
    // The fault is behind this tier, so it is not a 500, which some libraries repeat by themselves: without a
    // nonce that duplicates what may have happened.
    OutcomeUnknown: 503, 0, "Service Unavailable", "outcome_unknown";
    /// A defect of ours.
    Internal: 500, 0, "Internal Server Error", "internal";
}

/// A 429.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimited {
    /// How long to wait before the next try.
    pub retry_after: Duration,
    /// The scope of the limit.
    pub scope: RateLimitScope,
    /// Discord's code for limits that have one (20016 slow mode, 20028 channel writes). Plain route limits
    /// have none.
    pub code: Option<u32>,
}

/// `X-RateLimit-Scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitScope {
    /// The caller's own limit on the route.
    User,
    /// The caller's limit over all routes.
    Global,
    /// A limit shared by all callers of the resource, such as a hot channel's.
    Shared,
}

impl RateLimitScope {
    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Global => "global",
            Self::Shared => "shared",
        }
    }
}

/// One row of the table: the refusal's form on the wire and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRow {
    /// HTTP status.
    pub status: u16,
    /// Discord's JSON error code; 0 for those that have only a status.
    pub code: u32,
    /// The body's `message`.
    pub message: &'static str,
    /// Metric label.
    pub label: &'static str,
}

const fn row(status: u16, code: u32, message: &'static str, label: &'static str) -> ErrorRow {
    ErrorRow { status, code, message, label }
}

impl RateLimited {
    fn row(&self) -> ErrorRow {
        let (message, label) = match self.scope {
            RateLimitScope::User => ("You are being rate limited.", "rate_limited_user"),
            RateLimitScope::Global => ("You are being rate limited.", "rate_limited_global"),
            RateLimitScope::Shared => ("The resource is being rate limited.", "rate_limited_shared"),
        };
        row(429, self.code.unwrap_or(0), message, label)
    }
}

impl ApiError {
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.row().status
    }

    /// Metric label: one of a fixed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.row().label
    }

    /// The body, JSON.
    #[must_use]
    pub fn body(&self) -> String {
        let row = self.row();
        let (errors, limited) = match self {
            Self::InvalidForm(errors) => (Some(errors), None),
            Self::RateLimited(limited) => (None, Some(limited)),
            _ => (None, None),
        };
        crate::object::to_json(&Body {
            message: match self {
                Self::ClockWrong { message, .. } => message,
                _ => row.message,
            },
            // Plain rate limits have no code; then the key is absent.
            code: limited.is_none_or(|limited| limited.code.is_some()).then_some(row.code),
            errors,
            retry_after: limited.map(|limited| seconds(limited.retry_after)),
            global: limited.map(|limited| limited.scope == RateLimitScope::Global),
        })
    }

    /// The value of `Retry-After`: whole seconds, rounded up and at least 1, because one library reads
    /// nothing else.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = match self {
            Self::RateLimited(limited) => limited.retry_after,
            Self::Overloaded { retry_after } => (*retry_after)?,
            Self::ClockWrong { retry_after, .. } => *retry_after,
            Self::Contended => CONTENDED_RETRY,
            _ => return None,
        };
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

/// Seconds in millisecond steps, rounded up: a client that waits exactly this long must not be too early.
fn seconds(wait: Duration) -> f64 {
    let ms = wait.as_nanos().div_ceil(1_000_000);
    // This is exact below 2^53 ms, which is 285,000 years.
    ms as f64 / 1_000.0
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a FormErrors>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    global: Option<bool>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        write!(f, "{} ({}, {})", row.label, row.status, row.code)
    }
}

impl std::error::Error for ApiError {}

impl From<FormErrors> for ApiError {
    fn from(errors: FormErrors) -> Self {
        Self::InvalidForm(errors)
    }
}
