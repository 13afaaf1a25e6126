//! Batches keep their order and bounds and report correctly what is done, and a job that was cut off
//! continues with the same rows.

use super::*;
use crate::import::{
    held::Held,
    progress::Progress,
    scan::{scan, scan_into},
};
use proptest::prelude::*;
use std::path::Path;

struct File {
    _file: tempfile::NamedTempFile,
    scan: Scan,
}

fn file(lines: &[String]) -> File {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), lines.join("\n")).expect("written");
    let scan = scan(file.path(), 1_767_225_600_000, false, &mut Progress::silent()).expect("good");
    File { _file: file, scan }
}

fn placed(scan: &Scan, lines_done: u64) -> Placed {
    Placed {
        channel_ids: (0..scan.channels.all().len() as u64).map(|n| 100 + n).collect(),
        author_id_base: Snowflake::from_parts(1_600_000_000_000, 3, 0).expect("in range"),
        lines_done,
    }
}

/// The file's batches, made from the lines that were kept. They must equal the batches of the file read
/// again.
fn batches(scan: &Scan, lines_done: u64) -> (Vec<Batch>, Converted) {
    let converted = |scan: &Scan| {
        let mut batches = Vec::new();
        let converted = convert(scan, &placed(scan, lines_done), |batch| {
            batches.push(batch);
            true
        });
        (batches, converted.expect("converted"))
    };
    let kept = converted(scan);
    assert_eq!(kept, converted(&unkept(&scan.path)));
    kept
}

/// The scan of a file that is too long to be kept.
fn unkept(path: &Path) -> Scan {
    let scan =
        scan_into(Held::new(0), path, 1_767_225_600_000, false, &mut Progress::silent()).expect("good");
    assert!(scan.held.lines().is_none());
    scan
}

fn rows(batches: &[Batch]) -> Vec<Message> {
    let requests = batches.iter().flat_map(|batch| &batch.requests);
    let decoded = requests.map(|bytes| ImportMessagesRequest::decode(bytes.as_slice()).expect("ours"));
    let mut rows: Vec<_> = decoded.flat_map(|request| request.messages).collect();
    rows.sort_by_key(|row| (row.channel_id, row.id));
    rows
}

fn line(channel: &str, second: u32, content: &str, more: &str) -> String {
    let (minute, second) = (second / 60 % 60, second % 60);
    format!(
        r#"{{"channel":"{channel}","author":"a","timestamp":"2020-01-01T00:{minute:02}:{second:02}Z","content":"{content}"{more}}}"#
    )
}

#[test]
fn a_reply_finds_its_line_in_the_same_channel_only() {
    let file = file(&[
        line("x", 0, "first", r#","id":11"#),
        line("y", 1, "other", r#","id":12"#),
        line("x", 2, "reply", r#","id":13,"reply_to":11"#),
        line("x", 3, "across", r#","id":14,"reply_to":12"#),
        line("x", 4, "ahead", r#","id":15,"reply_to":16"#),
        line("x", 5, "last", r#","id":16"#),
    ]);
    let (batches, converted) = batches(&file.scan, 0);
    assert_eq!(converted, Converted { written: 6, replies: 1, replies_dropped: 2, moved: 0 });
    let rows = rows(&batches);
    let of = |content: &str| rows.iter().find(|row| row.content == content).expect("there");
    assert_eq!((of("reply").reply_to, of("reply").r#type), (of("first").id, TYPE_REPLY));
    assert_eq!((of("across").reply_to, of("across").r#type, of("ahead").reply_to), (0, 0, 0));
}

#[test]
fn a_newest_first_file_keeps_times_and_replies() {
    let file = file(&[
        line("x", 9, "answer", r#","id":"13","reply_to":"11""#),
        line("x", 5, "later in its second", r#","id":"12""#),
        line("x", 5, "first", r#","id":"11""#),
        line("x", 1, "oldest", r#","id":"10""#),
    ]);
    let (batches, converted) = batches(&file.scan, 0);
    assert_eq!(converted, Converted { written: 4, replies: 1, replies_dropped: 0, moved: 0 });
    let rows = rows(&batches);
    let contents: Vec<_> = rows.iter().map(|row| row.content.as_str()).collect();
    assert_eq!(contents, ["oldest", "first", "later in its second", "answer"]);
    let second = |row: &Message| weir_proto::id::unix_ms(row.id) / 1_000 % 60;
    assert_eq!(rows.iter().map(second).collect::<Vec<_>>(), [1, 5, 5, 9]);
    assert_eq!(rows[3].reply_to, rows[1].id);
}

#[test]
fn batches_keep_their_bounds_and_end_with_the_file() {
    let lines: Vec<_> = (0..5_000)
        .map(|n| line(if n % 3 == 0 { "x" } else { "y" }, n / 2, &"c".repeat(n as usize % 700 + 1), ""))
        .collect();
    let file = file(&lines);
    let (batches, _) = batches(&file.scan, 0);
    assert!(batches.len() > 5);
    for batch in &batches {
        let bytes: usize = batch.requests.iter().map(|request| request.len() + FRAME_BYTES).sum();
        assert!(bytes <= BATCH_BYTES_MAX + FRAME_BYTES, "{bytes}");
        for request in &batch.requests {
            let request = ImportMessagesRequest::decode(request.as_slice()).expect("ours");
            assert!(request.messages.len() <= CHANNEL_MESSAGES_MAX);
            assert!(request.messages.windows(2).all(|pair| pair[0].id < pair[1].id));
        }
    }
    assert_eq!(rows(&batches).len(), 5_000);
    assert_eq!(batches.last().map(|batch| batch.lines_done), Some(5_000));
}

#[test]
fn wrong_lines_at_the_end_are_done_too() {
    let file = file(&[line("x", 0, "c", ""), "nonsense".to_owned()]);
    let (batches, _) = batches(&file.scan, 0);
    assert_eq!(batches.iter().map(|batch| batch.lines_done).collect::<Vec<_>>(), [2]);
    let (rest, _) = super::tests::batches(&file.scan, 1);
    assert_eq!(rest, [Batch { requests: vec![], lines_done: 2 }]);
    assert!(super::tests::batches(&file.scan, 2).0.is_empty());
}

#[test]
fn a_file_that_changed_after_the_scan_is_not_finished() {
    let file = file(&[line("x", 0, "c", "")]);
    let scan = unkept(&file.scan.path);
    std::fs::write(&scan.path, line("x", 0, "d", "")).expect("written");
    let outcome = convert(&scan, &placed(&scan, 0), |_| panic!("no batch of an unknown file"));
    assert!(matches!(outcome, Err(ImportError::Changed { .. })), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_job_cut_anywhere_writes_the_same_rows(
        picks in proptest::collection::vec((0_u8..3, 0_u32..100, proptest::option::of(1_u64..60)), 1..60), cut in 0_u64..60,
    ) {
        let lines: Vec<_> = picks.iter().map(|(channel, second, reply)| {
            let reply = reply.map(|to| format!(r#","reply_to":{to}"#)).unwrap_or_default();
            line(["x", "y", "z"][usize::from(*channel)], *second, "c", &reply)
        }).collect();
        let file = file(&lines);
        let cut = cut.min(lines.len() as u64);
        let whole = rows(&batches(&file.scan, 0).0);
        let rest = rows(&batches(&file.scan, cut).0);
        prop_assert_eq!(whole.len() as u64, lines.len() as u64);
        prop_assert_eq!(rest.len() as u64, lines.len() as u64 - cut);
        prop_assert!(rest.iter().all(|row| whole.contains(row)));
    }
}
