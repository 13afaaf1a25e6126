//! Damage is noticed: every file of a store that was written and stopped is flipped, cut, zeroed, swapped and removed, in every region, and
//! the store is opened on it. Either the start is refused, or a read is, each naming the part, or every acknowledged row is there. Rows
//! that are silently missing or wrong fail the test, and so does a start that was refused and yet removed something.
//!
//! In its short form it tries a spread of damages; with `WEIR_DAMAGE=N` it tries about N for each kind of stop.

mod image;
mod judge;
mod sweep;
