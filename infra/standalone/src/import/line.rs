//! One line of a chat file: `{channel, author, timestamp, content, action?, reply_to?, id?}`. Other fields
//! are ignored.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use weir_discord::validate::{is_blank, is_empty_content};

/// Longest content, in Unicode code points. It is the store's limit, and Discord's for subscribers; bots may
/// send half of it.
pub(crate) const CONTENT_MAX: usize = 4_000;
/// Longest channel name, in code points; Discord's limit.
pub(crate) const CHANNEL_MAX: usize = 100;
/// Longest author name, in code points; Discord's limit for webhooks, its longest.
pub(crate) const AUTHOR_MAX: usize = 80;

/// A line that can be imported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Name of the channel.
    pub(crate) channel: Cow<'a, str>,
    /// Name of the author.
    pub(crate) author: Cow<'a, str>,
    /// Milliseconds since 1970-01-01T00:00Z. A message from before [`weir_proto::id::EPOCH_MS`] keeps its
    /// place, but its time cannot be stored.
    pub(crate) at_ms: i64,
    /// The content to store.
    pub(crate) content: Cow<'a, str>,
    /// The number of the line that this one replies to.
    pub(crate) reply_to: Option<u64>,
    /// The number by which other lines reply to this one.
    pub(crate) number: u64,
    /// True if the line has an explicit `id`.
    pub(crate) has_id: bool,
}

/// Why a line cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    /// The line is longer than [`super::source::LINE_BYTES_MAX`].
    #[error("it is longer than {} bytes", super::source::LINE_BYTES_MAX)]
    TooLong,
    /// The line is not a JSON object of the expected form.
    #[error("it is not the JSON object wanted: {reason}")]
    Json {
        /// The parser's message.
        reason: String,
    },
    /// The channel name is missing, too long, or has no visible character.
    #[error("channel must have 1 to {CHANNEL_MAX} characters, of which something can be seen")]
    Channel,
    /// The author name is missing, too long, or has no visible character.
    #[error("author must have 1 to {AUTHOR_MAX} characters, of which something can be seen")]
    Author,
    /// A field contains U+0000, which ends a text for many clients.
    #[error("{field} contains U+0000")]
    Nul {
        /// The name of the field.
        field: &'static str,
    },
    /// The timestamp is not RFC 3339.
    #[error("timestamp must be RFC 3339, such as 2019-09-04T16:20:00Z")]
    Timestamp,
    /// The timestamp is later than now. A channel's next id is above its last, so one line from the future
    /// would move every later message of the channel to that time; the data service refuses such ids.
    #[error("timestamp lies in the future")]
    Future,
    /// An earlier line has this id.
    #[error("its id {id} is that of an earlier line")]
    Repeated {
        /// The id.
        id: u64,
    },
    /// The content is missing, or only whitespace.
    #[error("content is empty, or only whitespace")]
    Empty,
    /// The content is too long.
    #[error("content has {count} characters, at most {CONTENT_MAX} are allowed")]
    Content {
        /// Code points of the content as it would be stored.
        count: usize,
    },
}

/// A message as the file has it.
#[derive(Deserialize)]
#[serde(expecting = "an object with channel, author, timestamp and content")]
pub(super) struct Raw<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) author: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) content: Cow<'a, str>,
    #[serde(default)]
    pub(super) action: Option<bool>,
    #[serde(default, deserialize_with = "reply_to")]
    pub(super) reply_to: Option<u64>,
    #[serde(default, deserialize_with = "id")]
    pub(super) id: Option<u64>,
}

/// A whole number, or the same as text. Beyond 2^53 many languages cannot write a number exactly in any other
/// way.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Plain(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

/// Reads a message's own number; errors name the field.
pub(super) fn id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    number("id", from)
}

/// Reads the number of the message that this one replies to; errors name the field.
pub(super) fn reply_to<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    number("reply_to", from)
}

fn number<'de, D: Deserializer<'de>>(field: &str, from: D) -> Result<Option<u64>, D::Error> {
    let wrong = || D::Error::custom(format!("{field} must be a whole number, or one as text"));
    match Option::<Number<'de>>::deserialize(from)? {
        None => Ok(None),
        Some(Number::Plain(number)) => Ok(Some(number)),
        // `parse` alone would accept a sign.
        Some(Number::Text(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Some).map_err(|_| wrong())
        }
        Some(Number::Text(_) | Number::Other(_)) => Err(wrong()),
    }
}

/// Parses a line. `position` is its number in the file, from 1, and replaces a missing `id`. `now_ms` is the
/// current time.
pub(crate) fn parse(bytes: &[u8], position: u64, now_ms: u64) -> Result<Line<'_>, BadLine> {
    let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(|error| BadLine::json(&error))?;
    checked(raw, position, now_ms)
}

