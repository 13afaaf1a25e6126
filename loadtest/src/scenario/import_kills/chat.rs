//! What a chat file promises, read from its documented form alone: for each channel its messages in order of
//! their times, with author and reply. Messages of one instant are in the file's order, or in the reverse
//! order if more of the channel's times fall than rise.
//!
//! This is deliberately not the importer's own code: the check must not share its faults.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Longest line, in bytes. A longer one is not a message.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Longest content, channel name and author name, in characters.
const CONTENT_MAX: usize = 4_000;
const CHANNEL_MAX: usize = 100;
const AUTHOR_MAX: usize = 80;
/// 2015-01-01T00:00Z: ids hold no time before it.
const IDS_BEGIN_MS: i64 = 1_420_070_400_000;
/// How far in the future a message may be.
const AHEAD_MAX: time::Duration = time::Duration::days(1);

/// The messages of a chat file. Each takes about 40 bytes, whatever its length.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chat {
    /// Messages by channel name.
    pub(crate) channels: BTreeMap<String, Vec<Promised>>,
    pub(crate) messages: u64,
    /// Number of lines that are no messages.
    pub(crate) skipped: u64,
}

/// A message that must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promised {
    /// Number of its line in the file, from 1, to find it again.
    pub(crate) line: u64,
    pub(crate) content: u64,
    pub(crate) author: u64,
    /// The message's time, in milliseconds since 1970-01-01T00:00Z. All times before 2015 are moved to that
    /// year's first instant.
    pub(crate) at_ms: i64,
    /// Position in its channel of the message that it replies to.
    pub(crate) reply_to: Option<usize>,
}

/// Reduces a text to eight bytes. Two texts of a file have the same digest by accident once in some billion
/// files.
pub(crate) fn digest(text: &str) -> u64 {
    // It has no random keys, so it is the same in each run.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Chat {
    /// Reads a file, plain or gzip by its first bytes. A time is in the future if it is after `now`.
    pub(crate) fn read(path: &Path, now: OffsetDateTime) -> Result<Self> {
        let mut file = File::open(path).with_context(|| path.display().to_string())?;
        let mut magic = [0; 2];
        let is_gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        file.rewind()?;
        let plain: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Self::of(BufReader::new(plain), now).with_context(|| path.display().to_string())
    }

    fn of(mut lines: impl BufRead, now: OffsetDateTime) -> Result<Self> {
        let mut chat = Self::default();
        // By number: channel and line of the last message with it. By line: the number of the message that is
        // replied to.
        let mut numbered: HashMap<u64, (String, u64)> = HashMap::new();
        let mut replies: HashMap<u64, u64> = HashMap::new();
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            if lines.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            // A blank line counts in the numbering and is no message.
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Some(message) = (text.len() <= LINE_BYTES_MAX).then(|| Message::of(text, now)).flatten()
            else {
                chat.skipped += 1;
                continue;
            };
            replies.extend(message.reply_to.map(|number| (line, number)));
            numbered.insert(message.number.unwrap_or(line), (message.channel.clone(), line));
            let promised = Promised {
                line,
                content: digest(&message.content),
                author: digest(&message.author),
                at_ms: message.at_ms,
                reply_to: None,
            };
            chat.channels.entry(message.channel).or_default().push(promised);
            chat.messages += 1;
        }
        for (name, promised) in &mut chat.channels {
            put_in_order(promised);
            let places: HashMap<u64, usize> =
                promised.iter().enumerate().map(|(place, promised)| (promised.line, place)).collect();
            for (place, promised) in promised.iter_mut().enumerate() {
                let replied = replies.get(&promised.line).and_then(|number| numbered.get(number));
                let there = replied.filter(|(channel, _)| channel == name);
                // A reply can only refer to an earlier message of its own channel.
                promised.reply_to =
                    there.and_then(|(_, line)| places.get(line).copied()).filter(|there| *there < place);
            }
        }
        Ok(chat)
    }
}

fn put_in_order(promised: &mut [Promised]) {
    let count = |way: fn(i64, i64) -> bool| {
        promised.windows(2).filter(|pair| way(pair[0].at_ms, pair[1].at_ms)).count()
    };
    if count(|one, next| one > next) > count(|one, next| one < next) {
        promised.reverse();
    }
    // The sort is stable, so messages of one instant keep their order.
    promised.sort_by_key(|promised| promised.at_ms.max(IDS_BEGIN_MS));
}

