//! Reads of described tables: a range of rows that differ in the last id of their key, typed by their row.

use weir_protect::Dependence;
use weir_store::{
    described,
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
        let (key, query) = (Key::listed::<R>(under), ReadQuery::Between(after, before, limit));
        match self.part(reading, key, query, Dependence::Append).await? {
            ReadValue::Listed(rows) => {
                rows.iter().map(described::decode).collect::<Result<_, _>>().map_err(Failure::Store)
            }
            other => Err(mismatch(&other)),
        }
    }
}
