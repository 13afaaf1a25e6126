//! What the operator may configure, with the origin of every default.

use std::time::Duration;

use weir_connect::{CONNECTION_BYTES, MemoryMax};
use weir_runtime::memory::{Bound, Share};
use weir_runtime::{Strangers, TrustedProxies};

use crate::{
    bounds::ApiBounds,
    cache::{CREDENTIAL_BYTES, users::USER_BYTES},
    ratelimit::{RateLimitConfig, STATE_BYTES},
};

/// Configuration of the api tier. [`ApiConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The answer of `GET /gateway`: `ws://` or `wss://`, a host and a port. It never ends with a slash,
    /// because client libraries append either `?v=10` or `/?v=10` to it.
    pub gateway_url: String,
    /// How many shards of a bot should identify at once, as `GET /gateway/bot` says. Default 1, which is
    /// Discord's for small bots: client libraries then start one shard in five seconds, and the gateway
    /// enforces that (`GatewayConfig::identify_limits`).
    pub max_concurrency: u32,
    /// Discord's rate limits. `None` switches all of them off, as local load tests need. Default: Discord's
    /// numbers.
    pub rate_limits: Option<RateLimitConfig>,
    /// Who may put a user into a guild. Default: [`AddMembers::Open`], which is for an operator's own
    /// machine.
    pub add_members: AddMembers,
    /// Bounds of sockets, requests and bodies.
    pub bounds: ApiBounds,
    /// Most bytes that all clients together may make the tier hold. Default: 64 MiB of replies and 64 MiB of
    /// request bodies.
    pub memory: MemoryMax,
    /// Proxies whose `X-Forwarded-For` is believed about the client's address. Default: none, so that a
    /// client cannot choose its own address.
    pub trusted_proxies: TrustedProxies,
    /// Total time that one call to the data service may take. Default 5 s, which is above the database's own
    /// timeout of 2 s.
    pub data_timeout: Duration,
    /// Most users kept for rendering authors. Default 50,000, which take about 10 MiB, or 50 MiB if all have
    /// the longest names.
    pub users_cached_max: u64,
    /// How late a history may show a user's changed name: half of it users are kept, and half of it rendered
    /// pages. Default 10 s. Nothing else depends on it.
    pub users_cached_for: Duration,
    /// Most bytes of pages of history that are kept as they were rendered, with the rows that they were
    /// rendered from. Default 32 MiB: about 600 pages of 50 messages, which is more than are hot at once.
    pub pages_cached_bytes: u64,
    /// Most resolved credentials kept. Default 20,000, which take about 4 MiB, or 22 MiB if all have the
    /// longest names.
    pub credentials_cached_max: u64,
    /// How long a resolved credential is kept. Default 5 s. This is safe because no credential is ever
    /// revoked yet. When one can be, this is the longest time for which it still works after it was revoked.
    pub credentials_cached_for: Duration,
}

impl ApiConfig {
    /// The defaults for everything but the gateway's address.
    #[must_use]
    pub fn new(gateway_url: impl Into<String>) -> Self {
        let mut gateway_url = gateway_url.into();
        gateway_url.truncate(gateway_url.trim_end_matches('/').len());
        Self {
            gateway_url,
            max_concurrency: 1,
            rate_limits: Some(RateLimitConfig::default()),
            add_members: AddMembers::Open,
            bounds: ApiBounds::default(),
            memory: MemoryMax::default(),
            trusted_proxies: TrustedProxies::default(),
            data_timeout: Duration::from_secs(5),
            users_cached_max: 50_000,
            users_cached_for: Duration::from_secs(10),
            pages_cached_bytes: 32 << 20,
            credentials_cached_max: 20_000,
            credentials_cached_for: Duration::from_secs(5),
        }
    }

    /// The bounds of what clients may make the tier hold. The caller fits them into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        let connections = Bound::Size(&mut self.bounds.connections_max);
        let mut shares = vec![
            Share { bound: connections, unit: CONNECTION_BYTES as u64, least: 64 },
            Share::bytes(&mut self.memory.replies),
            Share::bytes(&mut self.memory.bodies),
            Share::entries(&mut self.users_cached_max, USER_BYTES),
            Share::wide(&mut self.pages_cached_bytes),
            Share::entries(&mut self.credentials_cached_max, CREDENTIAL_BYTES),
            Share::fixed(Strangers::MEMORY_BYTES),
        ];
        // This bound is not cut: a caller whose state is forgotten early has a full bucket again.
        shares
            .extend(self.rate_limits.iter().map(|limits| Share::fixed(limits.keys_max * STATE_BYTES as u64)));
        shares
    }
}

/// Who may put a user into a guild, besides the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddMembers {
    /// Every member that may invite to the guild.
    Open,
    /// The same members, if the user consents: the request's `access_token` has to be the user's own token.
    Consent,
}
