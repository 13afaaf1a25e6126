//! The number of the last acknowledged batch, in a file beside the tree. A start after a kill compares it
//! with what it finds.
//!
//! The number is overwritten in place after each batch, without a sync. After a kill the operating system
//! still has it; after a loss of power it may be an older one. So it is a lower bound, and a number that
//! cannot be read counts as none.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

/// Name of the file, which has the number and its checksum.
const ACKED: &str = "ACKED";
/// Bytes of the file.
const BYTES: usize = 16;

/// The open file.
#[derive(Debug)]
pub(super) struct Acked {
    file: File,
    reported: bool,
}

impl Acked {
    /// Opens or creates the file.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(ACKED))?;
        Ok(Self { file, reported: false })
    }

    /// Notes a batch that is durable. A failure is logged once; then the note only falls behind.
    pub(super) fn note(&mut self, number: u64) {
        let mut bytes = [0; BYTES];
        let (head, tail) = bytes.split_at_mut(BYTES / 2);
        head.copy_from_slice(&number.to_le_bytes());
        tail.copy_from_slice(&xxh3_64(head).to_le_bytes());
        if let Err(error) = self.file.write_all_at(&bytes, 0)
            && !self.reported
        {
            self.reported = true;
            tracing::warn!(%error, "the last batch could not be noted beside the store");
        }
    }
}

/// The number of a batch up to which all were acknowledged; 0 if none is known.
pub(super) fn read(directory: &Path) -> io::Result<u64> {
    let file = match File::open(directory.join(ACKED)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
        Err(error) => return Err(error),
    }
    let number =
        u64::from_be_bytes([bytes[7], bytes[6], bytes[5], bytes[4], bytes[3], bytes[2], bytes[1], bytes[0]]);
    let sum = bytes.get(BYTES / 2..).unwrap_or_default();
    Ok(if xxh3_64(&number.to_le_bytes()).to_le_bytes() == *sum { number } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_what_is_damaged_is_none() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(read(root.path()).expect("readable"), 0);
        Acked::open(root.path()).expect("made").note(0x0102_0304);
        Acked::open(root.path()).expect("there");
        assert_eq!(read(root.path()).expect("readable"), 0x0102_0304);
        std::fs::write(root.path().join(ACKED), [7; BYTES]).expect("written");
        assert_eq!(read(root.path()).expect("readable"), 0);
    }
}
