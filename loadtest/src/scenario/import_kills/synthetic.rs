//! Makes a chat file of any size for runs without one: uneven channels, replies, actions, times that stand
//! still or go back, lines that are no messages. The same seed gives the same file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use fastrand::Rng;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::random::between;

/// Number of channels. Half of the messages are in the first, half of the rest in the second, and so on.
const CHANNELS: u64 = 6;
const AUTHORS: u64 = 150;
/// Time of the first message: 2019-09-04T16:20:00Z. With it the messages span several buckets.
const FIRST_MS: i64 = 1_567_614_000_000;
/// Longest step from one message to the next: ten thousand messages take about three months.
const STEP: Duration = Duration::from_secs(1_500);
/// Longest message, in words.
const WORDS_MAX: u64 = 40;
const WORDS: [&str; 12] = [
    "channel",
    "Bucket",
    "größer",
    "ok",
    "日本語",
    "🦀",
    "<@42>",
    "\"quoted\"",
    "a\\b",
    "http://example.org/?q=1&r=2",
    "\u{200b}",
    "…",
];

/// Writes `messages` messages, and some lines that are no messages, to a gzip file.
pub(crate) fn write(path: &Path, messages: u64, random: &mut Rng) -> Result<()> {
    let mut out = BufWriter::new(GzEncoder::new(File::create(path)?, Compression::fast()));
    let (mut at_ms, mut written, mut line) = (FIRST_MS, 0, 0_u64);
    while written < messages {
        line += 1;
        if random.u64(..200) == 0 {
            let wrong = ["", "{", "{\"channel\":\"c0\"}", "null"];
            writeln!(out, "{}", random.choice(wrong).unwrap_or_default())?;
            continue;
        }
        written += 1;
        at_ms = next_time(at_ms, random);
        let mut message = json!({
            "channel": format!("c{}", channel(random)),
            "author": format!("author {}", random.u64(..AUTHORS)),
            "timestamp": timestamp(at_ms)?,
            "content": content(written, random),
        });
        if random.u64(..5) == 0 {
            // The reply's target is often in another channel and sometimes later in the file. Those replies
            // cannot be kept.
            message["reply_to"] = (line.saturating_sub(20) + random.u64(..22)).into();
        }
        if random.u64(..30) == 0 {
            message["action"] = true.into();
        }
        writeln!(out, "{message}")?;
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?.sync_all()?;
    Ok(())
}

fn channel(random: &mut Rng) -> u64 {
    u64::from(random.u64(..).trailing_zeros()).min(CHANNELS - 1)
}

fn next_time(at_ms: i64, random: &mut Rng) -> i64 {
    // The steps last minutes.
    let step = between(random, Duration::ZERO, STEP).as_millis() as i64;
    match random.u64(..20) {
        0..5 => at_ms,
        5 => at_ms - step,
        _ => at_ms + step,
    }
}

fn timestamp(at_ms: i64) -> Result<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)?;
    Ok(at.format(&Rfc3339)?)
}

fn content(number: u64, random: &mut Rng) -> String {
    let mut text = format!("message {number}");
    for _ in 0..random.u64(..WORDS_MAX) {
        text.push(' ');
        text.push_str(random.choice(WORDS).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::import_kills::chat::Chat;

    #[test]
    fn a_file_has_what_was_asked_for_and_is_the_same_each_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |name: &str, seed| {
            let path = directory.path().join(name);
            write(&path, 2_000, &mut Rng::with_seed(seed)).expect("written");
            Chat::read(&path, OffsetDateTime::now_utc()).expect("read")
        };
        let chat = make("a", 1);
        assert_eq!((chat.messages, chat.channels.len() as u64), (2_000, CHANNELS));
        assert!(chat.skipped > 0);
        let replies = chat.channels.values().flatten().filter(|promised| promised.reply_to.is_some()).count();
        assert!((100..400).contains(&replies), "{replies}");
        assert_eq!(make("b", 1), chat);
        assert_ne!(make("c", 2), chat);
    }
}
