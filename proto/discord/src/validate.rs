//! Reads request bodies and queries as values, or gives all their form errors at once.
//!
//! Lengths are counted in Unicode code points, as Discord counts them. Unknown keys are ignored. Keys of
//! features that Weir does not have are refused if they ask for something, because a message that silently
//! lost its poll would be worse than an error.

mod blank;
mod body;
mod embed;
mod guild;
mod mention;
mod message;
mod query;

#[cfg(test)]
mod tests;

pub use blank::{is_blank, is_empty_content};
pub use body::{Fields, parse_body, parse_fields, snowflake};
pub use embed::{EMBEDS_JSON_BYTES_MAX, EMBEDS_MAX, EMBEDS_TEXT_MAX, parse_embeds};
pub use guild::{
    CHANNEL_NAME_MAX, ChannelForm, GUILD_NAME_MAX, GUILD_NAME_MIN, GuildForm, NICK_MAX, OVERWRITES_MAX,
    ROLE_NAME_MAX, RoleForm, TOPIC_MAX, channel_name,
};
pub use mention::{AllowedMentions, MENTIONS_MAX, MentionRules, Mentions, ParsedMentions};
pub use message::{
    BULK_DELETE_MAX, BULK_DELETE_MIN, CONTENT_MAX, CreateMessageForm, EditMessageForm, NONCE_MAX, ReplyTo,
    parse_bulk_delete,
};
pub use query::{
    Anchor, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, HistoryQuery, parse_limit, parse_path_snowflake,
    parse_query_bool, parse_query_snowflake, parse_query_timestamp,
};
