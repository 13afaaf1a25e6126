//! The steps of a run: what was done, how it ended, how long it took.

/// Whether something that a step needs is there.
#[derive(Debug)]
pub(crate) enum Setup<T> {
    /// Use it.
    Ready(T),
    /// It cannot be had on this machine, for this reason.
    Skipped(String),
}
