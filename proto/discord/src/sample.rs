//! Rows for the tests of several modules.

use weir_proto::data::{Channel, EventContext, Guild, GuildState, Member, Message, Overwrite, Role, User};

use crate::permission::Permissions;

/// The ids have real length: some client libraries recognise ids by their 17 to 19 digits.
pub(crate) const GUILD: u64 = 197_038_439_483_310_086;
pub(crate) const OWNER: u64 = 53_908_099_506_183_680;
pub(crate) const ALICE: u64 = 53_908_232_506_183_680;
pub(crate) const BOB: u64 = 80_351_110_224_678_912;
pub(crate) const BOT: u64 = 268_473_310_986_240_001;
pub(crate) const GENERAL: u64 = 41_771_983_423_143_937;
pub(crate) const SECRET: u64 = 41_771_983_423_143_938;
pub(crate) const CATEGORY: u64 = 41_771_983_423_143_939;
pub(crate) const STAFF: u64 = 41_771_983_423_143_936;
pub(crate) const MESSAGE: u64 = 334_385_199_974_967_042;
pub(crate) const QUOTED: u64 = 334_385_199_974_967_000;

pub(crate) fn user(id: u64, username: &str) -> User {
    User { id, username: username.to_owned(), ..User::default() }
}

pub(crate) fn bot() -> User {
    User { bot: true, ..user(BOT, "weirbot") }
}

pub(crate) fn alice() -> User {
    User {
        global_name: "Alice".to_owned(),
        avatar: "8342729096ea3675442027381ff50dfe".to_owned(),
        ..user(ALICE, "alice")
    }
}

pub(crate) fn member(user_id: u64, role_ids: &[u64]) -> Member {
    Member {
        guild_id: GUILD,
        user_id,
        role_ids: role_ids.to_vec(),
        joined_at_ms: 1_500_000_000_123,
        ..Member::default()
    }
}

pub(crate) fn role(id: u64, permissions: Permissions) -> Role {
    Role { id, guild_id: GUILD, name: format!("role {id}"), permissions: permissions.0, ..Role::default() }
}

pub(crate) fn channel(id: u64, kind: u32) -> Channel {
    Channel { id, guild_id: GUILD, r#type: kind, name: format!("channel-{id}"), ..Channel::default() }
}

/// Everyone can view and write; the channel SECRET is for STAFF.
pub(crate) fn state() -> GuildState {
    let everyone = Permissions::VIEW_CHANNEL
        | Permissions::SEND_MESSAGES
        | Permissions::READ_MESSAGE_HISTORY
        | Permissions::CONNECT;
    let view = Permissions::VIEW_CHANNEL.0;
    let overwrites = vec![
        Overwrite { id: GUILD, r#type: 0, allow: 0, deny: view },
        Overwrite { id: STAFF, r#type: 0, allow: view, deny: 0 },
    ];
    GuildState {
        guild: Some(Guild { id: GUILD, name: "Weir \"test\"".to_owned(), owner_id: OWNER, rev: 1 }),
        roles: vec![
            Role { name: "@everyone".to_owned(), ..role(GUILD, everyone) },
            Role { position: 1, color: 0x00_FF_00, hoist: true, ..role(STAFF, Permissions::MANAGE_MESSAGES) },
        ],
        channels: vec![
            Channel { parent_id: CATEGORY, topic: "all of it".to_owned(), ..channel(GENERAL, 0) },
            Channel { overwrites, position: 1, ..channel(SECRET, 0) },
            channel(CATEGORY, 4),
        ],
        member_count: 3,
        rev: 9,
    }
}

/// Alice's message, which mentions Bob.
pub(crate) fn message() -> Message {
    Message {
        id: MESSAGE,
        channel_id: GENERAL,
        author_id: ALICE,
        content: format!("hi <@{BOB}> \u{1F980} \"\\\u{1}\n}}],{{"),
        nonce: "1234567890123456789".to_owned(),
        mention_user_ids: vec![BOB],
        mention_role_ids: vec![STAFF],
        embeds_json:
            r#"[{"type":"rich","title":"a \"title\"","fields":[{"name":"n","value":"v","inline":true}]}]"#
                .to_owned(),
        rev: 5,
        last_rev: 5,
        ..Message::default()
    }
}

/// The bot's message, which Alice answers in [`reply`].
pub(crate) fn quoted() -> Message {
    Message {
        id: QUOTED,
        channel_id: GENERAL,
        author_id: BOT,
        content: "first".to_owned(),
        ..Message::default()
    }
}

pub(crate) fn reply() -> Message {
    Message { r#type: 19, reply_to: QUOTED, ..message() }
}

pub(crate) fn context() -> EventContext {
    EventContext {
        guild_id: GUILD,
        author: Some(alice()),
        member: Some(Member { nick: "Al".to_owned(), ..member(ALICE, &[STAFF, GUILD]) }),
        referenced: Some(quoted()),
        referenced_author: Some(bot()),
        mentions: vec![user(BOB, "bob")],
        recipients: vec![],
        nonce_is_integer: false,
        last_message_id: 0,
    }
}