struct Message {
    channel: String,
    author: String,
    content: String,
    at_ms: i64,
    reply_to: Option<u64>,
    number: Option<u64>,
}

impl Message {
    fn of(line: &[u8], now: OffsetDateTime) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let number = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => text.parse().ok().map(Some),
            Some(value) => value.as_u64().map(Some),
        };
        let is_action = match value.get("action") {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool()?,
        };
        let (channel, author, content) = (text("channel")?, text("author")?, text("content")?);
        let at = OffsetDateTime::parse(&text("timestamp")?, &Rfc3339).ok()?;
        let fits = |text: &str, max| (1..=max).contains(&text.chars().count());
        let content = if is_action && !content.is_empty() { format!("_{content}_") } else { content };
        let holds = fits(&channel, CHANNEL_MAX) && fits(&author, AUTHOR_MAX) && fits(&content, CONTENT_MAX);
        (holds && at <= now + AHEAD_MAX).then_some(())?;
        let at_ms = i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        Some(Self { channel, author, content, at_ms, reply_to: number("reply_to")?, number: number("id")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn read(text: &str) -> Chat {
        Chat::of(text.as_bytes(), NOW).expect("memory is readable")
    }

    fn line(channel: &str, content: &str, rest: &str) -> String {
        format!(
            "{{\"channel\":\"{channel}\",\"author\":\"x\",\"timestamp\":\"2020-01-01T00:00:00Z\",\"content\":\"{content}\"{rest}}}\n"
        )
    }

    #[test]
    fn messages_keep_their_order_and_replies_their_places() {
        let text = [
            line("a", "one", ""),
            line("b", "two", ",\"id\":70"),
            line("a", "three", ",\"reply_to\":1"),
            line("a", "four", ",\"reply_to\":70"),
            line("b", "five", ",\"reply_to\":70"),
            line("a", "waves", ",\"action\":true,\"reply_to\":99"),
        ];
        let chat = read(&text.concat());
        assert_eq!((chat.messages, chat.skipped, chat.channels.len()), (6, 0, 2));
        let replies = |channel: &str| {
            chat.channels[channel].iter().map(|promised| promised.reply_to).collect::<Vec<_>>()
        };
        // A reply can only refer to an earlier message of its own channel.
        assert_eq!(replies("a"), [None, Some(0), None, None]);
        assert_eq!(replies("b"), [None, Some(0)]);
        assert_eq!(chat.channels["a"][3].content, digest("_waves_"));
        assert_eq!(chat.channels["a"][3].line, 6);
    }

    #[test]
    fn messages_are_in_the_order_of_their_times_whatever_that_of_the_file() {
        let at = |second: u32, content: &str, rest: &str| {
            line("a", content, rest).replace("00:00:00Z", &format!("00:00:{second:02}Z"))
        };
        let lines = |chat: Chat| {
            let of = |promised: &Promised| (promised.line, promised.reply_to);
            chat.channels["a"].iter().map(of).collect::<Vec<_>>()
        };
        let newest_first =
            [at(9, "d", ",\"reply_to\":3"), at(5, "c", ""), at(5, "b", ""), at(1, "a", ",\"reply_to\":1")];
        let expected = [(4, None), (3, None), (2, None), (1, Some(1))];
        assert_eq!(lines(read(&newest_first.concat())), expected);
        let one_back = [at(1, "a", ""), at(9, "c", ""), at(5, "b", ",\"reply_to\":2"), at(9, "d", "")];
        assert_eq!(lines(read(&one_back.concat())), [(1, None), (3, None), (2, None), (4, None)]);
    }

    #[test]
    fn what_is_no_message_is_skipped_and_counted() {
        let bad = [
            "{\n".to_owned(),
            line("", "x", ""),
            line("a", "", ""),
            line("a", "", ",\"action\":true"),
            line("a", &"x".repeat(CONTENT_MAX + 1), ""),
            line("a", "x", ",\"reply_to\":\"no\""),
            line("a", "x", "").replace("2020", "2027"),
            line("a", "x", "").replace("2020-01-01T00:00:00Z", "yesterday"),
            line("a", "x", &format!(",\"more\":\"{}\"", "y".repeat(LINE_BYTES_MAX))),
        ];
        let chat = read(&format!("{} \r\n{}", bad.concat(), line("a", "good", "").trim_end()));
        assert_eq!((chat.messages, chat.skipped), (1, bad.len() as u64));
        assert_eq!(chat.channels["a"][0].line, bad.len() as u64 + 2, "a blank line has a number");
    }
}
