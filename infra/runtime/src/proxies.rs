//! Finds the address of a client behind proxies that the operator trusts.

use std::net::IpAddr;

use crate::Reader;

/// A block of addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    address: IpAddr,
    /// How many bits count, at most 32 or 128.
    prefix: u8,
}

/// Proxies that are trusted to name their clients' addresses. Without any, a client's address is that of its
/// connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Block>);

/// A text that is neither an address nor a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a block of addresses")]
pub struct NoBlock(String);

/// What to write instead.
const FIX: &str = "write addresses or blocks, such as [\"127.0.0.1\", \"10.0.0.0/8\"]";

impl TrustedProxies {
    /// True if no proxy is trusted. Then all clients are taken to connect directly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses addresses (`127.0.0.1`) and blocks (`10.0.0.0/8`).
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, NoBlock> {
        let block = |text: &T| block(text.as_ref()).ok_or_else(|| NoBlock(text.as_ref().to_owned()));
        texts.iter().map(block).collect::<Result<_, _>>().map(Self)
    }

    /// Reads a list of addresses and blocks. Without a setting, no proxy is trusted.
    pub fn read(reader: &mut Reader, key: &str) -> Self {
        let list = reader.list(key);
        let parsed = Self::parse(&list);
        if let Err(error) = &parsed {
            reader.require(key, false, &error.to_string(), FIX);
        }
        parsed.unwrap_or_default()
    }

    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// The client of a connection from `peer`, by the values of `X-Forwarded-For` in their order: the
    /// right-most address that is not a trusted proxy's. Each proxy appends the address of its own peer, so
    /// everything left of that was written by the client itself.
    #[must_use]
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for entry in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            if !self.trusts(client) {
                break;
            }
            // An entry that is no address was not written by a trusted proxy: the last known address counts
            // as the client's.
            let Some(named) = address(entry.trim()) else { break };
            client = named;
        }
        client
    }
}

impl Block {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits(), other.to_bits(), 32, self.prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128, self.prefix),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether the first `prefix` of `bits` bits are the same.
fn same(a: impl Into<u128>, b: impl Into<u128>, bits: u32, prefix: u8) -> bool {
    let (a, b): (u128, u128) = (a.into(), b.into());
    (a ^ b).checked_shr(bits - u32::from(prefix)).unwrap_or(0) == 0
}

fn block(text: &str) -> Option<Block> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(most);
    (prefix <= most).then_some(Block { address, prefix })
}

/// An entry of `X-Forwarded-For`: an address, to which some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let with_port = || entry.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxys() {
        let proxies = TrustedProxies::parse(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"]).unwrap();
        let table: &[(&str, &[&str], &str)] = &[
            // The header of an untrusted peer is ignored.
            ("203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            // The client's own entry is left of those that the proxies appended.
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.1.2.3"], "1.2.3.4"),
            ("127.0.0.1", &["6.6.6.6", "1.2.3.4", "10.1.2.3,10.0.0.1"], "1.2.3.4"),
            ("::ffff:127.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            // All entries are trusted proxies: the first of them counts.
            ("127.0.0.1", &["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            ("127.0.0.1", &["1.2.3.4, unknown"], "127.0.0.1"),
            ("127.0.0.1", &[""], "127.0.0.1"),
        ];
        for (peer, forwarded, client) in table {
            let found = proxies.client(ip(peer), forwarded.iter().copied());
            assert_eq!(found, ip(client), "{peer} {forwarded:?}");
        }
        assert_eq!(
            TrustedProxies::default().client(ip("127.0.0.1"), ["1.2.3.4"].into_iter()),
            ip("127.0.0.1")
        );
    }

    #[test]
    fn blocks_are_read_and_contain_what_shares_their_prefix() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.128/25", "192.0.2.129", "192.0.2.127"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ] {
            let proxies = TrustedProxies::parse(&[text]).unwrap();
            assert!(proxies.trusts(ip(inside)) && !proxies.trusts(ip(outside)), "{text}");
        }
        let all = TrustedProxies::parse(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(all.trusts(ip("8.8.8.8")) && all.trusts(ip("2001:db8::1")));
        for wrong in ["", "proxy.example", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.1:80"]
        {
            assert_eq!(TrustedProxies::parse(&[wrong]), Err(NoBlock(wrong.to_owned())));
        }
    }
}
