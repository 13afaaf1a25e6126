//! Proof that this process talks to loopback only.
//!
//! The other bots forbid a connect outside loopback from inside their runtime. A Rust program has no such
//! hook without `unsafe`, so this one watches the kernel's list of its own TCP sockets while it runs. A
//! socket that lives shorter than [`PERIOD`] can be missed; twilight keeps its connections open, and an
//! attempt that gets no answer stays in the list for seconds.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// Time between two checks. For each, the kernel walks its whole table, which took 9-18 ms when measured:
/// more checks would slow down what is watched.
const PERIOD: Duration = Duration::from_millis(250);

/// A running watch over this process' sockets. It ends when the last clone is dropped.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    loopback: u64,
    strangers: BTreeSet<String>,
    failure: Option<String>,
}

impl Watch {
    /// Starts to check every [`PERIOD`], on a thread of its own, because the list is read with blocking
    /// calls.
    pub(crate) fn start() -> Self {
        let watch = Self::default();
        let looking = Arc::downgrade(&watch.seen);
        thread::spawn(move || look_until_dropped(&looking));
        watch
    }

    /// Judges what the watch has seen, after one more look.
    ///
    /// # Errors
    /// If a socket outside loopback was seen, or the watch saw nothing at all.
    pub(crate) fn verdict(&self) -> Result<()> {
        look(&self.seen);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &seen.failure {
            anyhow::bail!("sockets could not be listed: {failure}");
        }
        ensure!(seen.strangers.is_empty(), "connections outside loopback: {:?}", seen.strangers);
        ensure!(seen.loopback > 0, "the watch saw none of our own connections in {} looks", seen.looks);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a blocking thread that only this watch owns")]
fn look_until_dropped(seen: &Weak<Mutex<Seen>>) {
    while let Some(seen) = seen.upgrade() {
        look(&seen);
        drop(seen);
        thread::sleep(PERIOD);
    }
}

fn look(seen: &Mutex<Seen>) {
    let remotes = remotes();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.looks += 1;
    match remotes {
        Ok(remotes) => {
            for remote in remotes {
                if is_loopback(&remote) {
                    seen.loopback += 1;
                } else {
                    seen.strangers.insert(remote);
                }
            }
        }
        Err(error) => seen.failure = Some(format!("{error:#}")),
    }
}

/// Hexadecimal remote addresses (`ADDRESS:PORT`) of this process' connected TCP sockets.
fn remotes() -> Result<Vec<String>> {
    let own = own_sockets()?;
    let mut remotes = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        remotes.extend(text.lines().skip(1).filter_map(|line| connected(line, &own)));
    }
    Ok(remotes)
}

/// The remote address in a line of the kernel's table, if the socket is ours and not listening.
fn connected(line: &str, own: &HashSet<String>) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (remote, state, inode) = (fields.get(2)?, fields.get(3)?, fields.get(9)?);
    (*state != LISTEN && own.contains(*inode)).then(|| (*remote).to_owned())
}

fn own_sockets() -> Result<HashSet<String>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd").context("list open files")? {
        // A file may be closed between listing and reading; then it is no connection either.
        let Ok(link) = entry.and_then(|entry| fs::read_link(entry.path())) else { continue };
        let link = link.to_string_lossy();
        if let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            inodes.insert(inode.to_owned());
        }
    }
    Ok(inodes)
}

/// The kernel prints an address as 32-bit words in host order: 127.0.0.1 is `0100007F`, ::1 ends in
/// `01000000`.
fn is_loopback(remote: &str) -> bool {
    let address = remote.split(':').next().unwrap_or_default();
    match address.len() {
        8 => address.ends_with("7F"),
        32 => {
            address == "00000000000000000000000001000000"
                || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_other_addresses() {
        assert!(is_loopback("0100007F:1F90"));
        assert!(is_loopback("0200007F:1F90"));
        assert!(is_loopback("00000000000000000000000001000000:1F90"));
        assert!(is_loopback("0000000000000000FFFF00000100007F:1F90"));
        assert!(!is_loopback("01010101:01BB"));
        assert!(!is_loopback("7F000001:01BB"));
        assert!(!is_loopback("B80D0120000000000000000001000000:01BB"));
    }

    #[test]
    fn only_connected_sockets_of_this_process_count() {
        let own = HashSet::from(["4242".to_owned()]);
        let line = |state: &str, inode: &str| {
            format!(
                "0: 0100007F:1F90 0100007F:C350 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1"
            )
        };
        assert_eq!(connected(&line("01", "4242"), &own), Some("0100007F:C350".to_owned()));
        assert_eq!(connected(&line("0A", "4242"), &own), None);
        assert_eq!(connected(&line("01", "17"), &own), None);
    }
}
