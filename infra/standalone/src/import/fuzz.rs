//! Fuzzes lines and exports of untrusted files: for any bytes nothing panics, and nothing beyond the bounds
//! is accepted.

use weir_fuzz::{run, text};

use super::{
    export::{self, Header},
    format, line,
};

const CASES_DEFAULT: u32 = 5_000;
/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600_000;
const LINE: &str = r#"{"id":"12","channel":"rust","author":"ferris","timestamp":"2018-05-29T10:00:00.250+02:00","content":"waves \ud83e\udd80","action":true,"reply_to":9}"#;
const EXPORTED: &str = r#"{"id":"86","type":"Reply","timestamp":"2021-07-19T13:34:18.25+00:00","content":"yes","author":{"name":"ann","discriminator":"0042"},"attachments":[{"url":"https://x/y"}],"reference":{"messageId":"7"}}"#;
const FILE: &str =
    r#"{"guild":{"name":"g"},"channel":{"name":"c"},"messages":[{"id":"1"},{"a":"}\"]"}],"messageCount":2}"#;

fn bounded(line: &line::Line<'_>) {
    assert!((1..=line::CONTENT_MAX).contains(&line.content.chars().count()));
    assert!((1..=line::CHANNEL_MAX).contains(&line.channel.chars().count()));
    assert!((1..=line::AUTHOR_MAX).contains(&line.author.chars().count()));
    assert!(line.at_ms <= NOW as i64);
}

#[test]
fn import_line() {
    run("import line", CASES_DEFAULT, &text([LINE]), |input| {
        if let Ok(line) = line::parse(&input, 1, NOW) {
            bounded(&line);
            let again = serde_json::json!({
                "channel": line.channel, "author": line.author, "timestamp": "2020-01-01T00:00:00Z", "content": line.content,
                "reply_to": line.reply_to.map(|number| number.to_string()), "id": line.number,
            });
            let again = again.to_string();
            let read = line::parse(again.as_bytes(), 1, NOW).expect("what was taken is taken again");
            assert_eq!(
                (&read.content, read.number, read.reply_to),
                (&line.content, line.number, line.reply_to)
            );
        }
    });
}

#[test]
fn exported_message() {
    run("exported message", CASES_DEFAULT, &text([EXPORTED]), |input| {
        if let Ok(line) = export::parse(&input, "c", 1, NOW) {
            bounded(&line);
        }
    });
}

#[test]
fn exported_file() {
    run("exported file", CASES_DEFAULT, &text([FILE]), |input| {
        let _ = format::of(&input);
        let from = Header::of(&input).map_or(0, |header| header.bytes);
        let mut rest = &input[from..];
        let mut message = Vec::new();
        let mut read = 0;
        while let Ok(Some(_)) = export::next(&mut rest, &mut message) {
            read += message.len();
            message.clear();
        }
        assert!(read <= input.len());
    });
}
