//! Users: the form that others see, and the longer form that a user sees of itself.

use serde::Serialize;
use weir_proto::data::User;

use crate::wire::{Id, Null};

/// Name shown for a user whose row is missing.
const DELETED_NAME: &str = "Deleted User";

/// A user as others see it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct UserObject<'a> {
    id: Id,
    username: &'a str,
    discriminator: &'static str,
    global_name: Option<&'a str>,
    avatar: Option<&'a str>,
    bot: bool,
    system: bool,
    public_flags: u32,
    flags: u32,
    banner: Null,
    accent_color: Null,
    avatar_decoration_data: Null,
    collectibles: Null,
    primary_guild: Null,
}

impl<'a> UserObject<'a> {
    /// The user of a row.
    #[must_use]
    pub fn new(user: &'a User) -> Self {
        Self {
            username: &user.username,
            global_name: (!user.global_name.is_empty()).then_some(&user.global_name),
            avatar: is_image_hash(&user.avatar).then_some(&user.avatar),
            bot: user.bot,
            ..Self::unknown(user.id)
        }
    }

    /// A user of which only the id is known.
    #[must_use]
    pub fn unknown(id: u64) -> Self {
        Self {
            id: Id(id),
            username: DELETED_NAME,
            discriminator: "0",
            global_name: None,
            avatar: None,
            bot: false,
            system: false,
            public_flags: 0,
            flags: 0,
            banner: (),
            accent_color: (),
            avatar_decoration_data: (),
            collectibles: (),
            primary_guild: (),
        }
    }

    /// The user of a row, if the row is there and has this id; otherwise a user of whom only the id is known.
    ///
    /// The id decides: the row of another user must never be shown as the author.
    #[must_use]
    pub fn of(id: u64, user: Option<&'a User>) -> Self {
        match user {
            Some(user) if user.id == id => Self::new(user),
            _ => Self::unknown(id),
        }
    }
}

/// A user as it sees itself, in `GET /users/@me` and READY.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OwnUserObject<'a> {
    #[serde(flatten)]
    user: UserObject<'a>,
    mfa_enabled: bool,
    locale: &'static str,
    verified: bool,
    email: Null,
    premium_type: u32,
    bio: &'static str,
}

impl<'a> OwnUserObject<'a> {
    /// The own user of a row.
    #[must_use]
    pub fn new(user: &'a User) -> Self {
        Self {
            user: UserObject::new(user),
            mfa_enabled: false,
            locale: "en-US",
            verified: true,
            email: (),
            premium_type: 0,
            bio: "",
        }
    }
}

/// True for 32 hexadecimal digits, after `a_` if the image is animated. Strict clients parse the hash into 16
/// bytes and drop the whole event if they cannot.
pub(crate) fn is_image_hash(text: &str) -> bool {
    let digits = text.strip_prefix("a_").unwrap_or(text);
    digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
