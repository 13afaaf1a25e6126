//! What a caller may do: [`access`] reads the rows that decide it, [`basis`] tells the data service which rows those were and decides anew
//! when they have changed.

pub(crate) mod access;
pub(crate) mod basis;
