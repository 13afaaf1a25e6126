//! What clients may make a gateway hold: the gateway's parts of the process's memory budget, and each
//! connection's accounts in them.

use std::{net::IpAddr, sync::Arc};

use weir_connect::budget::{Account, Bounds, Budget, Full, Hold, Part};
use weir_proto::id::UserId;
use weir_runtime::{
    Strangers,
    memory::{Bound, Share},
};

use super::{allowances::Allowances, identifies::Identifies, weight::ByteGauge};
use crate::GatewayConfig;

/// Bytes that an open connection counts for: its task, tungstenite's buffers, its session's row. 3.6 to 4.8
/// KB were measured for each of 15,000 sessions without compression.
pub(crate) const CONNECTION_BYTES: usize = 5 << 10;
/// Bytes that a compressor counts for: the window and tables of deflate with their allocations, measured at
/// 200 to 310 KiB.
pub(crate) const CODEC_BYTES: usize = 310 << 10;
/// Bytes of each scope whose last revision is remembered. An estimate.
pub(crate) const SCOPE_BYTES: usize = 32;
/// A token may have this fraction of a part. Eight tokens that take all that they may leave room for none,
/// but a token with so many sessions belongs to a large bot.
const TOKENS: usize = 8;

/// The gateway's parts of the budget.
#[derive(Debug)]
pub(crate) struct Memory {
    connections: Part,
    codecs: Part,
    unread: Part,
    /// What one client and one token may have of the room for introductions. The size of the room itself is
    /// kept by [`super::introductions`].
    introductions: Part,
}

impl Memory {
    /// The gateway's parts of `budget`.
    pub(crate) fn new(budget: &Budget, config: &GatewayConfig) -> Self {
        let shared = |total: usize| Bounds { total, peer: total / 2, token: total / TOKENS };
        let connections = config.connections_max.saturating_mul(CONNECTION_BYTES);
        let of_connections = Bounds { total: connections, peer: connections, token: connections };
        let of_introductions = Bounds {
            // A session that waits for room holds its share already.
            total: usize::MAX,
            peer: (config.introduction_bytes_max / 2).max(1),
            token: (config.introduction_bytes_max / 4).max(1),
        };
        Self {
            connections: budget.part("gateway_connections", of_connections),
            codecs: budget.part("gateway_codecs", shared(config.codec_bytes_max)),
            unread: budget.part("gateway_unread", Bounds::halves(config.unread_bytes_max)),
            introductions: Budget::default().part("introductions", of_introductions),
        }
    }

    /// Counts a connection for as long as the result is kept. `None` only if there are more connections than
    /// there may be.
    pub(crate) fn connection(&self, peer: IpAddr) -> Option<Hold> {
        self.connections.account(peer).hold(CONNECTION_BYTES).ok()
    }

    /// The accounts of the client at `address`.
    pub(crate) fn accounts(self: &Arc<Self>, address: IpAddr) -> Accounts {
        Accounts { memory: self.clone(), address, user: None }
    }
}

/// The accounts of one connection: of its client's address and, once it has a session, of its user. They are
/// opened only while something is held. Nearly every connection holds nothing nearly all the time, and open
/// accounts in three parts would cost each session some 500 bytes, by the sum of their fields.
#[derive(Debug)]
pub(crate) struct Accounts {
    memory: Arc<Memory>,
    address: IpAddr,
    user: Option<UserId>,
}

impl Accounts {
    /// From here on what is held also counts for a session of `user`.
    pub(crate) fn begin_session(&mut self, user: UserId) {
        self.user = Some(user);
    }

    pub(crate) fn codecs(&self) -> Account {
        self.of(&self.memory.codecs)
    }

    pub(crate) fn introductions(&self) -> Account {
        self.of(&self.memory.introductions)
    }

    fn of(&self, part: &Part) -> Account {
        let account = part.account(self.address);
        match self.user {
            Some(user) => account.for_token(user.get()),
            None => account,
        }
    }

