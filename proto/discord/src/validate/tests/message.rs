//! Creating, editing and bulk-deleting messages.

use super::*;

#[test]
fn a_plain_message() {
    let form =
        create(json!({"content": "hi", "unknown": {"ignored": true}, "embeds": null, "attachments": []}));
    assert_eq!(form, Ok(CreateMessageForm { content: "hi".to_owned(), ..CreateMessageForm::default() }));
}

#[test]
fn content_is_counted_in_code_points() {
    let crab = "\u{1F980}".repeat(CONTENT_MAX);
    assert_eq!(create(json!({"content": crab})).map(|form| form.content), Ok(crab.clone()));
    assert_eq!(create_codes(json!({"content": format!("{crab}x")})), ["content=BASE_TYPE_MAX_LENGTH"]);
    assert_eq!(create_codes(json!({"content": 5})), ["content=STRING_TYPE_CONVERT"]);
}

#[test]
fn nothing_to_send_is_an_empty_message() {
    for body in [json!({}), json!({"content": ""}), json!({"content": " \n\u{2003}"}), json!({"embeds": []})]
    {
        assert_eq!(create(body.clone()), Err(ApiError::EmptyMessage), "{body}");
    }
    assert!(create(json!({"embeds": [{"title": "t"}]})).is_ok());
}

