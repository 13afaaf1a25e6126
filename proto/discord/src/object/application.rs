//! Applications. Every bot is its own application.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};
use weir_proto::data::User;

use super::user::UserObject;
use crate::wire::{Empty, Id, Null};

/// Application flags by which a client library sees that its privileged intents are granted: presence,
/// members and message content, in the form of a verified application (bits 12, 14, 18).
pub(super) const PRIVILEGED_INTENT_FLAGS: u32 = 1 << 12 | 1 << 14 | 1 << 18;

/// The application of a bot: `GET /applications/@me`, `GET /oauth2/applications/@me`. It has the bot's id and
/// the bot as its owner.
#[derive(Debug, Clone, Serialize)]
pub struct ApplicationObject<'a> {
    id: Id,
    name: &'a str,
    icon: Null,
    description: &'static str,
    #[serde(rename = "type")]
    kind: Null,
    bot: UserObject<'a>,
    summary: &'static str,
    bot_public: bool,
    bot_require_code_grant: bool,
    verify_key: String,
    flags: u32,
    flags_new: String,
    hook: bool,
    owner: UserObject<'a>,
    team: Null,
    rpc_origins: Empty,
    redirect_uris: Empty,
    interactions_endpoint_url: Null,
    role_connections_verification_url: Null,
    explicit_content_filter: u32,
    approximate_guild_count: u32,
    approximate_user_install_count: u32,
    approximate_user_authorization_count: u32,
    eligible_oauth2_scopes: Empty,
}

impl<'a> ApplicationObject<'a> {
    /// The application of a bot that is in `guilds` guilds.
    #[must_use]
    pub fn new(bot: &'a User, guilds: u32) -> Self {
        Self {
            id: Id(bot.id),
            name: &bot.username,
            icon: (),
            description: "",
            kind: (),
            bot: UserObject::new(bot),
            summary: "",
            bot_public: true,
            bot_require_code_grant: false,
            verify_key: verify_key(bot.id),
            flags: PRIVILEGED_INTENT_FLAGS,
            flags_new: PRIVILEGED_INTENT_FLAGS.to_string(),
            hook: true,
            owner: UserObject::new(bot),
            team: (),
            rpc_origins: [],
            redirect_uris: [],
            interactions_endpoint_url: (),
            role_connections_verification_url: (),
            explicit_content_filter: 0,
            approximate_guild_count: guilds,
            approximate_user_install_count: 0,
            approximate_user_authorization_count: 0,
            eligible_oauth2_scopes: [],
        }
    }
}

/// 64 hexadecimal digits in the form of the Ed25519 key that would sign interactions. Weir sends none, so
/// nobody may hold the private half: a hash has none that anyone knows, whereas a constant such as zero is a
/// weak key for which signatures can be forged.
fn verify_key(bot_id: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(b"weir interaction key of application ");
    hash.update(bot_id.to_be_bytes());
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
