//! Mentions: what a message's text names, and which of that its author may and wants to ping.

use super::body::Fields;
use crate::error::Leaf;

/// Most users, and most roles, that one message mentions. Further ones stay plain text. Discord's bound for
/// the lists of `allowed_mentions`.
pub const MENTIONS_MAX: usize = 100;

/// Longest id in a mention, in digits: 2^64 has 20.
const ID_DIGITS_MAX: usize = 20;

/// What a message's text names: in order, each once, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedMentions {
    /// `<@id>` and `<@!id>`; at most [`MENTIONS_MAX`].
    pub users: Vec<u64>,
    /// `<@&id>`; at most [`MENTIONS_MAX`].
    pub roles: Vec<u64>,
    /// `@everyone` or `@here`.
    pub everyone: bool,
}

impl ParsedMentions {
    /// The mentions in a text. Those in code spans count too.
    #[must_use]
    pub fn of(content: &str) -> Self {
        let mut found = Self::default();
        for (at, _) in content.match_indices('@') {
            let (before, after) = (&content[..at], &content[at + 1..]);
            if after.starts_with("everyone") || after.starts_with("here") {
                found.everyone = true;
            } else if before.ends_with('<') {
                let (list, digits) = match after.strip_prefix('&') {
                    Some(digits) => (&mut found.roles, digits),
                    None => (&mut found.users, after.strip_prefix('!').unwrap_or(after)),
                };
                if let Some(id) =
                    closed_id(digits).filter(|id| list.len() < MENTIONS_MAX && !list.contains(id))
                {
                    list.push(id);
                }
            }
        }
        found
    }
}

/// The id before the first `>`.
fn closed_id(text: &str) -> Option<u64> {
    let end = text.bytes().take(ID_DIGITS_MAX + 1).position(|byte| byte == b'>')?;
    text[..end].parse::<weir_proto::id::Snowflake>().ok().map(weir_proto::id::Snowflake::get)
}

/// What a message may ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedMentions {
    users: Allowed,
    roles: Allowed,
    everyone: bool,
    replied_user: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// All that the text names.
    Parsed,
    /// Those in the list, if the text names them.
    Listed(Vec<u64>),
}

impl Allowed {
    fn allows(&self, id: u64) -> bool {
        match self {
            Self::Parsed => true,
            Self::Listed(ids) => ids.contains(&id),
        }
    }
}

impl Default for AllowedMentions {
    /// Without `allowed_mentions`, everything that the text names is pinged, and the author of the message
    /// replied to.
    fn default() -> Self {
        Self { users: Allowed::Parsed, roles: Allowed::Parsed, everyone: true, replied_user: true }
    }
}

impl AllowedMentions {
    /// The `allowed_mentions` of a message's fields; the default if there is none.
    #[must_use]
    pub fn parse(message: &mut Fields<'_, '_>) -> Self {
        message.object("allowed_mentions", Self::read).unwrap_or_default()
    }

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let (mut users, mut roles, mut everyone) = (false, false, false);
        // There are three kinds, so a longer list can only repeat them.
        for value in fields.list("parse", MENTIONS_MAX).unwrap_or_default() {
            match value.as_str() {
                Some("users") => users = true,
                Some("roles") => roles = true,
                Some("everyone") => everyone = true,
                _ => fields.fail("parse", Leaf::Choices("('users', 'roles', 'everyone')")),
            }
        }
        Self {
            users: Self::allowed(fields, "users", users),
            roles: Self::allowed(fields, "roles", roles),
            everyone,
            replied_user: fields.boolean("replied_user").unwrap_or(false),
        }
    }

    fn allowed(fields: &mut Fields<'_, '_>, key: &'static str, parsed: bool) -> Allowed {
        let listed = fields.ids(key, MENTIONS_MAX).unwrap_or_default();
        if parsed && !listed.is_empty() {
            fields.fail(key, Leaf::Exclusive("parse and the list of ids"));
        }
        if parsed { Allowed::Parsed } else { Allowed::Listed(listed) }
    }
}

/// The guild's rules for mentions in one message.
#[derive(Clone, Copy)]
pub struct MentionRules<'a> {
    /// The author of the message replied to.
    pub replied_author: Option<u64>,
    /// Whether the author holds MENTION_EVERYONE in the channel: it covers @everyone, @here and roles that
    /// are not mentionable.
    pub may_mention_everyone: bool,
    /// Whether a user exists.
    pub user_exists: &'a dyn Fn(u64) -> bool,
    /// Whether a role is mentionable; `None` if the guild has no such role.
    pub role_mentionable: &'a dyn Fn(u64) -> Option<bool>,
}

/// What a message pings, as the row's mention fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mentions {
    /// Users; at most [`MENTIONS_MAX`] of the text, and the author replied to.
    pub users: Vec<u64>,
    /// Roles; at most [`MENTIONS_MAX`].
    pub roles: Vec<u64>,
    /// Everyone.
    pub everyone: bool,
}

impl Mentions {
    /// Which of the named users and roles are pinged.
    #[must_use]
    pub fn resolve(parsed: &ParsedMentions, allowed: &AllowedMentions, rules: &MentionRules<'_>) -> Self {
        let user = |id: &u64| allowed.users.allows(*id) && (rules.user_exists)(*id);
        let role = |id: &u64| {
            allowed.roles.allows(*id)
                && (rules.role_mentionable)(*id).is_some_and(|free| free || rules.may_mention_everyone)
        };
        let mut users: Vec<u64> = parsed.users.iter().copied().filter(user).collect();
        if let Some(replied) = rules.replied_author.filter(|id| allowed.replied_user && !users.contains(id)) {
            users.push(replied);
        }
        Self {
            users,
            roles: parsed.roles.iter().copied().filter(role).collect(),
            everyone: parsed.everyone && allowed.everyone && rules.may_mention_everyone,
        }
    }
}
