//! The first pass. It finds out what the file contains, without keeping its messages.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use weir_proto::id::EPOCH_MS;

use super::{
    ImportError, export,
    format::Format,
    held::{Held, Numbered},
    ids::ImportIds,
    line::{self, BadLine, Line},
    names::{Names, TooMany},
    order::Order,
    plan::{Plan, Replied},
    progress::Progress,
    source::{FileLine, Lines},
    taken::Taken,
};

/// Most channels of a file; Discord allows as many in a guild.
pub(crate) const CHANNELS_MAX: usize = 500;
/// Most authors of a file. Their names are the largest part of the scan's memory: about 100 bytes each.
pub(crate) const AUTHORS_MAX: usize = 1_000_000;
/// Most lines whose ids are kept because other lines reply to them. Each takes 8 bytes here and 40 in the
/// second pass. Replies to further lines become ordinary messages and are counted.
pub(crate) const REPLIED_MAX: usize = 4_000_000;
/// Wrong lines that are reported one by one. Further ones are only counted, by reason.
const REPORTED_MAX: u64 = 100;
/// So many wrong lines at a file's start, with no message among them, mean that it has another form.
const FOREIGN_LINES: usize = 20;
/// Lines between two updates of the progress display.
const PROGRESS_EVERY: u64 = 4_096;

/// The result of the first pass.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The file.
    pub(crate) path: PathBuf,
    /// SHA-256 of the file, which is the job's key.
    pub(crate) job: [u8; 32],
    /// The time by which lines were judged, in milliseconds since 1970-01-01T00:00Z. The second pass uses the
    /// same.
    pub(crate) now_ms: u64,
    /// Name of the guild, if the file has it.
    pub(crate) guild: Option<String>,
    /// Channel names.
    pub(crate) channels: Names,
    /// Author names.
    pub(crate) authors: Names,
    /// Number of lines.
    pub(crate) lines: u64,
    /// Number of lines that are messages.
    pub(crate) messages: u64,
    /// Number of lines that cannot be imported.
    pub(crate) bad: u64,
    /// Number of messages older than the epoch of ids.
    pub(crate) before_epoch: u64,
    /// Numbers of lines that others reply to.
    pub(crate) replied: HashSet<u64>,
    /// The order of the messages' times.
    pub(crate) order: Order,
    /// The facts that had to be known in advance, if there are any.
    pub(crate) plan: Option<Plan>,
    /// The lines, if they fit into memory.
    pub(crate) held: Held,
}

/// Reports wrong lines to the operator, the first ones one by one.
#[derive(Debug, Default)]
struct Complaints {
    /// Wrong lines before the first message, held back: one report replaces them if the file has another
    /// form.
    first: Vec<(u64, BadLine)>,
    /// True once nothing is held back any more.
    open: bool,
    reported: u64,
    unreported: HashMap<&'static str, u64>,
}

impl Complaints {
    /// Notes a wrong line. Returns false if all lines so far look like a file of another form.
    fn note(&mut self, position: u64, fault: BadLine, progress: &mut Progress) -> bool {
        if self.open {
            self.tell(position, &fault, progress);
            return true;
        }
        let foreign = matches!(fault, BadLine::Json { .. } | BadLine::TooLong);
        self.first.push((position, fault));
        if !foreign {
            self.open(progress);
        }
        self.first.len() < FOREIGN_LINES
    }

    /// Reports what was held back, and from now on every wrong line.
    fn open(&mut self, progress: &mut Progress) {
        self.open = true;
        for (position, fault) in std::mem::take(&mut self.first) {
            self.tell(position, &fault, progress);
        }
    }

    fn tell(&mut self, position: u64, fault: &BadLine, progress: &mut Progress) {
        if self.reported < REPORTED_MAX {
            self.reported += 1;
            progress.say(&format!("line {position}: {fault}"));
        } else {
            *self.unreported.entry(label(fault)).or_default() += 1;
        }
    }

    fn finish(&mut self, progress: &mut Progress) {
        self.open(progress);
        let mut rest: Vec<_> = self.unreported.iter().collect();
        rest.sort();
        for (label, count) in rest {
            progress.say(&format!("and {count} more lines with {label}"));
        }
    }
}

/// A wrong line's kind, by which it is counted.
fn label(fault: &BadLine) -> &'static str {
    match fault {
        BadLine::TooLong => "too many bytes",
        BadLine::Json { .. } => "something else than the JSON object wanted",
        BadLine::Channel => "a wrong channel",
        BadLine::Author => "a wrong author",
        BadLine::Nul { .. } => "U+0000 in its text",
        BadLine::Timestamp => "a wrong timestamp",
        BadLine::Future => "a timestamp in the future",
        BadLine::Repeated { .. } => "the id of an earlier line",
        BadLine::Empty => "content that is empty or only whitespace",
        BadLine::Content { .. } => "too long content",
    }
}