/// Checks the fields of a message.
pub(super) fn checked(raw: Raw<'_>, position: u64, now_ms: u64) -> Result<Line<'_>, BadLine> {
    if !within(&raw.channel, CHANNEL_MAX) {
        return Err(BadLine::Channel);
    }
    if !within(&raw.author, AUTHOR_MAX) {
        return Err(BadLine::Author);
    }
    for (field, text) in [("channel", &raw.channel), ("author", &raw.author), ("content", &raw.content)] {
        if text.contains('\0') {
            return Err(BadLine::Nul { field });
        }
    }
    let at = OffsetDateTime::parse(&raw.timestamp, &Rfc3339).map_err(|_| BadLine::Timestamp)?;
    let at_ms = at.unix_timestamp_nanos().div_euclid(1_000_000);
    if at_ms > i128::from(now_ms) {
        return Err(BadLine::Future);
    }
    // Years up to 9999 in milliseconds fit easily.
    let at_ms = i64::try_from(at_ms).map_err(|_| BadLine::Timestamp)?;
    if is_empty_content(&raw.content) {
        return Err(BadLine::Empty);
    }
    let content = if raw.action == Some(true) { action(&raw.content).into() } else { raw.content };
    let count = content.chars().count();
    if count > CONTENT_MAX {
        return Err(BadLine::Content { count });
    }
    Ok(Line {
        channel: raw.channel,
        author: raw.author,
        at_ms,
        content,
        reply_to: raw.reply_to,
        number: raw.id.unwrap_or(position),
        has_id: raw.id.is_some(),
    })
}

impl BadLine {
    /// The parser's error.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json { reason: reason(error) }
    }
}

/// The parser's message without its line number, which is always 1.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.replace(&format!(" at line {} column ", error.line()), " at column ")
}

/// The form in which Discord stores an action of `/me`.
fn action(content: &str) -> String {
    format!("_{content}_")
}

