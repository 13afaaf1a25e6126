//! Reads fjall's journals before fjall may touch them.
//!
//! fjall takes the first entry of a journal that it cannot read for the end, cuts the rest off and starts.
//! That is right for a batch that a crash cut short, which was not acknowledged. It is silent loss if whole
//! batches follow. So a journal is walked first: every batch has its checksum, and every batch of ours has a
//! number, one above the batch before. A whole batch behind a broken one, or a missing number, is damage. A
//! broken end of the newest journal alone is the result of a crash.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{keys, tables::Table};

/// Begins a batch: number of its entries (u32) and sequence number (u64). All numbers of the file are
/// little-endian.
const START: u8 = 1;
/// A row: kind, compression, keyspace (u64), lengths of key (u16), value (u32) and value as stored (u32),
/// key, value.
const ITEM: u8 = 2;
/// Ends a batch: checksum of its rows (u64), and [`TRAILER`].
const END: u8 = 3;
/// An emptied keyspace: keyspace (u64).
const CLEAR: u8 = 4;
/// Most sequence numbers that may lie between two batches: fjall takes one for each flush and each merge of
/// tables.
const SEQNO_GAP_MAX: u64 = 1 << 20;
/// Key in `meta` of the newest batch's number.
pub(super) const BATCH_KEY: &[u8] = b"batch_number";
/// Ends every batch.
const TRAILER: &[u8] = b"FJL\x03";
/// Bytes of the beginning of a batch.
const START_BYTES: usize = 13;
/// Bytes of a row before its key.
const ITEM_HEAD_BYTES: usize = 21;
/// Bytes of an emptied keyspace.
const CLEAR_BYTES: usize = 9;
/// Bytes of the end of a batch.
const END_BYTES: usize = 13;
/// Bytes read at once while searching for batches behind the end.
const PIECE_BYTES: usize = 64 * 1024;

/// Key of the row in which every batch writes its own number, as a journal stores it. No other table's key
/// has its length.
pub(super) fn batch_key() -> Vec<u8> {
    let mut key = vec![Table::Meta.number()];
    key.extend_from_slice(BATCH_KEY);
    key
}

/// The numbers that identify a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    /// fjall's sequence number, which no checksum covers. It rises from batch to batch, with small gaps.
    pub(super) seqno: u64,
    /// Our number, without gaps; batches of earlier builds have none.
    pub(super) number: Option<u64>,
}

/// Why one batch cannot follow another.
pub(super) fn gap(last: Ids, next: Ids) -> Option<String> {
    if let (Some(last), Some(next)) = (last.number, next.number)
        && last.checked_add(1) != Some(next)
    {
        return Some(format!("batch {next} follows batch {last}"));
    }
    let rises = next.seqno > last.seqno && next.seqno - last.seqno < SEQNO_GAP_MAX;
    (!rises).then(|| format!("sequence number {} follows {}", next.seqno, last.seqno))
}

/// The result of walking a journal.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes of whole batches.
    pub(super) bytes: u64,
    /// xxh3 of these bytes.
    pub(super) checksum: u128,
    /// Its first batch.
    pub(super) first: Option<Ids>,
    /// Its last whole batch.
    pub(super) last: Option<Ids>,
    /// What is wrong with it.
    pub(super) damage: Option<String>,
    /// Whether anything other than zeros follows the whole batches.
    pub(super) torn: bool,
}

/// Walks a journal. Needs memory for its largest batch, and for the rest of the file if that is not whole.
pub(super) fn walk(path: &Path) -> io::Result<Walked> {
    let mut reader = BufReader::with_capacity(PIECE_BYTES, File::open(path)?);
    let (mut walked, mut hash, mut batch) = (Walked::default(), Xxh3::new(), Vec::new());
    loop {
        batch.clear();
        let Some(ids) = read_batch(&mut reader, &mut batch)? else { break };
        if let Some(last) = walked.last
            && let Some(damage) = gap(last, ids)
        {
            walked.damage.get_or_insert(damage);
        }
        walked.first = walked.first.or(Some(ids));
        walked.last = Some(ids);
        walked.bytes += batch.len() as u64;
        hash.update(&batch);
    }
    walked.checksum = hash.digest128();
    // The part of the incomplete batch that was read, and what follows it.
    let mut rest = batch;
    let mut zeros = rest.iter().all(|byte| *byte == 0);
    let nothing = vec![0; PIECE_BYTES];
    loop {
        let piece = reader.fill_buf()?;
        let length = piece.len();
        if length == 0 {
            break;
        }
        // Most journals end in 64 MiB of zeros, which are not kept.
        zeros &= nothing.get(..length) == Some(piece);
        if !zeros {
            rest.extend_from_slice(piece);
        }
        reader.consume(length);
    }
    walked.torn = !zeros;
    if walked.torn && holds_a_batch(&rest) {
        let at = walked.bytes;
        walked
            .damage
            .get_or_insert(format!("byte {at} and some behind it cannot be read, and whole batches follow"));
    }
    Ok(walked)
}

