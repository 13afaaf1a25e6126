//! What a caller may do: [`access`] reads the rows that decide it, [`read_set`] tells the data service which
//! rows those were, and [`retry`] decides anew when one of them has changed.

pub(crate) mod access;
pub(crate) mod read_set;
pub(crate) mod retry;