    /// Counts bytes that wait for the client. Bytes that alone exceed the share count as the whole share:
    /// they were made for this client and go out whatever their size, but then nothing beside them.
    ///
    /// # Errors
    /// [`Full`] if the client, its token or all clients together hold as much as they may.
    pub(crate) fn wait_with(&self, bytes: usize) -> Result<Hold, Full> {
        let mut hold = self.of(&self.memory.unread).empty_hold();
        let Bounds { peer, token, .. } = hold.bounds();
        hold.grow(bytes.min(peer).min(token))?;
        Ok(hold)
    }
}

/// Gauges of what the gateway bounds by itself.
pub(crate) struct Gauges {
    pub(crate) ring: ByteGauge,
    pub(crate) held_back: ByteGauge,
    pub(crate) scopes: ByteGauge,
    pub(crate) guilds: ByteGauge,
    pub(crate) sessions: ByteGauge,
}

/// Shows the gauges in the memory budget.
pub(crate) fn watch(budget: &Budget, config: &GatewayConfig, gauges: Gauges) {
    let watch = |part, max, bytes: ByteGauge| budget.watch(part, max, move || bytes.get());
    watch("gateway_ring", config.ring_bytes_max, gauges.ring);
    watch("gateway_held_back", config.held_back_bytes_max, gauges.held_back);
    watch("gateway_scopes", config.scopes_max.saturating_mul(SCOPE_BYTES), gauges.scopes);
    watch("gateway_guilds", config.guild_bytes_max, gauges.guilds);
    watch("gateway_sessions", config.session_bytes_max, gauges.sessions);
}

impl GatewayConfig {
    /// The bounds of everything that the gateway may hold, so that the caller can fit them into the process's
    /// memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        vec![
            Share { bound: Bound::Size(&mut self.connections_max), unit: CONNECTION_BYTES as u64, least: 64 },
            Share { bound: Bound::Size(&mut self.scopes_max), unit: SCOPE_BYTES as u64, least: 1 << 14 },
            Share::bytes(&mut self.codec_bytes_max),
            Share::bytes(&mut self.unread_bytes_max),
            Share::bytes(&mut self.introduction_bytes_max),
            Share::bytes(&mut self.ring_bytes_max),
            Share::bytes(&mut self.held_back_bytes_max),
            Share::bytes(&mut self.guild_bytes_max),
            Share::bytes(&mut self.session_bytes_max),
            Share::fixed(Identifies::MEMORY_BYTES + Strangers::MEMORY_BYTES + Allowances::MEMORY_BYTES),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_token_cannot_have_all_the_room_of_its_address_for_introductions() {
        let config = GatewayConfig { introduction_bytes_max: 400, ..GatewayConfig::default() };
        let memory = Arc::new(Memory::new(&Budget::default(), &config));
        let session = |user: u64| {
            let mut accounts = memory.accounts(IpAddr::V4(Ipv4Addr::LOCALHOST));
            accounts.begin_session(UserId::try_from(user).unwrap());
            accounts.introductions().hold(100)
        };
        let first = session(7).unwrap();
        assert_eq!(session(7).err(), Some(Full::Token("introductions")));
        let second = session(8).unwrap();
        assert_eq!(session(9).err(), Some(Full::Peer("introductions")));
        drop((first, second));
        assert!(session(9).is_ok());
    }

    #[test]
    fn one_token_cannot_have_all_compressors_from_many_addresses() {
        let config = GatewayConfig { codec_bytes_max: 16 * CODEC_BYTES, ..GatewayConfig::default() };
        let memory = Arc::new(Memory::new(&Budget::default(), &config));
        let at = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let session = |last, user: u64| {
            let mut accounts = memory.accounts(at(last));
            accounts.begin_session(UserId::try_from(user).unwrap());
            accounts.codecs().hold(CODEC_BYTES)
        };
        let mut held = vec![session(1, 7).unwrap(), session(2, 7).unwrap()];
        assert!(session(3, 7).is_err(), "a token has an eighth");
        for user in 8..11 {
            held.extend([session(1, user).unwrap(), session(1, user).unwrap()]);
        }
        held.push(session(1, 11).unwrap());
        assert!(session(1, 12).is_err(), "an address has half");
        assert!(session(4, 12).is_ok());
    }
}
