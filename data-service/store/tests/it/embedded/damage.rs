//! Damage is noticed. Every file of a store that was written and stopped is flipped, cut, zeroed, swapped and
//! removed, in every region, and the store is opened on it. Either the start is refused, or a read is, each
//! naming the part, or every acknowledged row is there. The test fails if rows are silently missing or wrong,
//! or if a refused start removed something.
//!
//! The short form tries a spread of damages; with `WEIR_DAMAGE=N` the test tries about N for each kind of
//! stop.

mod image;
mod judge;
mod sweep;