fn within(text: &str, max: usize) -> bool {
    !is_blank(text) && text.chars().take(max + 1).count() <= max
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: u64 = 1_767_225_600_000;

    fn json(channel: &str, author: &str, timestamp: &str, content: &str) -> String {
        serde_json::json!({ "channel": channel, "author": author, "timestamp": timestamp, "content": content }).to_string()
    }

    fn ok(text: &str) -> Line<'_> {
        parse(text.as_bytes(), 7, NOW).expect("a good line")
    }

    #[test]
    fn a_full_line_is_understood() {
        let line = ok(
            r#"{"id": 12, "channel": "rust", "author": "ferris", "timestamp": "2018-05-29T10:00:00.250+02:00",
               "content": "waves", "action": true, "reply_to": 9, "server": "ignored"}"#,
        );
        assert_eq!((line.number, line.reply_to), (12, Some(9)));
        assert_eq!((&*line.channel, &*line.author, &*line.content), ("rust", "ferris", "_waves_"));
        assert_eq!(line.at_ms, 1_527_580_800_250);
    }

    #[test]
    fn without_an_id_its_place_in_the_file_is_its_number() {
        let text = json("a", "b", "2020-01-01T00:00:00Z", "c");
        assert_eq!(ok(&text).number, 7);
    }

    #[test]
    fn times_are_read_also_where_ids_have_not_begun() {
        for (timestamp, at_ms) in
            [("1960-01-01T00:00:00Z", -315_619_200_000), ("2014-12-31T23:59:59.999Z", 1_420_070_399_999)]
        {
            assert_eq!(ok(&json("a", "b", timestamp, "c")).at_ms, at_ms, "{timestamp}");
        }
    }

    #[test]
    fn numbers_may_be_text_as_in_every_export_of_discord() {
        let of = |id: &str, reply_to: &str| {
            let text = format!(
                r#"{{"channel":"a","author":"b","timestamp":"2020-01-01T00:00:00Z","content":"c","id":{id},"reply_to":{reply_to}}}"#
            );
            let line = parse(text.as_bytes(), 7, NOW);
            line.map(|line| (line.has_id, line.number, line.reply_to)).map_err(|fault| fault.to_string())
        };
        let big = 1_113_502_713_471_422_484;
        assert_eq!(of("\"1113502713471422484\"", "\"9\""), Ok((true, big, Some(9))));
        assert_eq!(of("1113502713471422484", "9"), Ok((true, big, Some(9))));
        assert_eq!(of("null", "null"), Ok((false, 7, None)));
        for text in ["\"\"", "\"x\"", "\"+1\"", "\"-1\"", "-1", "1.5", "[]", "{}", "\"18446744073709551616\""]
        {
            let told = of(text, "1").expect_err(text);
            assert!(told.contains("id must be a whole number"), "{told}");
            let told = of("1", text).expect_err(text);
            assert!(told.contains("reply_to must be a whole number"), "{told}");
        }
    }

    #[test]
    fn content_is_as_long_as_the_store_holds() {
        let text = |count: usize| json("a", "b", "2020-01-01T00:00:00Z", &"漢".repeat(count));
        assert_eq!(ok(&text(4_000)).content.chars().count(), 4_000);
        assert_eq!(parse(text(4_001).as_bytes(), 1, NOW), Err(BadLine::Content { count: 4_001 }));
    }

    #[test]
    fn text_of_which_nobody_sees_anything_is_a_fault_as_it_is_to_the_api() {
        let of = |channel: &str, author: &str, content: &str| {
            let text = json(channel, author, "2020-01-01T00:00:00Z", content);
            parse(text.as_bytes(), 1, NOW).map(drop).map_err(|fault| fault.to_string())
        };
        for nothing in ["\u{200B}", " \u{3000}", "\u{2060}\u{FEFF}", "\u{1BCA0}", "\u{1D173}"] {
            for (line, field) in [(of(nothing, "b", "c"), "channel"), (of("a", nothing, "c"), "author")] {
                let told = line.expect_err(field);
                assert!(told.starts_with(field), "{nothing:?}: {told}");
            }
        }
        for (line, field) in [
            (of("a\0", "b", "c"), "channel"),
            (of("a", "\0b", "c"), "author"),
            (of("a", "b", "c\0"), "content"),
        ] {
            let told = line.expect_err(field);
            assert!(told.starts_with(field) && told.contains("U+0000"), "{told}");
        }
        assert!(of("a", "b", " \u{3000}\u{1}").is_err_and(|told| told.starts_with("content")));
        assert_eq!(of("a\u{200B}", "\u{200B}b", "\u{200B}"), Ok(()), "bots send it to say nothing");
    }

    #[test]
    fn each_fault_has_its_reason() {
        let good = "2020-01-01T00:00:00Z";
        let long = |count: usize| "ä".repeat(count);
        let cases = [
            (json("", "b", good, "c"), BadLine::Channel),
            (json(&long(CHANNEL_MAX + 1), "b", good, "c"), BadLine::Channel),
            (json("a", "", good, "c"), BadLine::Author),
            (json("a", &long(AUTHOR_MAX + 1), good, "c"), BadLine::Author),
            (json("a", "b", "yesterday", "c"), BadLine::Timestamp),
            (json("a", "b", "2020-01-01", "c"), BadLine::Timestamp),
            (json("a", "b", "2026-01-01T00:00:00.001Z", "c"), BadLine::Future),
            (json("a", "b", good, ""), BadLine::Empty),
            (json("a", "b", good, &long(CONTENT_MAX + 1)), BadLine::Content { count: CONTENT_MAX + 1 }),
        ];
        for (text, fault) in cases {
            assert_eq!(parse(text.as_bytes(), 1, NOW), Err(fault), "{text}");
        }
        for text in
            ["", "{}", "[]", "{", "null", r#"{"channel":1,"author":"b","timestamp":"x","content":"c"}"#]
        {
            assert!(matches!(parse(text.as_bytes(), 1, NOW), Err(BadLine::Json { .. })), "{text}");
        }
        let told = |text: &str| parse(text.as_bytes(), 35, NOW).expect_err("wrong").to_string();
        assert!(told("null").contains("expected an object with channel, author"), "{}", told("null"));
        assert!(told("{").ends_with("at column 1"), "{}", told("{"));
        // The bound counts the stored form, with the two underscores of an action.
        let text = serde_json::json!({ "channel": "a", "author": "b", "timestamp": good, "content": long(CONTENT_MAX), "action": true });
        assert_eq!(
            parse(text.to_string().as_bytes(), 1, NOW),
            Err(BadLine::Content { count: CONTENT_MAX + 2 })
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_as_content(content in "\\PC{1,200}", channel in "\\PC{1,20}", author in "\\PC{1,20}") {
            prop_assume!(![&content, &channel, &author].into_iter().any(|text| is_blank(text)));
            let text = json(&channel, &author, "2020-01-01T00:00:00.001Z", &content);
            let line = ok(&text);
            prop_assert_eq!(&*line.content, &content);
            prop_assert_eq!((&*line.channel, &*line.author), (&*channel, &*author));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, 1, NOW);
        }
    }
}
