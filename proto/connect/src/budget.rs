//! The memory that others can make a process hold: one budget with named parts, each bounded for one peer and in all.
//!
//! Problem: whoever may connect decides how many bytes wait in a process (replies that nobody reads, bodies that never end), and a bound
//! on each thing alone multiplies with the number of things. Guarantee: what a part holds is at most its total, what one peer holds of it
//! at most that peer's share; every byte is held by a [`Hold`], which gives it back when it is dropped, however its owner ends.
//!
//! A peer is an address, or the /64 of an IPv6 address, because that is what one customer is given. The table of peers has an entry for
//! each peer with a live [`Account`] and no others, so that it is as bounded as what the accounts belong to (connections).
//!
//! Holding bytes takes no lock: a connection opens its account once, and from then on only counts.

mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use table::Peer;
use table::Peers;

/// The parts of a process's budget. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    // As many as the program names.
    parts: Arc<Mutex<Vec<Part>>>,
}

/// Bounds of a part, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most of all peers together.
    pub total: usize,
    /// Most of one peer.
    pub peer: usize,
}

/// What a part holds now, for metrics and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The part's name.
    pub part: &'static str,
    /// Bytes held now.
    pub used: usize,
    /// Most bytes ever held.
    pub peak: usize,
    /// The part's bounds.
    pub bounds: Bounds,
    /// Peers that have an account now.
    pub peers: usize,
    /// Holds that were refused since the start.
    pub refused: u64,
}

/// A part has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The peer holds as much as one peer may.
    #[error("this client holds as many bytes of {0} as one may")]
    Peer(&'static str),
    /// All together hold as much as the process may.
    #[error("the server holds as many bytes of {0} as it may")]
    Total(&'static str),
}

impl Budget {
    /// The part `name`, made with `bounds` if there is none of that name yet; the first bounds stay.
    pub fn part(&self, name: &'static str, bounds: Bounds) -> Part {
        let mut parts = self.lock();
        if let Some(known) = parts.iter().find(|part| part.shared.name == name) {
            return known.clone();
        }
        let part = Part::new(name, bounds);
        parts.push(part.clone());
        part
    }

    /// What every part holds now, in the order in which they were made.
    pub fn usage(&self) -> Vec<Usage> {
        self.lock().iter().map(Part::usage).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        // Nothing panics under the lock but a failed allocation, before anything has changed.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One named part. Clones share it.
#[derive(Clone, Debug)]
pub struct Part {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    bounds: Bounds,
    used: AtomicUsize,
    peak: AtomicUsize,
    refused: AtomicU64,
    peers: Mutex<Peers>,
}

impl Part {
    fn new(name: &'static str, bounds: Bounds) -> Part {
        Part {
            shared: Arc::new(Shared {
                name,
                bounds,
                used: AtomicUsize::new(0),
                peak: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                peers: Mutex::default(),
            }),
        }
    }

    /// The account of the peer at `address`; all accounts of a peer share what it may hold.
    pub fn account(&self, address: IpAddr) -> Account {
        let peer = Peer::of(address);
        let held = self.shared.peers().enter(peer);
        Account { inner: Arc::new(Inner { part: Arc::clone(&self.shared), peer, held }) }
    }

    /// What the part holds now.
    pub fn usage(&self) -> Usage {
        let Shared { name, bounds, used, peak, refused, .. } = &*self.shared;
        Usage {
            part: name,
            used: used.load(Ordering::Relaxed),
            peak: peak.load(Ordering::Relaxed),
            bounds: *bounds,
            peers: self.shared.peers().len(),
            refused: refused.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer's way to hold bytes of a part. Clones are one account.
#[derive(Clone, Debug)]
pub struct Account {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    part: Arc<Shared>,
    peer: Peer,
    // What the peer holds, shared with its other accounts.
    held: Arc<AtomicUsize>,
}

impl Account {
    /// Holds `bytes`.
    ///
    /// # Errors
    /// [`Full`]; nothing is held then.
    pub fn hold(&self, bytes: usize) -> Result<Hold, Full> {
        let mut hold = self.nothing();
        hold.grow(bytes)?;
        Ok(hold)
    }

    /// A hold of no bytes, to grow.
    pub fn nothing(&self) -> Hold {
        Hold { account: self.clone(), bytes: 0 }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.part.peers().leave(self.peer);
    }
}

/// Bytes held; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    account: Account,
    bytes: usize,
}

impl Hold {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bounds of its part.
    pub fn bounds(&self) -> Bounds {
        self.account.inner.part.bounds
    }

    /// Holds `more` bytes.
    ///
    /// # Errors
    /// [`Full`]; what was held before stays held.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        self.grow_below(more, self.bounds().total)
    }

    /// As [`Hold::grow`], but the part as a whole must stay within `total`: for uses that leave a rest to others.
    ///
    /// # Errors
    /// As [`Hold::grow`].
    pub fn grow_below(&mut self, more: usize, total: usize) -> Result<(), Full> {
        let Inner { part, held, .. } = &*self.account.inner;
        let full = |full| {
            part.refused.fetch_add(1, Ordering::Relaxed);
            Err(full)
        };
        if !take(held, more, part.bounds.peer) {
            return full(Full::Peer(part.name));
        }
        if !take(&part.used, more, total.min(part.bounds.total)) {
            held.fetch_sub(more, Ordering::Relaxed);
            return full(Full::Total(part.name));
        }
        part.peak.fetch_max(part.used.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bytes += more;
        Ok(())
    }

    /// Gives `less` of its bytes back; all of them if it has not as many.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.account.inner.held.fetch_sub(less, Ordering::Relaxed);
        self.account.inner.part.used.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Adds `more` to `count` unless it would be above `max`. Relaxed: the counts guard no other memory.
fn take(count: &AtomicUsize, more: usize, max: usize) -> bool {
    let within = |now: usize| now.checked_add(more).filter(|sum| *sum <= max);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
}

#[cfg(test)]
mod tests;
