//! The memory that clients can make a process hold: one budget with named parts, each bounded for one peer,
//! for one token and in all.
//!
//! Problem: clients decide how many bytes wait in a process (replies that nobody reads, bodies that never
//! end), and a bound on each thing alone multiplies with the number of things. Guarantee: a part holds at
//! most its total, and one peer or one token holds at most its share of it. Every byte is held by a [`Hold`],
//! which gives it back when it is dropped, however its owner ends.
//!
//! A peer is an address, or the /64 of an IPv6 address, because a provider gives each customer a /64. A call
//! with a token counts for the token's user too, from whatever address it comes. The table of holders has an
//! entry for each holder with a live [`Account`] and no others, so it is as bounded as what the accounts
//! belong to (connections and requests).
//!
//! Holding bytes takes no lock. A frequent holder opens an account once and from then on only counts; an
//! infrequent one opens an account for each hold.
//!
//! Caches measure their own size; the budget only shows what they report ([`Budget::watch`]).

mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use table::Peer;
use table::{Holder, Holders};

/// The parts of a process's budget. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    // There are as many parts as the program names.
    parts: Arc<Mutex<Vec<Kind>>>,
}

#[derive(Debug)]
enum Kind {
    Held(Part),
    Watched(Watched),
}

/// A part whose owner counts and bounds it.
struct Watched {
    name: &'static str,
    total: usize,
    peak: AtomicUsize,
    used: Box<dyn Fn() -> usize + Send + Sync>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("name", &self.name)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// Bounds of a part, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes of all peers together.
    pub total: usize,
    /// Most bytes of one peer.
    pub peer: usize,
    /// Most bytes of one token's user, from all addresses together.
    pub token: usize,
}

impl Bounds {
    /// `total` in all, half of it for one peer, and half of that for one token. So other peers always have
    /// half of the total, and other tokens at the same address half of its share.
    pub const fn halves(total: usize) -> Bounds {
        Bounds { total, peer: total / 2, token: total / 4 }
    }
}

/// What a part holds now, for metrics and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The part's name.
    pub part: &'static str,
    /// Bytes held now.
    pub used: usize,
    /// Most bytes ever held. Of a part that is only watched, it is the most that any look found.
    pub peak: usize,
    /// Most bytes that it may hold.
    pub total: usize,
    /// Peers and tokens that have an account now.
    pub holders: usize,
    /// Holds that were refused since the start.
    pub refused: u64,
}