/// Reads the whole file. Blocks.
///
/// # Errors
/// [`ImportError`] if the file is unreadable, has too many names or no message, or with `strict` has a wrong
/// line. Nothing was written then.
pub(crate) fn scan(
    path: &Path,
    now_ms: u64,
    strict: bool,
    progress: &mut Progress,
) -> Result<Scan, ImportError> {
    scan_into(Held::default(), path, now_ms, strict, progress)
}

/// Does the same, keeping lines in `held`.
pub(super) fn scan_into(
    held: Held,
    path: &Path,
    now_ms: u64,
    strict: bool,
    progress: &mut Progress,
) -> Result<Scan, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    let mut lines = Lines::open(path).map_err(failed)?;
    let mut scan = Scan {
        path: path.to_owned(),
        job: [0; 32],
        now_ms,
        guild: lines.guild().map(str::to_owned),
        channels: Names::new(CHANNELS_MAX),
        authors: Names::new(AUTHORS_MAX),
        lines: 0,
        messages: 0,
        bad: 0,
        before_epoch: 0,
        replied: HashSet::new(),
        order: Order::default(),
        plan: None,
        held,
    };
    let mut complaints = Complaints::default();
    let mut reading = Reading::new(now_ms);
    let mut replies_ahead = false;
    while let Some(found) = lines.read().map_err(failed)? {
        scan.lines += 1;
        if scan.lines.is_multiple_of(PROGRESS_EVERY) {
            progress.scanned(scan.lines);
        }
        match reading.understand(&found, scan.lines) {
            None => {}
            Some(Ok(line)) => {
                complaints.open(progress);
                replies_ahead |= line.reply_to.is_some_and(|number| !reading.was_before(number, scan.lines));
                scan.take(&line, scan.lines)?;
            }
            Some(Err(fault)) => {
                scan.bad += 1;
                if !complaints.note(scan.lines, fault, progress) && scan.guild.is_none() {
                    return Err(foreign(path, lines.format()));
                }
            }
        }
    }
    if scan.messages == 0 && !complaints.first.is_empty() && scan.guild.is_none() && lines.format().certain {
        return Err(foreign(path, lines.format()));
    }
    complaints.finish(progress);
    scan.job = lines.hash().map_err(failed)?;
    match (scan.messages, scan.bad) {
        (0, bad) => Err(ImportError::Nothing { path: path.to_owned(), bad }),
        (_, bad) if strict && bad > 0 => Err(ImportError::Strict { bad }),
        _ if strict || replies_ahead => {
            let planned = scan.planned()?;
            let (before_epoch, moved) = (scan.before_epoch, planned.moved);
            if strict && before_epoch + moved > 0 {
                return Err(ImportError::Times { before_epoch, moved });
            }
            scan.plan = Some(planned);
            Ok(scan)
        }
        _ => Ok(scan),
    }
}

fn foreign(path: &Path, Format { name, advice, certain: _ }: Format) -> ImportError {
    ImportError::Format { path: path.to_owned(), name, advice }
}

/// A reading of the file, line after line. Both passes use it, so both skip the same lines.
#[derive(Debug)]
pub(crate) struct Reading {
    now_ms: u64,
    taken: Taken,
}

impl Reading {
    /// A reading that has seen no line yet.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { now_ms, taken: Taken::default() }
    }

    /// Parses a line; `None` for a blank one, which is ignored.
    pub(crate) fn understand<'a>(
        &mut self,
        found: &FileLine<'a>,
        position: u64,
    ) -> Option<Result<Line<'a>, BadLine>> {
        let line = match found {
            FileLine::TooLong => Err(BadLine::TooLong),
            FileLine::Line(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return None,
            FileLine::Line(bytes) => line::parse(bytes, position, self.now_ms),
            FileLine::Exported(bytes, channel) => export::parse(bytes, channel, position, self.now_ms),
        };
        // If a line is wrong for another reason, its id stays free, because a corrected copy may follow.
        Some(line.and_then(|line| {
            let fresh = !line.has_id || self.taken.take(line.number);
            if fresh { Ok(line) } else { Err(BadLine::Repeated { id: line.number }) }
        }))
    }

    /// False if a line with this number may still come.
    fn was_before(&self, number: u64, position: u64) -> bool {
        self.taken.contains(number) || (self.taken.is_empty() && number < position)
    }
}

