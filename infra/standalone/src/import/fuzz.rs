//! Lines and exports from a stranger's file: whatever the bytes, no panic, and nothing beyond the bounds is taken.
//!
//! `WEIR_FUZZ_CASES` is the number of inputs for each target; by default a few seconds' worth.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

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

fn run<S: Strategy>(target: &str, inputs: &S, mut check: impl FnMut(S::Value)) {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    let cases = cases.unwrap_or(CASES_DEFAULT);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    // proptest wants `Fn`.
    let check = std::cell::RefCell::new(&mut check);
    let outcome = runner.run(inputs, |input| {
        (check.borrow_mut())(input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
    println!("{target}: {cases} inputs");
}

/// Random bytes, and a valid text with some bytes changed, put in or cut off.
fn bytes(valid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            "null",
            "1e9",
            "-1",
            "\\ud83e",
            "\u{0}",
            "9".repeat(30).leak()
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let edit = (0..valid.len(), 0_usize..4, piece);
    let mutated = proptest::collection::vec(edit, 0..5).prop_map(move |edits| {
        let mut text = valid.as_bytes().to_vec();
        for (at, cut, piece) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece);
        }
        text
    });
    prop_oneof![1 => proptest::collection::vec(any::<u8>(), 0..300), 4 => mutated]
}

fn bounded(line: &line::Line<'_>) {
    assert!((1..=line::CONTENT_MAX).contains(&line.content.chars().count()));
    assert!((1..=line::CHANNEL_MAX).contains(&line.channel.chars().count()));
    assert!((1..=line::AUTHOR_MAX).contains(&line.author.chars().count()));
    assert!(line.at_ms <= NOW as i64);
}

#[test]
fn import_line() {
    run("import line", &bytes(LINE), |input| {
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
    run("exported message", &bytes(EXPORTED), |input| {
        if let Ok(line) = export::parse(&input, "c", 1, NOW) {
            bounded(&line);
        }
    });
}

#[test]
fn exported_file() {
    run("exported file", &bytes(FILE), |input| {
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
