//! Keys of the tree, the same as the CQL model's: big-endian, so that bytes sort as numbers do. Message ids
//! are stored inverted, so that ascending keys are newest first, which is the order in which history is read.

use weir_proto::bucket::Bucket;

use super::tables::Table;
use crate::row::RowKey;

/// `messages`: channel, bucket, inverted message id.
pub(super) fn message(channel_id: u64, bucket: Bucket, message_id: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..8].copy_from_slice(&channel_id.to_be_bytes());
    key[8..12].copy_from_slice(&bucket.0.to_be_bytes());
    key[12..].copy_from_slice(&(!message_id).to_be_bytes());
    key
}

/// `buckets`: channel, bucket.
pub(super) fn bucket(channel_id: u64, bucket: Bucket) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&channel_id.to_be_bytes());
    key[8..].copy_from_slice(&bucket.0.to_be_bytes());
    key
}

/// Key of the tables with one id, and of `events` by position.
pub(super) fn one(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

/// Key of the tables with two ids, the partition's first; of `changes` by scope and revision.
pub(super) fn two(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// `removals`: table, key.
pub(super) fn removal(table: Table, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(table.number());
    bytes.extend_from_slice(key);
    bytes
}

/// Key of a described table, or the beginning of one.
pub(super) fn row(key: &RowKey) -> Vec<u8> {
    key.ids().iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// Longest kind of a setting, in bytes: one byte stores its length.
pub(super) const KIND_MAX: usize = u8::MAX as usize;

/// `settings`: length of the kind, kind, key. `None` if the kind is longer than [`KIND_MAX`].
pub(super) fn setting(kind: &str, key: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(kind.len()).ok()?;
    let mut bytes = Vec::with_capacity(1 + kind.len() + key.len());
    bytes.push(length);
    bytes.extend_from_slice(kind.as_bytes());
    bytes.extend_from_slice(key);
    Some(bytes)
}

/// The number in eight bytes at `at`; `None` if the key is shorter.
pub(super) fn number_at(key: &[u8], at: usize) -> Option<u64> {
    let bytes = key.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascending_message_keys_are_newest_first_within_a_partition() {
        let of = |id| message(7, Bucket(3), id);
        assert!(of(10) < of(9) && of(u64::MAX) < of(10));
        assert!(message(7, Bucket(3), 1) < message(7, Bucket(4), u64::MAX));
        assert!(message(7, Bucket(u32::MAX), 1) < message(8, Bucket(0), u64::MAX));
    }

    #[test]
    fn kinds_do_not_run_into_keys() {
        assert_ne!(setting("a", b"bc"), setting("ab", b"c"));
        assert_eq!(setting(&"k".repeat(KIND_MAX + 1), b""), None);
    }

    #[test]
    fn numbers_come_back() {
        let key = two(5, u64::MAX);
        assert_eq!(
            (number_at(&key, 0), number_at(&key, 8), number_at(&key, 9)),
            (Some(5), Some(u64::MAX), None)
        );
    }
}
