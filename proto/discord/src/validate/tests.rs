//! Bodies and queries as clients send them, valid and invalid.

mod embed;
mod guild;
mod mention;
mod message;
mod query;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weir_proto::data::{Channel, Message, Role};

use super::*;
use crate::error::{ApiError, FormErrors, Leaf};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

/// The errors as `path=CODE`, in the order they were found.
fn codes(errors: &FormErrors) -> Vec<String> {
    errors.iter().map(|(path, leaf)| format!("{}={}", path.join("."), leaf.code())).collect()
}

fn create(value: Value) -> Result<CreateMessageForm, ApiError> {
    CreateMessageForm::parse(&map(value))
}

fn create_codes(value: Value) -> Vec<String> {
    match create(value) {
        Err(ApiError::InvalidForm(errors)) => codes(&errors),
        other => panic!("no form error: {other:?}"),
    }
}

#[test]
fn bodies() {
    assert_eq!(parse_body(b" \n"), Ok(Map::new()));
    assert_eq!(parse_body(b"{\"a\":1}"), Ok(map(json!({"a": 1}))));
    assert_eq!(parse_body(b"{"), Err(ApiError::InvalidJson));
    assert_eq!(parse_body(&[0xFF]), Err(ApiError::InvalidJson));
    assert!(matches!(parse_body(b"[]"), Err(ApiError::InvalidForm(_))));
    let deep = "[".repeat(100_000);
    assert_eq!(
        parse_body(deep.as_bytes()),
        Err(ApiError::InvalidJson),
        "nesting is bounded, not a stack overflow"
    );
}

#[test]
fn own_forms_collect_all_errors() {
    let body = map(
        json!({"nick": "x".repeat(33), "roles": ["1", "x"], "mute": 3, "n": 18_446_744_073_709_551_615_u64}),
    );
    let errors = parse_fields(&body, |fields| {
        fields.text("nick", 0..=NICK_MAX);
        fields.ids("roles", 250);
        fields.boolean("mute");
        fields.integer("n", 0..=5);
        fields.require("missing");
        fields.fail_here(Leaf::Unsupported);
    });
    assert_eq!(
        codes(&errors.expect_err("all of them")),
        [
            "nick=BASE_TYPE_MAX_LENGTH",
            "roles.1=NUMBER_TYPE_COERCE",
            "mute=BOOLEAN_TYPE_CONVERT",
            "n=NUMBER_TYPE_MAX",
            "missing=BASE_TYPE_REQUIRED",
            "=FEATURE_UNSUPPORTED",
        ]
    );
}

/// Forms have only text, and JSON may use text in the same way.
#[test]
fn text_stands_for_numbers_ids_and_truth() {
    let body = map(json!({
        "yes": "True", "one": "1", "no": "false", "n": "7", "bits": "18446744073709551615", "alone": "9", "few": ["9", 8],
    }));
    let read = parse_fields(&body, |fields| {
        let truth = ["yes", "one", "no"].map(|key| fields.boolean(key));
        let ids = ["alone", "few"].map(|key| fields.ids(key, 2));
        (truth, fields.integer("n", 0..=7), fields.bits("bits"), ids)
    });
    let truth = [Some(true), Some(true), Some(false)];
    assert_eq!(read, Ok((truth, Some(7), Some(u64::MAX), [Some(vec![9]), Some(vec![9, 8])])));

    let wrong = map(json!({
        "b": "yes", "b1": 1, "empty": "", "n": "8", "low": "-1", "far": "9".repeat(30), "farther": "9".repeat(60), "x": "1.5",
        "bits": "-1", "over": "18446744073709551616", "ids": "none", "nobody": 5,
    }));
    let errors = parse_fields(&wrong, |fields| {
        for key in ["b", "b1", "empty"] {
            fields.boolean(key);
        }
        for key in ["n", "low", "far", "farther", "x", "empty"] {
            fields.integer(key, 0..=7);
        }
        for key in ["bits", "over", "empty"] {
            fields.bits(key);
        }
        for key in ["ids", "nobody"] {
            fields.ids(key, 2);
        }
    });
    assert_eq!(
        codes(&errors.expect_err("all of them")),
        [
            "b=BOOLEAN_TYPE_CONVERT",
            "b1=BOOLEAN_TYPE_CONVERT",
            "empty=BOOLEAN_TYPE_CONVERT",
            "n=NUMBER_TYPE_MAX",
            "low=NUMBER_TYPE_MIN",
            "far=NUMBER_TYPE_MAX",
            "farther=BASE_TYPE_BAD_INT",
            "x=BASE_TYPE_BAD_INT",
            "empty=BASE_TYPE_BAD_INT",
            "bits=BASE_TYPE_BAD_INT",
            "over=BASE_TYPE_BAD_INT",
            "empty=BASE_TYPE_BAD_INT",
            "ids.0=NUMBER_TYPE_COERCE",
            "nobody=LIST_TYPE_CONVERT",
        ]
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        "[0-9]{1,20}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "content",
        "nonce",
        "embeds",
        "title",
        "fields",
        "name",
        "value",
        "footer",
        "text",
        "allowed_mentions",
        "parse",
        "users",
        "message_reference",
        "message_id",
        "flags",
        "topic",
        "permission_overwrites",
        "id",
        "type",
        "timestamp",
        "url",
        "colors",
        "permissions",
        "messages",
        "color",
    ]);
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// No body makes a form panic, and a strict client can be shown what a form accepts.
    #[test]
    fn any_json_is_accepted_or_refused(value in any_json()) {
        let Value::Object(body) = value else { return Ok(()) };
        if let Ok(form) = CreateMessageForm::parse(&body) {
            prop_assert!(form.content.chars().count() <= CONTENT_MAX);
            if !form.embeds_json.is_empty() {
                let strict = serde_json::from_str::<Vec<twilight_model::channel::message::Embed>>(&form.embeds_json);
                prop_assert!(strict.is_ok(), "{:?}", strict);
            }
        }
        let _ = EditMessageForm::parse(&body);
        let _ = ChannelForm::parse_create(&body);
        let _ = RoleForm::parse(&body);
        let _ = GuildForm::parse_create(&body);
        let _ = parse_bulk_delete(&body);
    }

    #[test]
    fn no_text_breaks_the_mention_parser(text in "[<@!&>0-9 a\u{E9}\u{1F980}]{0,80}") {
        let parsed = ParsedMentions::of(&text);
        for id in parsed.users {
            let mentioned = text.contains(&format!("{id}>"));
            prop_assert!(mentioned, "{id} in {text:?}");
        }
    }
}
