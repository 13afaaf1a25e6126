//! Columns as any other writer may have left them: none may cause a panic, and a message that was read must
//! bind as it was read.

use proptest::{option, prelude::*};
use weir_fuzz::{CASES_DEFAULT, binary, run};

use super::*;

fn number() -> impl Strategy<Value = Option<i64>> {
    option::of(prop_oneof![any::<i64>(), prop::sample::select(vec![0, 1, -1, i64::MAX, i64::MIN])])
}

fn words() -> impl Strategy<Value = Option<String>> {
    option::of(".{0,20}")
}

fn ids() -> impl Strategy<Value = Option<Vec<i64>>> {
    option::of(proptest::collection::vec(any::<i64>(), 0..4))
}

fn more() -> impl Strategy<Value = Vec<u8>> {
    let more = Message { pinned_at_ms: 5, ..Message::default() };
    binary([prost::Message::encode_to_vec(&more)])
}

prop_compose! {
    fn rows()(
        numbers in (any::<i64>(), number(), number(), number(), number(), number(), number()),
        words in (words(), words(), words()),
        lists in (ids(), ids()),
        rest in (option::of(any::<i32>()), option::of(any::<bool>()), option::of(any::<bool>()), option::of(more())),
    ) -> MessageRow {
        let (message_id, author_id, flags, reply_to, edited_at_ms, rev, last_rev) = numbers;
        let (content, nonce, embeds_json) = words;
        let (mention_user_ids, mention_role_ids) = lists;
        let (r#type, mention_everyone, tts, more) = rest;
        MessageRow {
            message_id, author_id, content, nonce, r#type, flags, reply_to, edited_at_ms, mention_user_ids,
            mention_role_ids, mention_everyone, embeds_json, tts, rev, last_rev, more,
        }
    }
}

/// The number that a column binds; 0 if the column is left out.
fn bound(column: &Column) -> i64 {
    match column {
        MaybeUnset::Set(CqlValue::BigInt(number)) => *number,
        MaybeUnset::Unset => 0,
        MaybeUnset::Set(other) => panic!("{other:?}"),
    }
}

#[test]
fn rows_of_messages() {
    run("cql message row", CASES_DEFAULT, &rows(), |row| {
        let (message_id, author_id, flags) = (row.message_id, row.author_id, row.flags);
        let readable =
            row.more.as_deref().is_none_or(|more| <Message as prost::Message>::decode(more).is_ok());
        let Ok(found) = row.into_message(7) else {
            assert!(!readable);
            return;
        };
        let Some(message) = found else {
            assert_eq!(author_id.unwrap_or(0), 0);
            return;
        };
        assert!(message.last_rev >= message.rev);
        let orderable = [message.id, message.rev, message.last_rev].iter().all(|number| *number < 1 << 63);
        match whole_message(message) {
            Ok(columns) => {
                assert!(orderable);
                assert_eq!(bound(&columns[2]), message_id);
                assert_eq!((Some(bound(&columns[3])), bound(&columns[7])), (author_id, flags.unwrap_or(0)));
            }
            Err(error) => assert!(!orderable, "{error}"),
        }
    });
}

#[test]
fn rows_that_are_one_message() {
    let valid = Message { id: 5, channel_id: 7, content: "text".into(), ..Message::default() };
    let inputs = option::of(binary([prost::Message::encode_to_vec(&valid)]));
    run("cql encoded row", CASES_DEFAULT, &inputs, |row| match decode::<Message>("messages", row.clone()) {
        Ok(_) => assert!(row.is_some()),
        Err(ReadError::Corrupt { reason }) => assert!(reason.starts_with("messages: ") && reason.len() < 300),
        Err(error) => panic!("{error}"),
    });
}
