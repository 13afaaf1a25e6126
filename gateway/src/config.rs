//! What can be set, with the default and its origin at each field.

use std::time::Duration;

use weir_discord::intent::Intents;
use weir_runtime::TrustedProxies;

/// Whether Discord's limits on identifies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentifyLimits {
    /// One in five seconds and a thousand in a day for each token.
    #[default]
    Discord,
    /// None, as load tests with one token need.
    Off,
}

/// Configuration of a gateway process.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Address that clients are told to resume at, `ws://host:port` or `wss://host:port`; a trailing slash is cut.
    pub public_url: String,
    /// Privileged intents that are granted to every application. All of them by default: on one's own server nobody else decides.
    pub granted_intents: Intents,

    /// How often clients must beat. Discord's is about this.
    pub heartbeat_interval: Duration,
    /// Silence after which a connection is given up: 1.75 intervals, so that one lost beat is forgiven and two are not.
    pub heartbeat_timeout: Duration,
    /// Time for the WebSocket handshake.
    pub handshake_timeout: Duration,
    /// Time between Hello and an Identify or Resume that is taken; begins again when a good token identifies too often.
    pub identify_timeout: Duration,
    /// Time that a write to a socket may take. A client that drains nothing for so long is closed and may resume.
    pub write_timeout: Duration,
    /// Time for one call to the data service.
    pub call_timeout: Duration,
    /// Time from the wish to stop until connections are cut.
    pub drain_timeout: Duration,

    /// Open connections; above it the address with most without a session gives the oldest of them, and if nobody has any, new ones get HTTP 503. A file descriptor each.
    pub connections_max: usize,
    /// Sessions, with and without a connection. Above it the one longest without a connection ends; if none is, identify is refused.
    pub sessions_max: usize,
    /// Sessions of one user; above it the user's own that is longest without a connection ends, and if none is, identify is refused. So who
    /// floods loses its own. As many as a token may begin in a day.
    pub sessions_per_user_max: usize,
    /// How long a session without a connection can be resumed.
    pub resume_window: Duration,
    /// Guilds of one session; above it close code 4011, which ends a bot for good. Discord's number for a shard, so a bot that is sharded for
    /// Discord fits. A session's row holds 8 bytes for each.
    pub guilds_max: usize,
    /// Identifies, and resumes of sessions that an earlier process left, being worked on at once; more wait. Bounds what a reconnect storm asks of the data service.
    pub admissions_max: usize,
    /// How often a token may identify.
    pub identify_limits: IdentifyLimits,
    /// Proxies whose `X-Forwarded-For` tells the client's address. Default: none, so that a client cannot choose its own.
    pub trusted_proxies: TrustedProxies,
    /// Bytes rendered for sessions that are being introduced and have not read them, of all sessions together; more wait. The largest guild
    /// is shown whatever its size, then alone.
    pub introduction_bytes_max: usize,
    /// Bytes of compressors of all sessions that asked for `compress=zlib-stream`, 310 KiB each; an eighth for one token, half for one address.
    /// A session for which there is no room is served by the same stream without compression.
    pub codec_bytes_max: usize,
    /// Bytes written that clients have not taken, of all sessions together; half for one address, a quarter for one token. A session that would hold
    /// more is closed and may resume.
    pub unread_bytes_max: usize,
    /// Payloads a client may send in a minute, heartbeats and control frames included. Discord's number.
    pub events_max: u32,

    /// Records that the ring keeps for sessions that are behind.
    pub ring_records_max: usize,
    /// Bytes that the ring keeps, rendered events and the guilds' states of then included.
    pub ring_bytes_max: usize,
    /// Bytes of records that wait because something of their guild is being completed, in all guilds together. Half of what the ring keeps.
    pub held_back_bytes_max: usize,
    /// Bytes of the states of guilds that sessions here are in: channels, roles and what permissions are found by; half for one session. A
    /// session that would need another beyond it is refused.
    pub guild_bytes_max: usize,
    /// Bytes of all sessions, with and without a connection, and of their memberships; half for one user. Above it those longest without a connection end; if none
    /// is, identify is refused.
    pub session_bytes_max: usize,
    /// Channels and guilds whose last revision is remembered, about 32 bytes each.
    pub scopes_max: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let heartbeat_interval = Duration::from_millis(41_250);
        Self {
            public_url: "ws://127.0.0.1:8081".to_owned(),
            granted_intents: Intents::PRIVILEGED,
            heartbeat_interval,
            heartbeat_timeout: heartbeat_interval.mul_f64(1.75),
            handshake_timeout: Duration::from_secs(10),
            identify_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            connections_max: 15_000,
            sessions_max: 30_000,
            sessions_per_user_max: crate::limits::identifies::IDENTIFIES_MAX as usize,
            resume_window: Duration::from_secs(300),
            guilds_max: 2_500,
            admissions_max: 64,
            identify_limits: IdentifyLimits::Discord,
            trusted_proxies: TrustedProxies::default(),
            introduction_bytes_max: 64 << 20,
            codec_bytes_max: 256 << 20,
            unread_bytes_max: 64 << 20,
            events_max: crate::socket::inbound_limit::EVENTS_MAX,
            ring_records_max: 65_536,
            ring_bytes_max: 128 << 20,
            held_back_bytes_max: crate::consume::holdback::HELD_BYTES_MAX,
            guild_bytes_max: 256 << 20,
            // 30,000 sessions of about ten guilds.
            session_bytes_max: 128 << 20,
            scopes_max: 1_000_000,
        }
    }
}
