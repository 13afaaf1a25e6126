//! The objects that open a gateway session: the addresses over REST, then READY or RESUMED.

use serde::Serialize;
use weir_proto::data::User;

use super::{application::PRIVILEGED_INTENT_FLAGS, guild::UnavailableGuildObject, user::OwnUserObject};
use crate::wire::{Empty, Id};

/// A gateway's base address without trailing slashes: some libraries append `/?v=10`, others `?v=10`.
#[must_use]
pub fn gateway_url(base: &str) -> &str {
    base.trim_end_matches('/')
}

/// `GET /gateway`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GatewayReply<'a> {
    url: &'a str,
}

impl<'a> GatewayReply<'a> {
    /// The reply that names a gateway's base address, `ws://` or `wss://`.
    #[must_use]
    pub fn new(url: &'a str) -> Self {
        Self { url: gateway_url(url) }
    }
}

/// How often a bot may start sessions.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SessionStartLimit {
    /// Starts allowed in a day.
    pub total: u32,
    /// Starts left.
    pub remaining: u32,
    /// Milliseconds until `remaining` equals `total` again.
    #[serde(rename = "reset_after")]
    pub reset_after_ms: u64,
    /// Identifies that a client may send in each five seconds, one for each `shard_id % max_concurrency`; at
    /// least 1.
    pub max_concurrency: u32,
}

/// `GET /gateway/bot`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GatewayBotReply<'a> {
    url: &'a str,
    shards: u32,
    session_start_limit: SessionStartLimit,
}

impl<'a> GatewayBotReply<'a> {
    /// The reply that names a gateway's base address and the recommended number of shards (at least 1).
    #[must_use]
    pub fn new(url: &'a str, shards: u32, session_start_limit: SessionStartLimit) -> Self {
        Self { url: gateway_url(url), shards, session_start_limit }
    }
}

/// The parts of READY.
#[derive(Debug, Clone, Copy)]
pub struct ReadyParts<'a> {
    /// The gateway version that the client asked for (9 or 10).
    pub version: u8,
    /// The session's own user.
    pub user: &'a User,
    /// The guilds of the session's shard. Each must be followed by its GUILD_CREATE, for which some libraries
    /// wait without end.
    pub guild_ids: &'a [u64],
    /// The session's id, which is secret.
    pub session_id: &'a str,
    /// The base address to resume at.
    pub resume_gateway_url: &'a str,
    /// Shard number and number of shards.
    pub shard: (u32, u32),
}

/// The `d` of READY.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyEvent<'a> {
    v: u8,
    user: OwnUserObject<'a>,
    guilds: Vec<UnavailableGuildObject>,
    session_id: &'a str,
    resume_gateway_url: &'a str,
    shard: [u32; 2],
    application: ReadyApplication,
    session_type: &'static str,
    /// This key is undocumented for bots, and one library throws without it.
    private_channels: Empty,
    relationships: Empty,
    presences: Empty,
    guild_join_requests: Empty,
    user_settings: ResumedEvent,
    geo_ordered_rtc_regions: Empty,
    _trace: Empty,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ReadyApplication {
    id: Id,
    flags: u32,
}

impl<'a> ReadyEvent<'a> {
    /// The event of its parts.
    #[must_use]
    pub fn new(parts: &ReadyParts<'a>) -> Self {
        Self {
            v: parts.version,
            user: OwnUserObject::new(parts.user),
            guilds: parts.guild_ids.iter().copied().map(UnavailableGuildObject::new).collect(),
            session_id: parts.session_id,
            resume_gateway_url: gateway_url(parts.resume_gateway_url),
            shard: [parts.shard.0, parts.shard.1],
            application: ReadyApplication { id: Id(parts.user.id), flags: PRIVILEGED_INTENT_FLAGS },
            session_type: "normal",
            private_channels: [],
            relationships: [],
            presences: [],
            guild_join_requests: [],
            user_settings: ResumedEvent {},
            geo_ordered_rtc_regions: [],
            _trace: [],
        }
    }
}

/// The `d` of RESUMED. It is an object, because one library writes a key into it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ResumedEvent {}
