//! Reads the file. Its first bytes show whether it is plain or gzip, its hash is computed as it is read, and
//! its lines are bounded.

use std::{
    fs::File,
    io::{self, BufRead, Read},
    path::Path,
    sync::mpsc,
    thread::{Builder, JoinHandle},
};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::{
    export::{self, Header},
    format::{self, Format},
};

/// Longest line, in bytes. A message of 4,000 code points, each escaped as a surrogate pair, has 48 KB; names
/// add little. A longer line is skipped and reported, never held.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes by which a file's form is recognised. DiscordChatExporter writes a few kilobytes before the
/// messages.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a part, after decompression.
const READ_BYTES: usize = 256 * 1024;
/// Bytes with which some editors begin a UTF-8 text. They are not part of it.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// First bytes of a gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Parts of the file that a thread of its own reads, decompresses and hashes ahead of the lines.
const PARTS_AHEAD: usize = 4;

/// A file that is read line by line.
pub(crate) struct Lines {
    reader: Ahead,
    line: Vec<u8>,
    /// True until something is read.
    at_start: bool,
    /// The file's form, if it does not consist of lines.
    format: Format,
    /// The header, if the file is an export of DiscordChatExporter.
    header: Option<Header>,
    /// True once the export's last message was read.
    ended: bool,
}

/// A line of the file, without its line ending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileLine<'a> {
    /// The line's bytes.
    Line(&'a [u8]),
    /// A message of an export, and its channel.
    Exported(&'a [u8], &'a str),
    /// The line is longer than [`LINE_BYTES_MAX`], or the message than [`export::MESSAGE_BYTES_MAX`].
    TooLong,
}

/// Hashes the bytes that pass, and puts the bytes that were read to find the magic number back in front.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

enum Decoded {
    Plain(io::Chain<io::Cursor<Vec<u8>>, Hashing>),
    // A file may have many members, because files are often made by appending.
    Gzip(Box<MultiGzDecoder<io::Chain<io::Cursor<Vec<u8>>, Hashing>>>),
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(buffer),
            Self::Gzip(gzip) => gzip.read(buffer),
        }
    }
}

/// Parts that the reading thread has ready. The thread ends when nobody receives its parts any more.
struct Ahead {
    parts: mpsc::Receiver<Vec<u8>>,
    part: Vec<u8>,
    used: usize,
    /// Returns the hash at the file's end, or the error that ended the reading.
    thread: Option<JoinHandle<io::Result<[u8; 32]>>>,
    hash: [u8; 32],
}

