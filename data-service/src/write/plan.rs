//! The plans of changes: what is there, the request and fresh ids give rows, records and an answer. Pure.

pub(super) mod create;
pub(super) mod edit;
pub(super) mod guild;
