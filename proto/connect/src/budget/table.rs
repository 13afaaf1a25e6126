//! The holders that have an account of a part, and what each of them holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Bits of an IPv6 address that name one customer's network; the rest is the customer's to choose (RFC 6177,
/// RFC 7084).
const NETWORK_BITS: u32 = 64;

/// The identity for which bytes, connections and failures are counted: an IPv4 address, or the /64 of an IPv6
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(IpAddr);

impl Peer {
    /// The peer at `address`. An IPv4 address in IPv6 form is the IPv4 address.
    pub fn of(address: IpAddr) -> Peer {
        Peer(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = u128::MAX << (u128::BITS - NETWORK_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & network))
            }
        })
    }
}

/// A holder of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Peer(Peer),
    /// The user of a token.
    Token(u64),
}

/// The holders with an account, and what each of them holds.
#[derive(Debug, Default)]
pub(super) struct Holders {
    known: HashMap<Holder, Known>,
}

#[derive(Debug, Default)]
struct Known {
    accounts: usize,
    held: Arc<AtomicUsize>,
}

impl Holders {
    /// Opens one more account; gives the holder's count of bytes.
    pub(super) fn enter(&mut self, holder: Holder) -> Arc<AtomicUsize> {
        let known = self.known.entry(holder).or_default();
        known.accounts += 1;
        Arc::clone(&known.held)
    }

    /// Closes one account. With its last account a holder is removed. It holds nothing then, because every
    /// hold has an account.
    pub(super) fn leave(&mut self, holder: Holder) {
        let Entry::Occupied(mut known) = self.known.entry(holder) else { return };
        known.get_mut().accounts -= 1;
        if known.get().accounts == 0 {
            known.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
