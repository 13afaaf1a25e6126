//! Guilds, channels and roles.

use super::*;

#[test]
fn guild_names() {
    let name = |value: Value| GuildForm::parse_create(&map(json!({"name": value}))).map(|form| form.name);
    assert_eq!(name(json!("  ab ")), Ok(Some("ab".to_owned())));
    assert!(name(json!("x".repeat(100))).is_ok());
    for bad in [json!("a"), json!(" a "), json!("x".repeat(101)), json!(5), Value::Null] {
        assert!(name(bad.clone()).is_err(), "{bad}");
    }
    assert_eq!(GuildForm::parse_change(&Map::new()), Ok(GuildForm::default()));
}

#[test]
fn channel_names_follow_their_type() {
    for (given, kind, name) in [
        ("Hello  World", 0, Some("hello-world")),
        (" News ", 5, Some("news")),
        (" Voice Room ", 2, Some("Voice Room")),
        ("Category", 4, Some("Category")),
        ("   ", 0, None),
        ("", 4, None),
    ] {
        assert_eq!(channel_name(given, kind).as_deref(), name, "{given:?}");
    }
    assert!(channel_name(&"x".repeat(100), 0).is_some() && channel_name(&"x".repeat(101), 0).is_none());
}

#[test]
fn channels_are_created_and_changed() {
    let form = ChannelForm::parse_create(&map(json!({
        "name": "My Channel", "topic": "t", "parent_id": "9", "nsfw": true, "rate_limit_per_user": 5, "position": 3,
        "permission_overwrites": [
            {"id": "1", "type": 0, "allow": "1024", "deny": "0"},
            {"id": 2, "type": "member", "deny": 2048},
        ],
    })))
    .expect("valid");
    let mut row = Channel { id: 4, ..Channel::default() };
    form.apply(&mut row);
    assert_eq!((row.name.as_str(), row.topic.as_str(), row.parent_id, row.r#type), ("my-channel", "t", 9, 0));
    assert_eq!((row.id, row.nsfw, row.rate_limit_per_user, row.position), (4, true, 5, 3));
    let overwrites: Vec<_> =
        row.overwrites.iter().map(|one| (one.id, one.r#type, one.allow, one.deny)).collect();
    assert_eq!(overwrites, [(1, 0, 1_024, 0), (2, 1, 0, 2_048)]);

    let before = row.clone();
    ChannelForm::parse_change(&Map::new(), 0).expect("valid").apply(&mut row);
    assert_eq!(row, before, "absent fields stay");
    let change = map(json!({"topic": null, "parent_id": null, "name": "NEW"}));
    ChannelForm::parse_change(&change, 0).expect("valid").apply(&mut row);
    assert_eq!((row.topic.as_str(), row.parent_id, row.name.as_str()), ("", 0, "new"));

    let failing = |value| codes(&ChannelForm::parse_create(&map(value)).expect_err("invalid"));
    assert_eq!(failing(json!({})), ["name=BASE_TYPE_REQUIRED"]);
    assert_eq!(failing(json!({"name": "x", "type": 15})), ["type=BASE_TYPE_CHOICES"]);
    assert_eq!(failing(json!({"name": "x", "topic": "t".repeat(1_025)})), ["topic=BASE_TYPE_MAX_LENGTH"]);
    assert_eq!(
        failing(json!({"name": "x", "rate_limit_per_user": 21_601})),
        ["rate_limit_per_user=NUMBER_TYPE_MAX"]
    );
    assert_eq!(failing(json!({"name": "x", "position": -1})), ["position=NUMBER_TYPE_MIN"]);
    assert_eq!(
        failing(json!({"name": "x", "permission_overwrites": [{"type": 2}]})),
        ["permission_overwrites.0.id=BASE_TYPE_REQUIRED", "permission_overwrites.0.type=NUMBER_TYPE_MAX"]
    );
}

#[test]
fn roles_are_created_and_changed() {
    let parse = |value| RoleForm::parse(&map(value));
    let mut row = Role::default();
    parse(json!({})).expect("valid").apply(&mut row);
    assert_eq!((row.name.as_str(), row.permissions), ("new role", 0));
    let form = parse(
        json!({"name": "mods", "permissions": "8192", "color": 5, "colors": {"primary_color": 7}, "hoist": true}),
    );
    form.expect("valid").apply(&mut row);
    assert_eq!((row.name.as_str(), row.permissions, row.color, row.hoist), ("mods", 8_192, 7, true));
    assert_eq!(
        codes(&parse(json!({"name": "x".repeat(101)})).expect_err("invalid")),
        ["name=BASE_TYPE_MAX_LENGTH"]
    );
    assert_eq!(
        codes(&parse(json!({"permissions": "many"})).expect_err("invalid")),
        ["permissions=BASE_TYPE_BAD_INT"]
    );
}

#[test]
fn a_name_can_be_seen() {
    for unseen in ["\u{200B}\u{200B}", "\u{3164}\u{2800}", "\u{202E}\u{FEFF}", "a\0b"] {
        let body = map(json!({"name": unseen}));
        let found = [
            GuildForm::parse_create(&body).err(),
            ChannelForm::parse_create(&body).err(),
            ChannelForm::parse_change(&body, 2).err(),
            RoleForm::parse(&body).err(),
        ];
        for errors in found {
            assert_eq!(codes(&errors.expect(unseen)), ["name=STRING_TYPE_REGEX"]);
        }
    }
    let family = map(json!({"name": "\u{1F468}\u{200D}\u{1F469} x"}));
    assert!(GuildForm::parse_create(&family).is_ok(), "joiners inside of what is seen stay");
}
