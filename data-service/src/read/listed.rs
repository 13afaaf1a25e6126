//! Reads of described tables: a range of rows that differ in the last id of their key, typed by their row.

use weir_protect::Dependence;
use weir_store::{
    ReadError,
    row::{Row, RowRange},
};

use super::{
    pipeline::{Failure, ReadPath, Reading},
    query::{ReadQuery, ReadValue, mismatch},
};
use crate::key::Key;

impl ReadPath {
    /// The rows of a range, by their last id ascending, as a part of a request.
    pub(crate) async fn list_part<R: Row>(
        &self,
        reading: &mut Reading,
        range: RowRange,
    ) -> Result<Vec<R>, Failure> {
        let RowRange { under, after, before, limit } = range;
        let (key, query) = (Key::Listed(R::TABLE, under), ReadQuery::Between(after, before, limit));
        let rows = match self.part(reading, key, query, Dependence::Append).await? {
            ReadValue::Listed(rows) => rows,
            other => return Err(mismatch(&other)),
        };
        let corrupt = |error| ReadError::Corrupt { reason: format!("{}: {error}", R::TABLE.name) };
        let rows = rows.iter().map(|row| R::decode(&**row).map_err(corrupt)).collect::<Result<_, _>>();
        rows.map_err(Failure::Store)
    }
}
