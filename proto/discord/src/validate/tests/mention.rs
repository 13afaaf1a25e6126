//! Which users and roles a message pings.

use super::*;

#[test]
fn mentions_in_text() {
    let parsed = ParsedMentions::of(
        "<@5> <@!6><@&7> <@5> @here <@0> <@x> <@8 <@9999999999999999999999> a@b.c <@> <!5>",
    );
    assert_eq!(parsed, ParsedMentions { users: vec![5, 6], roles: vec![7], everyone: true });
    assert!(ParsedMentions::of("@everyone").everyone && ParsedMentions::of("mail@here").everyone);
    assert_eq!(ParsedMentions::of("no @every one"), ParsedMentions::default());
    let many: String = (1..=300).map(|id| format!("<@{id}><@&{id}>")).collect();
    let parsed = ParsedMentions::of(&many);
    assert_eq!((parsed.users.len(), parsed.roles.len()), (MENTIONS_MAX, MENTIONS_MAX));
}

/// Users 1 to 9 exist. Role 11 is mentionable, 12 is not, others do not exist. User 5 wrote the message
/// replied to.
fn resolve(content: &str, allowed: Value, may_mention_everyone: bool) -> (Vec<u64>, Vec<u64>, bool) {
    let form = create(json!({"content": content, "allowed_mentions": allowed})).expect("valid");
    let mentions = Mentions::resolve(
        &ParsedMentions::of(content),
        &form.allowed_mentions,
        &MentionRules {
            replied_author: Some(5),
            may_mention_everyone,
            user_exists: &|id| id < 10,
            role_mentionable: &|id| match id {
                11 => Some(true),
                12 => Some(false),
                _ => None,
            },
        },
    );
    (mentions.users, mentions.roles, mentions.everyone)
}

#[test]
fn allowed_mentions_narrow_what_the_text_names() {
    let text = "<@1> <@2> <@77> <@&11> <@&12> <@&13> @everyone";
    let cases = [
        (Value::Null, true, (vec![1, 2, 5], vec![11, 12], true)),
        (Value::Null, false, (vec![1, 2, 5], vec![11], false)),
        (json!({}), true, (vec![], vec![], false)),
        (json!({"parse": []}), true, (vec![], vec![], false)),
        (json!({"parse": ["users"]}), true, (vec![1, 2], vec![], false)),
        (json!({"parse": ["roles"]}), true, (vec![], vec![11, 12], false)),
        (json!({"parse": ["everyone"]}), true, (vec![], vec![], true)),
        (json!({"parse": ["everyone"]}), false, (vec![], vec![], false)),
        (json!({"users": ["2", 3]}), true, (vec![2], vec![], false)),
        (json!({"roles": ["12"], "parse": ["users"]}), false, (vec![1, 2], vec![], false)),
        (json!({"replied_user": true}), true, (vec![5], vec![], false)),
        (
            json!({"parse": ["users"], "users": [], "replied_user": true}),
            true,
            (vec![1, 2, 5], vec![], false),
        ),
    ];
    for (allowed, may, wanted) in cases {
        assert_eq!(resolve(text, allowed.clone(), may), wanted, "{allowed} {may}");
    }
    assert_eq!(resolve("<@5>", Value::Null, true).0, [5], "each user once");
}

#[test]
fn allowed_mentions_that_contradict_themselves_are_refused() {
    let failing = |allowed: Value| create_codes(json!({"content": "x", "allowed_mentions": allowed}));
    assert_eq!(
        failing(json!({"parse": ["users"], "users": ["1"]})),
        ["allowed_mentions.users=FIELDS_MUTUALLY_EXCLUSIVE"]
    );
    assert_eq!(failing(json!({"parse": ["cats"]})), ["allowed_mentions.parse=BASE_TYPE_CHOICES"]);
    assert_eq!(failing(json!({"users": vec!["1"; 101]})), ["allowed_mentions.users=BASE_TYPE_BAD_LENGTH"]);
    assert_eq!(failing(json!({"roles": ["x"]})), ["allowed_mentions.roles.0=NUMBER_TYPE_COERCE"]);
}
