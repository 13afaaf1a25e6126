//! One line of a chat file: `{channel, author, timestamp, content, action?, reply_to?, id?}`. Other fields are ignored.

use std::borrow::Cow;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use weir_proto::id::EPOCH_MS;

/// Longest content, in Unicode code points: Discord's limit for bots.
pub(crate) const CONTENT_MAX: usize = 2_000;
/// Longest channel name, in code points: Discord's.
pub(crate) const CHANNEL_MAX: usize = 100;
/// Longest author name, in code points: Discord's longest, that of webhooks.
pub(crate) const AUTHOR_MAX: usize = 80;

/// A line that can be imported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Name of its channel.
    pub(crate) channel: Cow<'a, str>,
    /// Name of its author.
    pub(crate) author: Cow<'a, str>,
    /// Milliseconds since 1970-01-01T00:00Z; not below [`EPOCH_MS`], where ids begin.
    pub(crate) at_ms: u64,
    /// True if the file's time is below [`EPOCH_MS`]: the message keeps its place, its time cannot be told.
    pub(crate) before_epoch: bool,
    /// What is stored.
    pub(crate) content: Cow<'a, str>,
    /// The line that it replies to.
    pub(crate) reply_to: Option<u64>,
    /// The number that others reply to.
    pub(crate) number: u64,
    /// True if the line tells its number itself, as its `id`.
    pub(crate) has_id: bool,
}

/// Why a line cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    /// Longer than [`super::source::LINE_BYTES_MAX`].
    #[error("it is longer than {} bytes", super::source::LINE_BYTES_MAX)]
    TooLong,
    /// Not an object of that form.
    #[error("it is not the JSON object wanted: {reason}")]
    Json {
        /// What the parser said.
        reason: String,
    },
    /// Empty or too long a channel name.
    #[error("channel must have 1 to {CHANNEL_MAX} characters")]
    Channel,
    /// Empty or too long an author name.
    #[error("author must have 1 to {AUTHOR_MAX} characters")]
    Author,
    /// Not RFC 3339.
    #[error("timestamp must be RFC 3339, such as 2019-09-04T16:20:00Z")]
    Timestamp,
    /// Later than now. A channel's next id is above its last, so one line from the future would drag every later message of its channel
    /// there; the data service refuses such ids.
    #[error("timestamp lies in the future")]
    Future,
    /// An earlier line has this id.
    #[error("its id {id} is that of an earlier line")]
    Repeated {
        /// The id.
        id: u64,
    },
    /// No content.
    #[error("content is empty")]
    Empty,
    /// Too much content.
    #[error("content has {count} characters, at most {CONTENT_MAX} are allowed")]
    Content {
        /// Code points, as they would be stored.
        count: usize,
    },
}

#[derive(Deserialize)]
#[serde(expecting = "an object with channel, author, timestamp and content")]
struct Raw<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    author: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default)]
    action: Option<bool>,
    #[serde(default)]
    reply_to: Option<u64>,
    #[serde(default)]
    id: Option<u64>,
}

/// Understands a line. `position` is its number in the file, from 1; it stands in for a missing `id`. `now_ms` is the present.
pub(crate) fn parse(bytes: &[u8], position: u64, now_ms: u64) -> Result<Line<'_>, BadLine> {
    let raw: Raw<'_> =
        serde_json::from_slice(bytes).map_err(|error| BadLine::Json { reason: reason(&error) })?;
    if !within(&raw.channel, CHANNEL_MAX) {
        return Err(BadLine::Channel);
    }
    if !within(&raw.author, AUTHOR_MAX) {
        return Err(BadLine::Author);
    }
    let at = OffsetDateTime::parse(&raw.timestamp, &Rfc3339).map_err(|_| BadLine::Timestamp)?;
    let at_ms = at.unix_timestamp_nanos().div_euclid(1_000_000);
    let before_epoch = at_ms < i128::from(EPOCH_MS);
    if at_ms > i128::from(now_ms) {
        return Err(BadLine::Future);
    }
    // Years up to 9999 in milliseconds fit easily; below the epoch the epoch stands in.
    let at_ms = u64::try_from(at_ms).unwrap_or(0).max(EPOCH_MS);
    if raw.content.is_empty() {
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
        before_epoch,
        content,
        reply_to: raw.reply_to,
        number: raw.id.unwrap_or(position),
        has_id: raw.id.is_some(),
    })
}

/// What the parser said, without its line: it only ever sees one.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.replace(&format!(" at line {} column ", error.line()), " at column ")
}

/// The form in which Discord's own `/me` stores an action.
fn action(content: &str) -> String {
    format!("_{content}_")
}

fn within(text: &str, max: usize) -> bool {
    !text.is_empty() && text.chars().take(max + 1).count() <= max
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
        assert_eq!((line.at_ms, line.before_epoch), (1_527_580_800_250, false));
    }

    #[test]
    fn without_an_id_its_place_in_the_file_is_its_number() {
        let text = json("a", "b", "2020-01-01T00:00:00Z", "c");
        assert_eq!(ok(&text).number, 7);
    }

    #[test]
    fn what_is_older_than_ids_keeps_its_place_at_their_beginning() {
        for timestamp in ["2004-11-15T01:00:05.000Z", "1960-01-01T00:00:00Z", "2014-12-31T23:59:59.999Z"] {
            let text = json("a", "b", timestamp, "c");
            let line = ok(&text);
            assert_eq!((line.at_ms, line.before_epoch), (EPOCH_MS, true), "{timestamp}");
        }
        let text = json("a", "b", "2015-01-01T00:00:00Z", "c");
        assert!(!ok(&text).before_epoch);
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
        // The form that is stored counts: the two underscores of an action too.
        let text = serde_json::json!({ "channel": "a", "author": "b", "timestamp": good, "content": long(CONTENT_MAX), "action": true });
        assert_eq!(
            parse(text.to_string().as_bytes(), 1, NOW),
            Err(BadLine::Content { count: CONTENT_MAX + 2 })
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_as_content(content in "\\PC{1,200}", channel in "\\PC{1,20}", author in "\\PC{1,20}") {
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
