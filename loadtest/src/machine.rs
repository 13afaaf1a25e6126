//! The machine that load and server share.

/// The stampede comes from this machine, where in truth it comes from others: its threads step back behind the service, its database, and the
/// thread that reads the quiet channels. On Linux that is a thread's own matter; where it fails they run as all others.
pub(crate) fn yield_to_others() {
    const NICE: i32 = 10;
    let _ = rustix::process::nice(NICE);
}
