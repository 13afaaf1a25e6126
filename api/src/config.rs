//! What the operator may set, with the origin of every default.

use std::{num::NonZeroU32, time::Duration};

use weir_connect::{CONNECTION_BYTES, MemoryMax};
use weir_runtime::memory::{Bound, Share};
use weir_runtime::{Strangers, TrustedProxies};

use crate::{
    auth::CREDENTIAL_BYTES,
    ratelimit::{Bucket, STATE_BYTES},
    users::USER_BYTES,
};

/// Configuration of the api tier. [`ApiConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// What `GET /gateway` answers: `ws://` or `wss://`, host and port, never with a trailing slash, because client libraries append
    /// either `?v=10` or `/?v=10` to it.
    pub gateway_url: String,
    /// Shards of a bot that should identify at once, as `GET /gateway/bot` tells. Default 1, Discord's for small bots: client libraries then
    /// start one shard in five seconds, which is what the gateway enforces (`GatewayConfig::identify_limits`).
    pub max_concurrency: u32,
    /// Discord's rate limits; `None` switches all of them off, as local load tests need. Default: Discord's numbers.
    pub rate_limits: Option<RateLimitConfig>,
    /// Who may put a user into a guild. Default: [`AddMembers::Open`], which is for a machine of one's own.
    pub add_members: AddMembers,
    /// Bounds of sockets, requests and bodies.
    pub bounds: Bounds,
    /// Most bytes that all clients together may make it hold. Default: 64 MiB of replies and 64 MiB of request bodies.
    pub memory: MemoryMax,
    /// Proxies whose `X-Forwarded-For` tells the client's address. Default: none, so that a client cannot choose its own.
    pub trusted_proxies: TrustedProxies,
    /// Whole time that one call to the data service may take. Default 5 s: above the database's own timeout of 2 s.
    pub data_timeout: Duration,
    /// Most users kept for rendering authors. Default 50,000: about 10 MiB, 50 with the longest names.
    pub users_cached_max: u64,
    /// Oldest age of such a user. Default 10 s: a changed name shows that late in history; nothing else depends on it.
    pub users_cached_for: Duration,
    /// Most resolved credentials kept. Default 20,000: about 4 MiB, 22 with the longest names.
    pub credentials_cached_max: u64,
    /// Oldest age of a resolved credential. Default 5 s. Safe because a credential is never revoked yet; when it can be, this is the
    /// longest time for which a revoked one still works.
    pub credentials_cached_for: Duration,
}

impl ApiConfig {
    /// Defaults for everything but the gateway's address.
    #[must_use]
    pub fn new(gateway_url: impl Into<String>) -> Self {
        let mut gateway_url = gateway_url.into();
        gateway_url.truncate(gateway_url.trim_end_matches('/').len());
        Self {
            gateway_url,
            max_concurrency: 1,
            rate_limits: Some(RateLimitConfig::default()),
            add_members: AddMembers::Open,
            bounds: Bounds::default(),
            memory: MemoryMax::default(),
            trusted_proxies: TrustedProxies::default(),
            data_timeout: Duration::from_secs(5),
            users_cached_max: 50_000,
            users_cached_for: Duration::from_secs(10),
            credentials_cached_max: 20_000,
            credentials_cached_for: Duration::from_secs(5),
        }
    }

    /// The bounds of what clients may make it hold, to be fitted into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        let connections = Bound::Size(&mut self.bounds.connections_max);
        let mut shares = vec![
            Share { bound: connections, unit: CONNECTION_BYTES as u64, least: 64 },
            Share::bytes(&mut self.memory.replies),
            Share::bytes(&mut self.memory.bodies),
            Share::entries(&mut self.users_cached_max, USER_BYTES),
            Share::entries(&mut self.credentials_cached_max, CREDENTIAL_BYTES),
            Share::fixed(Strangers::MEMORY_BYTES),
        ];
        // Not cut: who is forgotten early has a full bucket again.
        shares
            .extend(self.rate_limits.iter().map(|limits| Share::fixed(limits.keys_max * STATE_BYTES as u64)));
        shares
    }
}

/// Who may put a user into a guild, besides the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddMembers {
    /// Whoever may invite to the guild.
    Open,
    /// The same, if the user consents: its own token is the request's `access_token`.
    Consent,
}

/// What sockets and requests may cost before anybody is known to have sent them.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Most open connections; one more is closed at once. Default 4,096: a descriptor each, a fifth of a customary hard limit of 20,000.
    pub connections_max: usize,
    /// Most requests under way; one more is answered 503. Default 2,048: with a body each that is 2 GiB at the very worst, and far more
    /// than the data service admits.
    pub requests_max: usize,
    /// Most concurrent requests on one HTTP/2 connection. Default 200: hyper's.
    pub streams_per_connection: u32,
    /// Most bytes of a request body. Default 1 MiB: Discord's 25 MiB are for attachments, which are not served yet; the largest valid
    /// message (2,000 code points and 6,000 of embeds, escaped) stays below 128 KiB.
    pub body_bytes_max: usize,
    /// Longest time for a body to arrive. Default 15 s: 1 MiB at 70 KiB/s.
    pub body_read_timeout: Duration,
    /// Longest silence before a request's head is complete. Default 15 s: longer than three retransmissions.
    pub header_read_timeout: Duration,
    /// Most bytes of a request's head. Default 16 KiB: `X-Audit-Log-Reason` may take 4.5 KiB when URL-encoded.
    pub header_bytes_max: u32,
    /// Longest time that a reply's bytes may find no room before its connection is dropped. Default 20 s.
    pub write_stall_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            requests_max: 2_048,
            streams_per_connection: 200,
            body_bytes_max: 1 << 20,
            body_read_timeout: Duration::from_secs(15),
            header_read_timeout: Duration::from_secs(15),
            header_bytes_max: 16 << 10,
            write_stall_timeout: Duration::from_secs(20),
        }
    }
}

/// So many requests in so much time, all of them at once if the caller likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests of a full bucket.
    pub requests: NonZeroU32,
    /// Time in which an empty bucket fills; at least 1 ns for each request.
    pub per: Duration,
}

impl Rate {
    /// `requests` in `per`.
    #[must_use]
    pub const fn new(requests: NonZeroU32, per: Duration) -> Self {
        Self { requests, per }
    }
}

/// Rate limits for each authenticated caller.
#[derive(Debug, Clone)]
pub struct RateLimitConfig {
    /// All requests of one caller together. Default 50 in 1 s, Discord's documented global limit.
    pub global: Rate,
    /// Each bucket's rate, by [`Bucket`]'s order.
    rates: [Rate; Bucket::ALL.len()],
    /// Most (caller, bucket, major parameter) triples remembered. Default 131,072: about 20 MiB. When it is full the least used are
    /// forgotten, which gives them a full bucket; the global limit keeps one caller from profiting.
    pub keys_max: u64,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { global: GLOBAL, rates: Bucket::ALL.map(Bucket::default_rate), keys_max: 131_072 }
    }
}

/// Discord's documented limit for all requests of a bot.
const GLOBAL: Rate = Rate::new(NonZeroU32::new(50).expect("50 is not 0"), Duration::from_secs(1));

impl RateLimitConfig {
    /// The rate of a bucket.
    #[must_use]
    pub fn rate(&self, bucket: Bucket) -> Rate {
        self.rates[bucket as usize]
    }

    /// The same limits with another rate for one bucket.
    #[must_use]
    pub fn with(mut self, bucket: Bucket, rate: Rate) -> Self {
        self.rates[bucket as usize] = rate;
        self
    }
}