/// A part has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The peer holds as much as one peer may.
    #[error("this client holds as many bytes of {0} as one may")]
    Peer(&'static str),
    /// The token's user holds as much as one user may.
    #[error("this token's user holds as many bytes of {0} as one may")]
    Token(&'static str),
    /// All peers together hold as much as the process may.
    #[error("the server holds as many bytes of {0} as it may")]
    Total(&'static str),
}

impl Budget {
    /// Gives the part `name`, and makes it with `bounds` if there is none of that name yet. The first bounds
    /// stay.
    pub fn part(&self, name: &'static str, bounds: Bounds) -> Part {
        let mut parts = self.lock();
        let known = parts.iter().find_map(|kind| match kind {
            Kind::Held(part) if part.shared.name == name => Some(part.clone()),
            Kind::Held(_) | Kind::Watched(_) => None,
        });
        known.unwrap_or_else(|| {
            let part = Part::new(name, bounds);
            parts.push(Kind::Held(part.clone()));
            part
        })
    }

    /// Shows a part that its owner counts and keeps below `total` bytes, such as a cache. `used` gives its
    /// bytes. It is called at each look, so it must be quick. The first part of a name stays.
    pub fn watch(&self, name: &'static str, total: usize, used: impl Fn() -> usize + Send + Sync + 'static) {
        let mut parts = self.lock();
        if parts.iter().all(|kind| kind.name() != name) {
            parts.push(Kind::Watched(Watched {
                name,
                total,
                peak: AtomicUsize::new(0),
                used: Box::new(used),
            }));
        }
    }

    /// [`Budget::watch`] for a cache of at most `entries_max` entries of some `unit` bytes each.
    pub fn watch_entries(
        &self,
        name: &'static str,
        entries_max: u64,
        unit: usize,
        entries: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let bytes = move |entries: u64| usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(unit);
        self.watch(name, bytes(entries_max), move || bytes(entries()));
    }

    /// What every part holds now, in the order in which the parts were made.
    pub fn usage(&self) -> Vec<Usage> {
        self.lock().iter().map(Kind::usage).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kind>> {
        // Only a failed allocation can panic under the lock, before anything has changed.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Held(part) => part.shared.name,
            Kind::Watched(watched) => watched.name,
        }
    }

    fn usage(&self) -> Usage {
        match self {
            Kind::Held(part) => part.usage(),
            Kind::Watched(Watched { name, total, peak, used }) => {
                let used = used();
                let peak = peak.fetch_max(used, Ordering::Relaxed).max(used);
                Usage { part: name, used, peak, total: *total, holders: 0, refused: 0 }
            }
        }
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
    holders: Mutex<Holders>,
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
                holders: Mutex::default(),
            }),
        }
    }

    /// The account of the peer at `address`. All accounts of a peer share its bound.
    pub fn account(&self, address: IpAddr) -> Account {
        Account { peer: Share::open(&self.shared, Holder::Peer(Peer::of(address))), token: None }
    }

    /// What the part holds now.
    pub fn usage(&self) -> Usage {
        let Shared { name, bounds, used, peak, refused, .. } = &*self.shared;
        Usage {
            part: name,
            used: used.load(Ordering::Relaxed),
            peak: peak.load(Ordering::Relaxed),
            total: bounds.total,
            holders: self.shared.holders().len(),
            refused: refused.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer's way to hold bytes of a part. Once the token is known, the bytes count for the token too. Clones
/// are one account.
#[derive(Clone, Debug)]
pub struct Account {
    peer: Arc<Share>,
    token: Option<Arc<Share>>,
}

/// One holder's share of a part.
#[derive(Debug)]
struct Share {
    part: Arc<Shared>,
    holder: Holder,
    // The count is shared with the holder's other accounts.
    held: Arc<AtomicUsize>,
}

impl Share {
    fn open(part: &Arc<Shared>, holder: Holder) -> Arc<Share> {
        let held = part.holders().enter(holder);
        Arc::new(Share { part: Arc::clone(part), holder, held })
    }
}

impl Account {
    /// The account of the client at `address`, whose requests this peer forwards. Its bytes count for the
    /// client, as if it had connected directly.
    #[must_use]
    pub fn for_client(&self, address: IpAddr) -> Account {
        let client = Holder::Peer(Peer::of(address));
        let peer = &self.peer;
        let own = peer.holder == client;
        let peer = if own { Arc::clone(peer) } else { Share::open(&peer.part, client) };
        Account { peer, token: self.token.clone() }
    }

    /// This peer's account for a call of the token of `user`. Its bytes count for both.
    #[must_use]
    pub fn for_token(&self, user: u64) -> Account {
        Account {
            peer: Arc::clone(&self.peer),
            token: Some(Share::open(&self.peer.part, Holder::Token(user))),
        }
    }

    /// Holds `bytes`.
    ///
    /// # Errors
    /// [`Full`]; then nothing is held.
    pub fn hold(&self, bytes: usize) -> Result<Hold, Full> {
        let mut hold = self.empty_hold();
        hold.grow(bytes)?;
        Ok(hold)
    }

    /// A hold of no bytes, which can grow.
    pub fn empty_hold(&self) -> Hold {
        Hold { account: self.clone(), bytes: 0 }
    }

    fn give_back(&self, bytes: usize) {
        self.peer.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(token) = &self.token {
            token.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.part.holders().leave(self.holder);
    }
}

/// Held bytes. Dropping the value gives them back.
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
        self.account.peer.part.bounds
    }

    /// Holds `more` bytes.
    ///
    /// # Errors
    /// [`Full`]; then the earlier bytes stay held.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        self.grow_below(more, self.bounds().total)
    }

    /// As [`Hold::grow`], but the part as a whole must stay within `total`, which leaves the rest to other
    /// uses.
    ///
    /// # Errors
    /// As [`Hold::grow`].
    pub(crate) fn grow_below(&mut self, more: usize, total: usize) -> Result<(), Full> {
        let Account { peer, token } = &self.account;
        let part = &*peer.part;
        let full = |full| {
            part.refused.fetch_add(1, Ordering::Relaxed);
            Err(full)
        };
        if !take(&peer.held, more, part.bounds.peer) {
            return full(Full::Peer(part.name));
        }
        if let Some(token) = token
            && !take(&token.held, more, part.bounds.token)
        {
            peer.held.fetch_sub(more, Ordering::Relaxed);
            return full(Full::Token(part.name));
        }
        if !take(&part.used, more, total.min(part.bounds.total)) {
            self.account.give_back(more);
            return full(Full::Total(part.name));
        }
        part.peak.fetch_max(part.used.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bytes += more;
        Ok(())
    }

    /// Gives `less` bytes back, or all if there are fewer.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.account.give_back(less);
        self.account.peer.part.used.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Adds `more` to `count` unless the sum would be above `max`. Relaxed: the counts guard no other memory.
fn take(count: &AtomicUsize, more: usize, max: usize) -> bool {
    let within = |now: usize| now.checked_add(more).filter(|sum| *sum <= max);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
}

#[cfg(test)]
mod tests;
