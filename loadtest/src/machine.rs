//! The machine that load and server share.

/// Lowers the priority of the stampede's threads below the service, its database, and the thread that reads
/// the quiet channels. In reality a stampede comes from other machines. On Linux each thread has a priority
/// of its own; if lowering it fails, the thread runs like all others.
pub(crate) fn yield_to_others() {
    const NICE: i32 = 10;
    let _ = rustix::process::nice(NICE);
}
