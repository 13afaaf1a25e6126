//! Lines of the first pass that are kept for the second, so that a file of usual size is decompressed and
//! parsed only once.

/// Memory for the lines, in bytes. A longer file is read again instead; 64 MiB hold about half a million
/// messages of usual length.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A line that can be imported, with its names replaced by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbered<'a> {
    /// The line's place in the file, from 1.
    pub(crate) position: u64,
    /// Number of the channel.
    pub(crate) channel: usize,
    /// Number of the author.
    pub(crate) author: usize,
    /// Milliseconds since 1970-01-01T00:00Z, as the file says.
    pub(crate) at_ms: i64,
    /// The number by which other lines reply to this one.
    pub(crate) number: u64,
    /// The number of the line that this one replies to.
    pub(crate) reply_to: Option<u64>,
    /// The content to store.
    pub(crate) content: &'a str,
}

/// All lines of a file in order, or none.
#[derive(Debug)]
pub(crate) struct Held {
    /// The lines without their contents, and the position in `text` where each content ends.
    lines: Vec<(Numbered<'static>, usize)>,
    text: String,
    bytes_max: usize,
    overflown: bool,
}

impl Default for Held {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Held {
    /// Keeps at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { lines: Vec::new(), text: String::new(), bytes_max, overflown: false }
    }

    /// Keeps a line, or drops all lines if it does not fit.
    pub(crate) fn push(&mut self, line: &Numbered<'_>) {
        if self.overflown {
            return;
        }
        let entries = (self.lines.len() + 1) * size_of::<(Numbered<'static>, usize)>();
        if entries + self.text.len() + line.content.len() > self.bytes_max {
            *self = Self { overflown: true, ..Self::new(self.bytes_max) };
            return;
        }
        self.text.push_str(line.content);
        self.lines.push((Numbered { content: "", ..*line }, self.text.len()));
    }

    /// The lines; `None` if they did not fit.
    pub(crate) fn lines(&self) -> Option<impl Iterator<Item = Numbered<'_>>> {
        let mut start = 0;
        let lines = self.lines.iter().map(move |(line, end)| {
            let content = &self.text[start..*end];
            start = *end;
            Numbered { content, ..*line }
        });
        (!self.overflown).then_some(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(position: u64, content: &str) -> Numbered<'_> {
        Numbered { position, channel: 1, author: 2, at_ms: 3, number: 4, reply_to: Some(5), content }
    }

    #[test]
    fn lines_come_back_as_they_were() {
        let mut held = Held::default();
        let lines = [line(1, "ä"), line(3, ""), line(4, "long enough")];
        lines.iter().for_each(|line| held.push(line));
        assert_eq!(held.lines().expect("they fit").collect::<Vec<_>>(), lines);
        assert_eq!(Held::default().lines().expect("none fit").count(), 0);
    }

    #[test]
    fn too_many_are_none_and_cost_nothing() {
        let mut held = Held::new(1_000);
        (0..100).for_each(|position| held.push(&line(position, "content")));
        assert!(held.lines().is_none());
        assert_eq!((held.lines.capacity(), held.text.capacity()), (0, 0));
    }
}
