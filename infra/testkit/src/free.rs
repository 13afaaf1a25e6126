//! Free addresses for listeners.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use fastrand::Rng;

/// Ports to choose from. They lie below the range (32768 and up) from which the kernel takes ports for
/// clients. A client could take a listener's port from that range while the listener is down, and could even
/// connect to itself.
const PORTS: std::ops::Range<u16> = 12_000..30_000;
/// Most attempts to find a free port.
const PORT_TRIES: usize = 1_000;

/// Returns different addresses on loopback that are free now and that the kernel gives to no client later.
///
/// # Errors
/// If there are not enough of them.
pub fn free_addresses<const N: usize>(random: &mut Rng) -> Result<[SocketAddr; N]> {
    let mut found: Vec<(SocketAddr, TcpListener)> = Vec::with_capacity(N);
    for _ in 0..PORT_TRIES {
        // All are held until the last is found, so that they differ.
        if found.len() == N {
            break;
        }
        let port = random.u16(PORTS);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Ok(listener) = TcpListener::bind(address) {
            found.push((address, listener));
        }
    }
    let addresses: Vec<SocketAddr> = found.iter().map(|(address, _)| *address).collect();
    addresses.try_into().ok().context("no free ports")
}

/// [`free_addresses`] with a random seed.
///
/// # Errors
/// If there are not enough of them.
pub fn any_free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    free_addresses(&mut Rng::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_are_no_clients() {
        let [one, other] = free_addresses(&mut Rng::with_seed(1)).expect("free ports");
        assert_ne!(one, other);
        assert!(PORTS.contains(&one.port()) && PORTS.contains(&other.port()));
    }
}
