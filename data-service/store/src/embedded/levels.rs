//! Verifies fjall's lists of tables before fjall reads them.
//!
//! In a keyspace, `current` has the number and the checksum of the list in force, `vN`. fjall uses the number
//! without verifying anything. It removes tables at start that the list does not name, so a number with one
//! wrong bit would remove tables.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// File that names the list in force: its number (u64), its checksum (u128), the checksum's kind (u8, 0 for
/// xxh3), all little-endian.
pub(super) const CURRENT: &str = "current";
/// Bytes of that file.
const CURRENT_BYTES: usize = 25;
/// Folder of a keyspace's tables.
const TABLES: &str = "tables";
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A damaged part: its path within the keyspace, and what is wrong.
pub(super) type Damage = (String, String);

/// A table that a list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its path within the keyspace.
    pub(super) path: String,
    /// xxh3 of the whole file.
    checksum: u128,
}

/// Verifies `current` and the list in force, and that the listed tables exist. Reads both files, but not the
/// tables.
pub(super) fn check(keyspace: &Path) -> io::Result<Result<Vec<Listed>, Damage>> {
    let damage = |path: &str, reason: &str| Ok(Err((path.to_owned(), reason.to_owned())));
    let current = fs::read(keyspace.join(CURRENT))?;
    let (Some(number), Some(checksum), Some(0), CURRENT_BYTES) =
        (u64_at(&current, 0), u128_at(&current, 8), current.get(24), current.len())
    else {
        return damage(CURRENT, "it is not a number and a checksum");
    };
    let list = format!("v{number}");
    let bytes = match fs::read(keyspace.join(&list)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return damage(CURRENT, &format!("it names the list {list}, which is missing"));
        }
        Err(error) => return Err(error),
    };
    if xxh3_128(&bytes) != checksum {
        return damage(&format!("{CURRENT} or {list}"), "the list does not have the checksum that is noted");
    }
    let Some(tables) = tables(&bytes) else { return damage(&list, "its tables cannot be read") };
    for table in &tables {
        if !keyspace.join(&table.path).try_exists()? {
            return damage(&table.path, "it is missing");
        }
    }
    Ok(Ok(tables))
}

/// Reads a whole table and compares its checksum; false if the table is not as it was written.
pub(super) fn is_whole(keyspace: &Path, table: &Listed) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(PIECE_BYTES, File::open(keyspace.join(&table.path))?);
    let mut hash = Xxh3::new();
    loop {
        let piece = reader.fill_buf()?;
        let length = piece.len();
        if length == 0 {
            return Ok(hash.digest128() == table.checksum);
        }
        hash.update(piece);
        reader.consume(length);
    }
}

/// The tables of a list. A list has levels (u8), each with runs (u8), each with tables (u32).
fn tables(list: &[u8]) -> Option<Vec<Listed>> {
    let archive = sfa::Reader::from_reader(&mut io::Cursor::new(list)).ok()?;
    let section = archive.toc().section(b"tables")?;
    let from = usize::try_from(section.pos()).ok()?;
    let mut reader = list.get(from..from.checked_add(usize::try_from(section.len()).ok()?)?)?;
    let mut tables = Vec::new();
    let [levels] = take(&mut reader)?;
    for _ in 0..levels {
        let [runs] = take(&mut reader)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut reader)?) {
                let id = u64::from_le_bytes(take(&mut reader)?);
                let [_kind] = take(&mut reader)?;
                let checksum = u128::from_le_bytes(take(&mut reader)?);
                let _seqno: [u8; 8] = take(&mut reader)?;
                tables.push(Listed { path: format!("{TABLES}/{id}"), checksum });
            }
        }
    }
    Some(tables)
}

fn take<const N: usize>(reader: &mut &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..at + 16)?.try_into().ok().map(u128::from_le_bytes)
}
