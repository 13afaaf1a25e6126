//! Bodies, queries, path parts and tokens from clients: no input may cause a panic, and accepted values are
//! within their bounds.

use weir_fuzz::{CASES_DEFAULT, run, text};
use weir_proto::id::UserId;

use crate::{
    emoji::parse_emoji,
    token::{BotToken, SECRET_BYTES, TOKEN_BYTES_MAX, parse_authorization},
    validate::{
        BULK_DELETE_MAX, BULK_DELETE_MIN, CHANNEL_NAME_MAX, ChannelForm, CreateMessageForm,
        EMBEDS_JSON_BYTES_MAX, EditMessageForm, GUILD_NAME_MAX, GuildForm, HISTORY_LIMIT_MAX, HistoryQuery,
        ROLE_NAME_MAX, RoleForm, TOPIC_MAX, parse_body, parse_bulk_delete, parse_path_snowflake,
    },
};

const BODIES: [&str; 6] = [
    r#"{"content":"hi <@12> <@&13> @everyone","nonce":"25","tts":false,"flags":4,"message_reference":{"message_id":"9","fail_if_not_exists":true},"allowed_mentions":{"parse":["users"],"roles":["13"],"replied_user":true},"embeds":[{"title":"t","description":"d","color":255,"fields":[{"name":"n","value":"v","inline":true}],"footer":{"text":"f"},"timestamp":"2026-01-01T00:00:00Z"}]}"#,
    r#"{"content":null,"embeds":null,"flags":0,"allowed_mentions":null}"#,
    r#"{"name":"general","type":0,"topic":"t","position":1,"nsfw":false,"parent_id":null,"rate_limit_per_user":5,"permission_overwrites":[{"id":"1","type":0,"allow":"1024","deny":"0"}]}"#,
    r#"{"name":"mods","permissions":"8","color":16711680,"hoist":true,"mentionable":false}"#,
    r#"{"name":"guild","icon":null,"region":null}"#,
    r#"{"messages":["175928847299117063","175928847299117064"]}"#,
];

fn points(text: &str) -> usize {
    text.chars().count()
}

#[test]
fn bodies() {
    run("rest body", CASES_DEFAULT, &text(BODIES), |input| {
        let Ok(body) = parse_body(&input) else { return };
        if let Ok(form) = CreateMessageForm::parse(&body) {
            assert!(form.embeds_json.len() <= EMBEDS_JSON_BYTES_MAX);
        }
        if let Ok(form) = EditMessageForm::parse(&body) {
            assert!(form.embeds_json.is_none_or(|embeds| embeds.len() <= EMBEDS_JSON_BYTES_MAX));
        }
        if let Ok(form) = GuildForm::parse_create(&body) {
            assert!(points(form.name.as_deref().unwrap_or_default()) <= GUILD_NAME_MAX);
        }
        let _ = GuildForm::parse_change(&body);
        for form in
            [ChannelForm::parse_create(&body), ChannelForm::parse_change(&body, 0)].into_iter().flatten()
        {
            assert!(points(form.name.as_deref().unwrap_or_default()) <= CHANNEL_NAME_MAX);
            assert!(points(form.topic.as_deref().unwrap_or_default()) <= TOPIC_MAX);
        }
        if let Ok(form) = RoleForm::parse(&body) {
            assert!(points(form.name.as_deref().unwrap_or_default()) <= ROLE_NAME_MAX);
        }
        if let Ok(ids) = parse_bulk_delete(&body) {
            assert!((BULK_DELETE_MIN..=BULK_DELETE_MAX).contains(&ids.len()) && !ids.contains(&0));
        }
    });
}

#[test]
fn queries_and_paths() {
    let valid =
        ["limit=50&before=175928847299117063", "limit=100&around=1", "after=0", "emoji=\u{2764}\u{FE0F}"];
    run("rest query and path", CASES_DEFAULT, &text(valid), |input| {
        let Ok(input) = String::from_utf8(input) else { return };
        let pairs = input.split('&').filter_map(|pair| pair.split_once('='));
        if let Ok(query) = HistoryQuery::parse(pairs.clone()) {
            assert!((1..=HISTORY_LIMIT_MAX).contains(&query.limit));
        }
        for (name, value) in pairs {
            if let Ok(id) = parse_path_snowflake(name, value) {
                assert!(id != 0 && parse_path_snowflake(name, &id.to_string()) == Ok(id));
            }
            if let Ok(emoji) = parse_emoji(value) {
                assert_eq!(parse_emoji(&emoji.name), Ok(emoji));
            }
        }
    });
}

#[test]
fn tokens() {
    let user = UserId::try_from(175_928_847_299_117_063).expect("not 0");
    let token = BotToken::generate(user, 1_767_225_600, &[7; SECRET_BYTES]);
    let valid = ["Bot ", "Bearer ", ""].map(|scheme| format!("{scheme}{}", token.reveal()));
    run("token", CASES_DEFAULT, &text(valid), |input| {
        let Ok(input) = String::from_utf8(input) else { return };
        let Ok(token) = parse_authorization(&input) else { return };
        assert!(token.reveal().len() <= TOKEN_BYTES_MAX && input.trim().ends_with(token.reveal()));
        assert!(token.claimed_user().is_some());
        assert_eq!(BotToken::parse(token.reveal()), Ok(token.clone()));
        assert_eq!(parse_authorization(&format!("Bot {}", token.reveal())), Ok(token));
    });
}
