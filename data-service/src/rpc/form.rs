//! Checks the form of rows, independently of the caller: the api decides what rows may say, and this tier
//! what can be stored.
//!
//! Bounds are in bytes: four for each character that an api accepts, the longest encoding of one.

use std::collections::HashSet;

use weir_connect::ConnectError;
use weir_proto::{
    data::{Channel, Guild, Member, Role, User},
    overwrite,
};

use super::overwrites;
use crate::write::error::ROLES_MAX;

/// Bytes of a guild's, channel's or role's name: 100 code points of four bytes.
const NAME_MAX: usize = 400;
/// Bytes of a topic: 1,024 code points of four bytes.
const TOPIC_MAX: usize = 4_096;
/// Bytes of a nick: 32 code points of four bytes.
const NICK_MAX: usize = 128;
/// Bytes of a user's names: 80 code points of four bytes, as many as `weir bot create` and imports take
/// (Discord's longest, that of webhooks).
const USERNAME_MAX: usize = 320;
/// Bytes of the name of an avatar's picture. We chose a bound above Discord's 34.
const AVATAR_MAX: usize = 128;

/// Errors of a row's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A required text is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A text has too many bytes.
    #[error("{what} has at most {max} bytes")]
    Long {
        /// Name of the text.
        what: &'static str,
        /// Its bound in bytes.
        max: usize,
    },
    /// The text contains U+0000, which ends a text for many clients.
    #[error("{0} holds U+0000")]
    Null(&'static str),
    /// A list has too many entries.
    #[error("{what} are at most {max}")]
    Many {
        /// Name of the list.
        what: &'static str,
        /// Its bound.
        max: usize,
    },
    /// An id is 0.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key occurs twice: nobody has decided which of the two counts.
    #[error("two {what} with id {id}")]
    Twice {
        /// Name of the key's kind.
        what: &'static str,
        /// The id.
        id: u64,
    },
}

impl From<Malformed> for ConnectError {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// Checks a text's bytes.
///
/// # Errors
/// [`Malformed::Long`] above `max` bytes, [`Malformed::Null`].
pub(super) fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), Malformed> {
    if text.len() > max {
        return Err(Malformed::Long { what, max });
    }
    if text.contains('\0') { Err(Malformed::Null(what)) } else { Ok(()) }
}

/// Checks a name: 1 to `max` bytes.
fn check_name(what: &'static str, name: &str, max: usize) -> Result<(), Malformed> {
    if name.is_empty() {
        return Err(Malformed::Empty(what));
    }
    check_text(what, name, max)
}

/// Checks that ids are set and occur once.
///
/// # Errors
/// [`Malformed::Missing`], [`Malformed::Twice`]
fn check_ids(what: &'static str, ids: impl IntoIterator<Item = u64>) -> Result<(), Malformed> {
    let mut known = HashSet::new();
    for id in ids {
        if id == 0 {
            return Err(Malformed::Missing(what));
        }
        if !known.insert(id) {
            return Err(Malformed::Twice { what, id });
        }
    }
    Ok(())
}

/// Checks a guild's own row.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_guild(guild: &Guild) -> Result<(), Malformed> {
    check_name("a guild's name", &guild.name, NAME_MAX)
}

/// Checks a channel, and clears bits of its overwrites that have no meaning.
///
/// # Errors
/// `invalid_argument`: [`Malformed`], and those of [`overwrites::check`].
pub(super) fn check_channel(channel: &mut Channel) -> Result<(), ConnectError> {
    check_name("a channel's name", &channel.name, NAME_MAX)?;
    check_text("a topic", &channel.topic, TOPIC_MAX)?;
    overwrites::check(&mut channel.overwrites)
}

/// Checks a role, and clears permission bits that have no meaning: otherwise a later version could take a
/// stored bit for a permission that somebody granted.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_role(role: &mut Role) -> Result<(), Malformed> {
    check_name("a role's name", &role.name, NAME_MAX)?;
    role.permissions &= overwrite::BITS;
    Ok(())
}

/// Checks a new guild's roles; those without an id will get one.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_roles(roles: &mut [Role]) -> Result<(), Malformed> {
    check_ids("roles", roles.iter().map(|role| role.id).filter(|id| *id != 0))?;
    roles.iter_mut().try_for_each(check_role)
}

/// Checks a member. The caller must check that the guild has its roles.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_member(member: &Member) -> Result<(), Malformed> {
    check_text("a nick", &member.nick, NICK_MAX)?;
    if member.role_ids.len() > ROLES_MAX {
        return Err(Malformed::Many { what: "a member's roles", max: ROLES_MAX });
    }
    check_ids("role ids", member.role_ids.iter().copied())
}

/// Checks a new guild's members.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_members(members: &[Member]) -> Result<(), Malformed> {
    check_ids("members", members.iter().map(|member| member.user_id))?;
    members.iter().try_for_each(check_member)
}

/// Checks a user.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_user(user: &User) -> Result<(), Malformed> {
    check_username(&user.username)?;
    check_text("a user's global name", &user.global_name, USERNAME_MAX)?;
    check_text("an avatar", &user.avatar, AVATAR_MAX)
}

/// Checks a user's name.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_username(name: &str) -> Result<(), Malformed> {
    check_name("a username", name, USERNAME_MAX)
}

/// Checks the names of an imported guild and of its channels.
///
/// # Errors
/// [`Malformed`]
pub(super) fn check_imported(guild: &str, channels: &[String]) -> Result<(), Malformed> {
    check_name("a guild's name", guild, NAME_MAX)?;
    channels.iter().try_for_each(|name| check_name("a channel's name", name, NAME_MAX))
}