impl Ahead {
    fn start(decoded: Decoded) -> io::Result<Self> {
        let (give, parts) = mpsc::sync_channel(PARTS_AHEAD);
        let thread =
            Builder::new().name("weir-import-file".to_owned()).spawn(move || read_on(decoded, &give))?;
        Ok(Self { parts, part: Vec::new(), used: 0, thread: Some(thread), hash: [0; 32] })
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.part.len() {
            match self.parts.recv() {
                Ok(part) => (self.part, self.used) = (part, 0),
                Err(mpsc::RecvError) => {
                    if let Some(thread) = self.thread.take() {
                        self.hash =
                            thread.join().map_err(|_panicked| io::Error::other("the reader failed"))??;
                    }
                }
            }
        }
        Ok(&self.part[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

/// Reads to the end, part by part. Returns the hash of the file as it is on disk.
fn read_on(mut decoded: Decoded, give: &mpsc::SyncSender<Vec<u8>>) -> io::Result<[u8; 32]> {
    loop {
        let mut part = Vec::with_capacity(READ_BYTES);
        decoded.by_ref().take(READ_BYTES as u64).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        give.send(part).map_err(|_left| io::Error::other("nobody reads on"))?;
    }
    let mut raw = match decoded {
        Decoded::Plain(plain) => plain.into_inner().1,
        Decoded::Gzip(gzip) => gzip.into_inner().into_inner().1,
    };
    io::copy(&mut raw, &mut io::sink())?;
    Ok(raw.hash.finalize().into())
}

impl Lines {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut raw = Hashing { file: File::open(path)?, hash: Sha256::new() };
        let mut start = Vec::with_capacity(GZIP_MAGIC.len());
        raw.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
        let gzip = start == GZIP_MAGIC;
        let whole = io::Cursor::new(start).chain(raw);
        let decoded =
            if gzip { Decoded::Gzip(Box::new(MultiGzDecoder::new(whole))) } else { Decoded::Plain(whole) };
        let mut reader = Ahead::start(decoded)?;
        let part = reader.fill_buf()?;
        let head = &part[..part.len().min(HEAD_BYTES_MAX)];
        let mark = if head.starts_with(&BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (format, header) = (format::of(&head[mark..]), Header::of(&head[mark..]));
        if let Some(header) = &header {
            reader.consume(mark + header.bytes);
        }
        Ok(Self { reader, line: Vec::new(), at_start: true, format, header, ended: false })
    }

    /// The file's form, if none of its lines is a message.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Name of an export's guild.
    pub(crate) fn guild(&self) -> Option<&str> {
        self.header.as_ref().map(|header| header.guild.as_str())
    }

    /// Returns the next line, or message of an export; `None` at the end. The last line need not end with a
    /// line feed.
    pub(crate) fn read(&mut self) -> io::Result<Option<FileLine<'_>>> {
        self.line.clear();
        if let Some(header) = &self.header {
            let found = if self.ended { None } else { export::next(&mut self.reader, &mut self.line)? };
            self.ended = found.is_none();
            return Ok(found.map(|fits| match fits {
                true => FileLine::Exported(&self.line, &header.channel),
                false => FileLine::TooLong,
            }));
        }
        let bytes_max = LINE_BYTES_MAX as u64 + 1;
        if self.reader.by_ref().take(bytes_max).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > LINE_BYTES_MAX {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(FileLine::TooLong));
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if std::mem::take(&mut self.at_start) && self.line.starts_with(&BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(FileLine::Line(&self.line)))
    }

    /// Returns SHA-256 of the whole file as it is on disk, after reading the rest of it.
    pub(crate) fn hash(mut self) -> io::Result<[u8; 32]> {
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(self.reader.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn read(bytes: &[u8]) -> (Vec<Option<String>>, [u8; 32]) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let mut lines = Lines::open(file.path()).expect("opened");
        let mut all = Vec::new();
        while let Some(line) = lines.read().expect("read") {
            all.push(match line {
                FileLine::Line(line) => Some(String::from_utf8_lossy(line).into_owned()),
                FileLine::Exported(message, channel) => {
                    Some(format!("{channel}: {}", String::from_utf8_lossy(message)))
                }
                FileLine::TooLong => None,
            });
        }
        (all, lines.hash().expect("read"))
    }

    fn some(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn plain_and_gzip_give_the_same_lines_and_the_hash_of_the_bytes_on_disk() {
        let text = b"one\ntwo\r\n\nlast";
        let (lines, hash) = read(text);
        assert_eq!(lines, some(&["one", "two", "", "last"]));
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(text)));
        let packed = [gzip(b"one\ntwo\r\n"), gzip(b"\nlast")].concat();
        let (lines, hash) = read(&packed);
        assert_eq!(lines, some(&["one", "two", "", "last"]));
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&packed)));
    }

    #[test]
    fn an_export_gives_its_messages_whether_packed_or_not() {
        let text = b"\xef\xbb\xbf{\n \"guild\": {\"name\": \"g\"}, \"channel\": {\"name\": \"c\"},\n \"messages\": [\n {\"id\": 1}, {}\n]\n}\n";
        let (lines, hash) = read(text);
        assert_eq!(lines, some(&["c: {\"id\": 1}", "c: {}"]));
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(text)));
        assert_eq!(read(&gzip(text)).0, lines);
    }

    #[test]
    fn short_and_empty_files_are_files_too() {
        assert_eq!(read(b"").0, some(&[]));
        assert_eq!(read(b"x").0, some(&["x"]));
        assert_eq!(read(b"\n").0, some(&[""]));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(read(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo").0, some(&["one", "\u{feff}two"]));
        assert_eq!(read(&gzip(b"\xef\xbb\xbfone")).0, some(&["one"]));
    }

    #[test]
    fn a_line_beyond_the_bound_is_passed_over_and_the_next_is_whole() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let fits = "y".repeat(LINE_BYTES_MAX);
        let (lines, _) = read(format!("{long}\n{fits}\nend\n").as_bytes());
        assert_eq!(lines, vec![None, Some(fits), Some("end".to_owned())]);
    }

    #[test]
    fn truncated_gzip_is_an_error_and_not_a_short_file() {
        let packed = gzip("line\n".repeat(10_000).as_bytes());
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &packed[..packed.len() / 2]).expect("written");
        let outcome = Lines::open(file.path()).and_then(|mut lines| {
            loop {
                match lines.read() {
                    Ok(Some(_)) => {}
                    end => break end.map(|_| ()),
                }
            }
        });
        assert_eq!(outcome.expect_err("cut off").kind(), io::ErrorKind::UnexpectedEof);
    }
}