impl Scan {
    fn take(&mut self, line: &Line<'_>, position: u64) -> Result<(), ImportError> {
        let too_many = |what, max| move |TooMany| ImportError::TooMany { what, max };
        let channel = self.channels.number(&line.channel).map_err(too_many("channels", CHANNELS_MAX))?;
        let author = self.authors.number(&line.author).map_err(too_many("authors", AUTHORS_MAX))?;
        self.messages += 1;
        self.before_epoch += u64::from(line.at_ms < EPOCH_MS as i64);
        self.order.note(channel, line.at_ms);
        if let Some(target) = line.reply_to
            && self.replied.len() < REPLIED_MAX
        {
            self.replied.insert(target);
        }
        self.held.push(&numbered(line, position, channel, author));
        Ok(())
    }

    /// The ids of the file's lines, from the first on.
    pub(crate) fn ids(&self) -> ImportIds {
        ImportIds::new(&self.order, self.before_epoch)
    }

    /// Hands every line to `take`, in order, until `take` returns false. The lines are those that were kept,
    /// or the file's, read again. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Read`], [`ImportError::Changed`] if the file is not the one that was scanned.
    pub(crate) fn each_line(&self, mut take: impl FnMut(Numbered<'_>) -> bool) -> Result<(), ImportError> {
        if let Some(mut lines) = self.held.lines() {
            lines.all(take);
            return Ok(());
        }
        let failed = |source| ImportError::Read { path: self.path.clone(), source };
        let changed = || ImportError::Changed { path: self.path.clone() };
        let mut lines = Lines::open(&self.path).map_err(failed)?;
        let mut reading = Reading::new(self.now_ms);
        let mut position = 0;
        while let Some(found) = lines.read().map_err(failed)? {
            position += 1;
            if let Some(Ok(line)) = reading.understand(&found, position) {
                let channel = self.channels.find(&line.channel).ok_or_else(changed)?;
                let author = self.authors.find(&line.author).ok_or_else(changed)?;
                if !take(numbered(&line, position, channel, author)) {
                    return Ok(());
                }
            }
        }
        // Only now is it certain that the lines are those that were scanned. A changed file may have other
        // ids, so its job must not be finished.
        let same = lines.hash().map_err(failed)? == self.job && position == self.lines;
        if same { Ok(()) } else { Err(changed()) }
    }

    /// Passes over all lines once more. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Read`], [`ImportError::Changed`], [`ImportError::Scattered`].
    fn planned(&self) -> Result<Plan, ImportError> {
        let mut plan = Plan::default();
        let mut ids = self.ids();
        let mut scattered = false;
        self.each_line(|line| {
            let Ok(derived) = ids.next(line.at_ms, self.order.is_newest_first(line.channel)) else {
                scattered = true;
                return false;
            };
            plan.moved += u64::from(derived.moved);
            if self.replied.contains(&line.number) {
                plan.replied.insert(line.number, Replied { channel: line.channel, id: derived.id.get() });
            }
            true
        })?;
        if scattered { Err(ImportError::Scattered { path: self.path.clone() }) } else { Ok(plan) }
    }
}

fn numbered<'a>(line: &'a Line<'_>, position: u64, channel: usize, author: usize) -> Numbered<'a> {
    let (at_ms, number, reply_to) = (line.at_ms, line.number, line.reply_to);
    Numbered { position, channel, author, at_ms, number, reply_to, content: &line.content }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, strict: bool) -> Result<Scan, ImportError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        scan(file.path(), 1_767_225_600_000, strict, &mut Progress::silent())
    }

    const GOOD: &str = r#"{"channel":"b","author":"x","timestamp":"2010-01-01T00:00:00Z","content":"1"}
{"channel":"a","author":"y","timestamp":"2020-01-01T00:00:00Z","content":"2","reply_to":1}
"#;

    #[test]
    fn names_counts_and_replies_are_collected_and_blank_lines_are_nothing() {
        let found = of(&format!("\n{GOOD}  \n"), false).expect("good");
        assert_eq!((found.lines, found.messages, found.bad, found.before_epoch), (4, 2, 0, 1));
        assert_eq!(
            (found.channels.all(), found.authors.all()),
            (&["b".into(), "a".into()][..], &["x".into(), "y".into()][..])
        );
        assert!(found.replied.contains(&1) && found.replied.len() == 1);
    }

    #[test]
    fn a_wrong_line_is_skipped_or_with_strict_stops_before_anything_is_written() {
        let text = format!("{GOOD}nonsense\n");
        assert_eq!(of(&text, false).expect("skipped").bad, 1);
        assert!(matches!(of(&text, true), Err(ImportError::Strict { bad: 1 })));
    }

    #[test]
    fn the_second_line_with_an_id_is_wrong_and_a_wrong_lines_id_stays_free() {
        let line = |id: u64, content: &str| {
            format!(
                r#"{{"id":{id},"channel":"a","author":"x","timestamp":"2020-01-01T00:00:00Z","content":"{content}"}}"#
            )
        };
        let text = [line(7, "first"), line(7, "second"), line(8, ""), line(8, "mended")].join("\n");
        let found = of(&text, false).expect("two are good");
        assert_eq!((found.messages, found.bad), (2, 2));
        assert!(matches!(of(&text, true), Err(ImportError::Strict { bad: 2 })));
        let mut reading = Reading::new(1_767_225_600_000);
        let (one, two) = (line(7, "first"), line(7, "second"));
        assert!(reading.understand(&FileLine::Line(one.as_bytes()), 1).is_some_and(|line| line.is_ok()));
        let again = reading.understand(&FileLine::Line(two.as_bytes()), 2);
        assert_eq!(again, Some(Err(BadLine::Repeated { id: 7 })));
    }

    #[test]
    fn strict_refuses_a_file_whose_times_cannot_all_be_kept() {
        assert!(matches!(of(GOOD, true), Err(ImportError::Times { before_epoch: 1, moved: 0 })));
        let line = format!("{}\n", GOOD.lines().nth(1).expect("two").replace("reply_to", "ignored"));
        assert!(of(&line.repeat(4_096), true).is_ok());
        let crowded = line.repeat(4_097);
        assert!(matches!(of(&crowded, true), Err(ImportError::Times { before_epoch: 0, moved: 1 })));
        assert!(of(&crowded, false).is_ok());
    }

    #[test]
    fn a_file_of_another_form_is_one_error_that_names_it() {
        let told = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            let mut progress = Progress::silent();
            let error = scan(file.path(), 1_767_225_600_000, false, &mut progress).expect_err("foreign");
            assert!(progress.said.is_empty(), "{:?}", progress.said);
            error.to_string()
        };
        let slack = "[\n  {\n    \"type\": \"message\",\n    \"ts\": \"1.2\"\n  }\n]\n";
        assert!(
            told(slack).contains("Slack") && told(slack).contains("\"channel\", \"author\""),
            "{}",
            told(slack)
        );
        assert!(told(&"[10:00] <ann> hi\n".repeat(500)).contains("JSON array"));
        assert!(told(&"10:00 <ann> hi\n".repeat(500)).contains("text that is not JSON"));
        assert!(told(&"{\"user\":\"U\",\"text\":\"x\"}\n".repeat(500)).contains("other fields"));
        assert!(told("{\n  \"a\": 1\n}\n").contains("over many lines"));
        // With one line of the right form, the wrong lines are reported one by one as usual.
        let found = of(&format!("{}{GOOD}", "x\n".repeat(FOREIGN_LINES - 1)), false).expect("two are good");
        assert_eq!((found.messages, found.bad), (2, FOREIGN_LINES as u64 - 1));
    }

    #[test]
    fn an_export_of_discord_chat_exporter_is_read_as_it_is() {
        let message = |id: u64, day: u32, more: &str| {
            format!(
                "    {{\n      \"id\": \"{id}\", \"type\": \"Reply\", \"timestamp\": \"2023-06-0{day}T00:00:00+00:00\",\n      \"content\": \"m{id}\", \"author\": {{\"id\": \"5\", \"name\": \"ann\", \"discriminator\": \"0000\"}}{more}\n    }}"
            )
        };
        let reply =
            ",\n      \"reference\": {\"messageId\": \"7\", \"channelId\": \"2\", \"guildId\": \"1\"}";
        let messages = [message(8, 2, reply), message(7, 1, ""), "{\"id\": \"9\"}".to_owned()].join(",\n");
        let text = format!(
            "{{\n  \"guild\": {{\"id\": \"1\", \"name\": \"The guild\"}},\n  \"channel\": {{\"id\": \"2\", \"name\": \"general\"}},\n  \"messages\": [\n{messages}\n  ],\n  \"messageCount\": 3\n}}\n"
        );
        let found = of(&text, false).expect("an export");
        assert_eq!((found.messages, found.bad, found.guild.as_deref()), (2, 1, Some("The guild")));
        assert_eq!(
            (found.channels.all(), found.authors.all()),
            (&["general".into()][..], &["ann".into()][..])
        );
        let plan = found.plan.expect("the reply comes first");
        assert!(plan.replied.contains_key(&7));
    }

    #[test]
    fn a_file_without_a_message_is_refused() {
        assert!(matches!(of("", false), Err(ImportError::Nothing { bad: 0, .. })));
        assert!(matches!(of("x\n", false), Err(ImportError::Nothing { bad: 1, .. })));
    }

    #[test]
    fn channels_are_bounded() {
        let line = |n: usize| {
            format!(r#"{{"channel":"c{n}","author":"x","timestamp":"2020-01-01T00:00:00Z","content":"1"}}"#)
        };
        let text: Vec<_> = (0..=CHANNELS_MAX).map(line).collect();
        assert!(matches!(
            of(&text.join("\n"), false),
            Err(ImportError::TooMany { what: "channels", max: CHANNELS_MAX })
        ));
    }
}
