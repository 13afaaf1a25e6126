//! Pure plans of changes: existing rows, the request and fresh ids give new rows, records and an answer.

pub(super) mod create;
pub(super) mod edit;
pub(super) mod guild;