#[test]
fn nonces_are_numbers_or_short_text() {
    let nonce = |value: Value| create(json!({"content": "x", "nonce": value})).map(|form| form.nonce);
    assert_eq!(nonce(json!("abc")), Ok(Some("abc".to_owned())));
    assert_eq!(nonce(json!(1_234_567_890_123_456_789_u64)), Ok(Some("1234567890123456789".to_owned())));
    assert_eq!(nonce(json!(-5)), Ok(Some("-5".to_owned())));
    assert_eq!(nonce(json!("")), Ok(None));
    assert_eq!(nonce(json!("x".repeat(25))).map(|nonce| nonce.map(|text| text.len())), Ok(Some(25)));
    let accents = "\u{E9}".repeat(25);
    assert_eq!(nonce(json!(accents)), Ok(Some(accents)), "counted in code points");
    for bad in
        [json!("\u{E9}".repeat(26)), json!("a\0"), json!("x".repeat(26)), json!(1.5), json!({}), json!(true)]
    {
        assert!(nonce(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn it_is_kept_whether_a_nonce_was_a_number() {
    let is_integer =
        |value: Value| create(json!({"content": "x", "nonce": value})).map(|form| form.nonce_is_integer);
    assert_eq!((is_integer(json!(6_870)), is_integer(json!("6870"))), (Ok(true), Ok(false)));
}

#[test]
fn a_text_has_no_nul_and_zero_width_space_is_content() {
    assert_eq!(create_codes(json!({"content": "a\0b"})), ["content=STRING_TYPE_REGEX"]);
    assert_eq!(create_codes(json!({"embeds": [{"title": "\0"}]})), ["embeds.0.title=STRING_TYPE_REGEX"]);
    assert_eq!(create(json!({"content": "\u{1} \u{7F}"})), Err(ApiError::EmptyMessage));
    for content in ["\u{200B}", "\u{2800}", "\u{200B}."] {
        assert!(create(json!({"content": content})).is_ok(), "{content:?}: bots send it to say nothing");
    }
}

#[test]
fn replies() {
    let reply = |reference: Value| create(json!({"content": "x", "message_reference": reference}));
    let form = reply(json!({"message_id": "5"})).map(|form| form.reply);
    assert_eq!(form, Ok(Some(ReplyTo { message_id: 5, channel_id: None, fail_if_not_exists: true })));
    let form = reply(json!({"message_id": 5, "channel_id": "7", "type": 0, "fail_if_not_exists": false}));
    let wanted = ReplyTo { message_id: 5, channel_id: Some(7), fail_if_not_exists: false };
    assert_eq!(form.map(|form| form.reply), Ok(Some(wanted)));
    let failing = |reference| create_codes(json!({"content": "x", "message_reference": reference}));
    assert_eq!(failing(json!({})), ["message_reference.message_id=BASE_TYPE_REQUIRED"]);
    assert_eq!(
        failing(json!({"message_id": "5", "type": 1})),
        ["message_reference.type=FEATURE_UNSUPPORTED"]
    );
    assert_eq!(failing(json!(3)), ["message_reference=MODEL_TYPE_CONVERT"]);
    assert_eq!(codes(&ReplyTo::unknown_message()), ["message_reference=MESSAGE_REFERENCE_UNKNOWN_MESSAGE"]);
}

#[test]
fn unsupported_features_are_refused_only_if_asked_for() {
    assert!(create(json!({"content": "x", "components": [], "poll": null, "sticker_ids": []})).is_ok());
    assert_eq!(
        create_codes(json!({"content": "x", "components": [1], "poll": {}})),
        ["poll=FEATURE_UNSUPPORTED", "components=FEATURE_UNSUPPORTED"]
    );
}

#[test]
fn only_the_flags_a_client_may_set_are_kept() {
    let form = create(json!({"content": "x", "flags": (1 << 2) | (1 << 12) | (1 << 6) | 1, "tts": true}));
    assert_eq!(form.map(|form| (form.flags, form.tts)), Ok(((1 << 2) | (1 << 12), true)));
}

#[test]
fn edits_tell_absent_from_null() {
    let edit = |value| EditMessageForm::parse(&map(value));
    assert_eq!(edit(json!({})), Ok(EditMessageForm::default()));
    let cleared = edit(json!({"content": null, "embeds": null})).expect("valid");
    assert_eq!((cleared.content.as_deref(), cleared.embeds_json.as_deref()), (Some(""), Some("")));
    let embeds = edit(json!({"embeds": []})).expect("valid");
    assert_eq!((embeds.content, embeds.embeds_json.as_deref()), (None, Some("")));
    let row = Message { content: "old".to_owned(), flags: 1 << 5, ..Message::default() };
    assert!(cleared.leaves_empty(&row));
    assert!(!edit(json!({"embeds": null})).expect("valid").leaves_empty(&row));
    assert!(edit(json!({"content": "  "})).expect("valid").leaves_empty(&row));
    let flags = |value| edit(json!({"flags": value})).expect("valid").flags_after(row.flags);
    assert_eq!((flags(json!(4)), flags(json!(0)), flags(json!(64))), (1 << 5 | 4, 1 << 5, 1 << 5));
    assert_eq!(edit(json!({})).expect("valid").flags_after(36), 36);
    assert!(edit(json!({"content": "x".repeat(CONTENT_MAX + 1)})).is_err());
}

#[test]
fn bulk_deletions_name_2_to_100_messages() {
    let ids = |ids: Vec<u64>| json!({"messages": ids.iter().map(u64::to_string).collect::<Vec<_>>()});
    let parse = |value| parse_bulk_delete(&map(value));
    assert_eq!(parse(ids(vec![3, 1, 2])), Ok(vec![1, 2, 3]));
    for twice in [vec![1, 1], vec![2, 1, 2]] {
        let Err(ApiError::InvalidForm(errors)) = parse(ids(twice)) else { panic!("an id twice is an error") };
        assert_eq!(codes(&errors), ["messages=SET_TYPE_ALREADY_CONTAINS_VALUE"]);
    }
    for bad in [vec![], vec![1], (1..=101).collect()] {
        assert_eq!(parse(ids(bad)), Err(ApiError::BulkDeleteCount));
    }
    assert_eq!(parse(ids((1..=100).collect())).map(|ids| ids.len()), Ok(100));
    for bad in [json!({}), json!({"messages": "x"}), json!({"messages": ["1", "x"]})] {
        assert!(matches!(parse(bad), Err(ApiError::InvalidForm(_))));
    }
}
