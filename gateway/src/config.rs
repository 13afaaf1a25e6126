//! A gateway's configuration, with the default of each field and its origin.

use std::time::Duration;

use weir_discord::intent::Intents;
use weir_runtime::TrustedProxies;

/// Whether Discord's limits on identifies are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentifyLimits {
    /// A token may identify once in five seconds and a thousand times a day.
    #[default]
    Discord,
    /// No limits, as load tests with one token need.
    Off,
}

/// Configuration of a gateway process.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Address that clients are told to resume at, `ws://host:port` or `wss://host:port`; a trailing slash is
    /// cut.
    pub public_url: String,
    /// Privileged intents that are granted to every application. The default is all of them: on one's own
    /// server nobody else decides.
    pub granted_intents: Intents,

    /// How often clients must send a heartbeat. Discord's interval is about this long.
    pub heartbeat_interval: Duration,
    /// A connection that is silent for this long is closed: 1.75 intervals, so that one lost heartbeat is
    /// forgiven and two are not.
    pub heartbeat_timeout: Duration,
    /// Time for the WebSocket handshake.
    pub handshake_timeout: Duration,
    /// Time between Hello and an Identify or Resume that succeeds. It begins again when a valid token
    /// identifies too often.
    pub identify_timeout: Duration,
    /// Time that a write to a socket may take. A client that drains nothing for so long is closed and may
    /// resume.
    pub write_timeout: Duration,
    /// Time for one call to the data service.
    pub call_timeout: Duration,
    /// Time from the request to stop until connections are cut.
    pub drain_timeout: Duration,

    /// Open connections; each takes a file descriptor. Beyond it, the address with the most connections
    /// without a session loses the oldest of them; if there is none, new connections get HTTP 503.
    pub connections_max: usize,
    /// Sessions, with and without a connection. Beyond it, the session that has been without a connection
    /// longest ends; if all have one, identify is refused.
    pub sessions_max: usize,
    /// Sessions of one user. Beyond it, the user's session that has been without a connection longest ends;
    /// if all have one, identify is refused. So a user that floods loses its own sessions. The default is as
    /// many as a token may begin in a day.
    pub sessions_per_user_max: usize,
    /// How long a session without a connection can be resumed.
    pub resume_window: Duration,
    /// Guilds of one session. Beyond it, the connection is closed with 4011, which ends a bot for good. The
    /// default is Discord's number for a shard, so a bot that is sharded for Discord fits. A session's row
    /// holds 8 bytes for each.
    pub guilds_max: usize,
    /// Identifies, and resumes of sessions that an earlier process left, that are under way at once; more
    /// wait. This bounds what a reconnect storm asks of the data service.
    pub admissions_max: usize,
    /// How often a token may identify.
    pub identify_limits: IdentifyLimits,
    /// Proxies whose `X-Forwarded-For` names the client's address. By default there is none, so that a client
    /// cannot choose its own address.
    pub trusted_proxies: TrustedProxies,
    /// Bytes rendered for sessions that begin (READY and their initial guilds) and not read by their clients
    /// yet, of all sessions together; more wait. The largest guild is sent whatever its size, but then alone.
    pub introduction_bytes_max: usize,
    /// Bytes of compressors of all sessions that asked for `compress=zlib-stream`, 310 KiB each; an eighth
    /// for one token, half for one address. A session for which there is no room gets the same stream without
    /// compression.
    pub codec_bytes_max: usize,
    /// Bytes written that clients have not read, of all sessions together; half for one address, a quarter
    /// for one token. A session that would hold more is closed and may resume.
    pub unread_bytes_max: usize,
    /// Payloads a client may send in a minute, heartbeats and control frames included. Discord's number.
    pub events_max: u32,

    /// Records that the ring keeps for sessions that are behind.
    pub ring_records_max: usize,
    /// Bytes that the ring keeps, including rendered events and the guilds' states that its records are
    /// judged by.
    pub ring_bytes_max: usize,
    /// Bytes of records that wait because an earlier record of their guild is being completed, in all guilds
    /// together. The default is half of what the ring keeps.
    pub held_back_bytes_max: usize,
    /// Bytes of the states of guilds that sessions here are in: channels, roles, and the index for
    /// permissions; half for one session. A session that needs a guild beyond it is refused.
    pub guild_bytes_max: usize,
    /// Bytes of all sessions and their memberships, with and without a connection; half for one user. Beyond
    /// it, sessions end in the order in which they lost their connections; if all have one, identify is
    /// refused.
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
            // This is enough for 30,000 sessions of about ten guilds.
            session_bytes_max: 128 << 20,
            scopes_max: 1_000_000,
        }
    }
}