/// Whether a whole batch begins anywhere behind the first byte.
fn holds_a_batch(bytes: &[u8]) -> bool {
    let starts = bytes.iter().enumerate().skip(1).filter(|(_, byte)| **byte == START);
    starts.into_iter().any(|(at, _)| {
        let mut scratch = Vec::new();
        matches!(bytes.get(at..).map(|mut from| read_batch(&mut from, &mut scratch)), Some(Ok(Some(_))))
    })
}

/// Reads a batch into `into`. `None` at the end, or where there is no whole batch.
fn read_batch(reader: &mut impl Read, into: &mut Vec<u8>) -> io::Result<Option<Ids>> {
    if !more(reader, START_BYTES, into)? || into.first() != Some(&START) {
        return Ok(None);
    }
    let seqno = into.get(5..).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    let (Some(mut left), Some(seqno)) = (u32_at(into, 1), seqno) else { return Ok(None) };
    let mut number = None;
    loop {
        let at = into.len();
        if !more(reader, 1, into)? {
            return Ok(None);
        }
        let bytes = match into.get(at) {
            Some(&ITEM) if left > 0 => ITEM_HEAD_BYTES,
            Some(&CLEAR) if left > 0 => CLEAR_BYTES,
            Some(&END) if left == 0 => {
                if !more(reader, END_BYTES - 1, into)? {
                    return Ok(None);
                }
                let rows = into.get(START_BYTES..at).unwrap_or_default();
                let end = into.get(at + 1..).unwrap_or_default();
                let whole = end.get(8..) == Some(TRAILER)
                    && end.get(..8) == Some(xxh3_64(rows).to_le_bytes().as_slice());
                return Ok(whole.then_some(Ids { seqno, number }));
            }
            Some(_) | None => return Ok(None),
        };
        if !more(reader, bytes - 1, into)? {
            return Ok(None);
        }
        left -= 1;
        if bytes == CLEAR_BYTES {
            continue;
        }
        let head = into.get(at..).unwrap_or_default();
        let key = head.get(11..13).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes);
        let (Some(key), Some(value)) = (key.map(usize::from), u32_at(head, 17)) else { return Ok(None) };
        let key_at = into.len();
        if !more(reader, key + value as usize, into)? {
            return Ok(None);
        }
        let row = into.get(key_at..).unwrap_or_default();
        if row.get(..key) == Some(batch_key().as_slice()) {
            number = row.get(key..).and_then(|value| keys::number_at(value, 0));
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Reads `bytes` more bytes; false if there are fewer.
fn more(reader: &mut impl Read, bytes: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    Ok(reader.take(bytes as u64).read_to_end(into)? == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of one row and its number.
    fn batch(number: u64, value: &[u8]) -> Vec<u8> {
        let mut rows = Vec::new();
        for (key, value) in [(&b"key"[..], value), (&batch_key(), &number.to_be_bytes())] {
            rows.extend([ITEM, 0, 0]);
            rows.extend(1_u64.to_le_bytes());
            rows.extend(u16::try_from(key.len()).expect("short").to_le_bytes());
            for _ in 0..2 {
                rows.extend(u32::try_from(value.len()).expect("short").to_le_bytes());
            }
            rows.extend(key);
            rows.extend(value);
        }
        let mut bytes = vec![START];
        bytes.extend(2_u32.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(&rows);
        bytes.push(END);
        bytes.extend(xxh3_64(&rows).to_le_bytes());
        bytes.extend(TRAILER);
        bytes
    }

    fn walked(bytes: &[u8]) -> Walked {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        walk(file.path()).expect("readable")
    }

    #[test]
    fn whole_batches_are_counted_and_a_crashs_end_is_no_damage() {
        let whole = [batch(7, b"a"), batch(8, b"b")].concat();
        let found = walked(&whole);
        let ids = |number| Some(Ids { seqno: number, number: Some(number) });
        assert_eq!((found.bytes, found.first, found.last), (whole.len() as u64, ids(7), ids(8)));
        assert!(found.damage.is_none() && !found.torn);
        assert!(!walked(&[whole.clone(), vec![0; 200_000]].concat()).torn);
        let third = batch(9, b"c");
        for cut in 1..third.len() {
            let found = walked(&[whole.clone(), third[..cut].to_vec(), vec![0; 100]].concat());
            assert!(found.damage.is_none() && found.torn && found.last == ids(8), "{cut}: {found:?}");
        }
    }

    #[test]
    fn any_byte_that_changed_before_a_whole_batch_is_damage() {
        let (first, second) = (batch(7, b"first"), batch(8, b"second"));
        for at in 0..first.len() {
            for bit in 0..8 {
                let mut bytes = [first.clone(), second.clone()].concat();
                bytes[at] ^= 1 << bit;
                // A first sequence number that is a little smaller may be valid.
                let smaller = (5..8).contains(&at) && bytes[5..8] < first[5..8];
                assert!(smaller || walked(&bytes).damage.is_some(), "byte {at} bit {bit}");
            }
        }
        assert!(walked(&[first, batch(9, b"")].concat()).damage.is_some(), "one is missing");
    }
}
