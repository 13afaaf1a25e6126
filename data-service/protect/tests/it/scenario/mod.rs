//! Forbidden outcomes, one function each: it plays a situation and returns the violation, if there was one.
//!
//! Hazard numbers are those of the list in the crate's test plan: `hazards.rs` names each beside its
//! scenario.

pub(crate) mod barrier;
pub(crate) mod flights;
pub(crate) mod floors;
pub(crate) mod limits;
pub(crate) mod places;
