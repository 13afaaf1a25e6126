//! Reads and changes of rows of described types, typed by their row.

use bytes::Bytes;

use crate::{
    ReadError, RowChange, Store,
    row::{Row, RowKey, RowPut, RowRange},
};

impl RowChange {
    /// Writes a row.
    #[must_use]
    pub fn put<R: Row>(row: &R) -> Self {
        let (key, rev) = (row.key(), row.rev());
        debug_assert_eq!(key.ids().len(), R::TABLE.key_len(), "a key of {}", R::TABLE.name);
        Self::Put(RowPut { table: R::TABLE, key, rev, row: row.encode_to_vec().into() })
    }

    /// Removes the row under a key, unless it has a revision above `rev`.
    #[must_use]
    pub fn remove<R: Row>(key: RowKey, rev: u64) -> Self {
        Self::Remove { table: R::TABLE, key, rev }
    }

    /// Removes the rows below a key of at least the partition's ids.
    #[must_use]
    pub fn remove_under<R: Row>(key: RowKey, rev: u64) -> Self {
        Self::RemoveUnder { table: R::TABLE, key, rev }
    }
}

/// One row.
///
/// # Errors
/// Those of the store; [`ReadError::Corrupt`] if the row cannot be decoded.
pub async fn get<R: Row>(store: &dyn Store, key: RowKey) -> Result<Option<R>, ReadError> {
    store.read_row(R::TABLE, key).await?.as_ref().map(decode).transpose()
}

/// Rows that differ in the last id of their key, by that id ascending.
///
/// # Errors
/// As [`get`].
pub async fn list<R: Row>(store: &dyn Store, range: RowRange) -> Result<Vec<R>, ReadError> {
    store.read_rows(R::TABLE, range).await?.iter().map(decode).collect()
}

/// Decodes a row as a store gives it.
///
/// # Errors
/// [`ReadError::Corrupt`] if it is none of the type.
pub fn decode<R: Row>(row: &Bytes) -> Result<R, ReadError> {
    let corrupt = |error| ReadError::Corrupt { reason: format!("{}: {error}", R::TABLE.name) };
    R::decode(&**row).map_err(corrupt)
}
