//! The attacks: what each is called, what it does, and whether it needs a token.

use std::sync::Arc;

use clap::ValueEnum;
use tokio::time::Instant;

use super::{
    calls,
    ground::Ground,
    http,
    websocket::{self, Hello},
};

/// One way to be hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    PingFlood,
    NeverIdentify,
    HalfHandshake,
    UnknownIdentify,
    SlowHeads,
    UnknownTokens,
    ConnectStorm,
    Descriptors,
    IdleHttp2,
    DeafStreams,
    RapidReset,
    UnfinishedBodies,
    RandomChannels,
    DeafReplies,
    DeafStreamsToken,
    UnfinishedBodiesToken,
    SessionsComeAndGo,
    DeafSessions,
    MemberRequests,
    HeavyGuild,
}

/// Round of an attack, far above the rounds that filled the caches before it.
const ATTACK_ROUND: u64 = 1 << 32;

impl Attack {
    pub(in crate::scenario) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub(in crate::scenario) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// True if the attacker has a bot's valid token.
    pub(super) fn has_token(self) -> bool {
        match self {
            Self::PingFlood
            | Self::NeverIdentify
            | Self::HalfHandshake
            | Self::UnknownIdentify
            | Self::SlowHeads
            | Self::UnknownTokens
            | Self::ConnectStorm
            | Self::Descriptors
            | Self::IdleHttp2
            | Self::DeafStreams
            | Self::RapidReset
            | Self::UnfinishedBodies
            | Self::RandomChannels => false,
            Self::DeafReplies
            | Self::DeafStreamsToken
            | Self::UnfinishedBodiesToken
            | Self::SessionsComeAndGo
            | Self::DeafSessions
            | Self::MemberRequests
            | Self::HeavyGuild => true,
        }
    }

    /// Describes the attack in a line.
    pub(in crate::scenario) fn what(self) -> &'static str {
        match self {
            Self::PingFlood => "four WebSocket connections send pings at full speed and read nothing",
            Self::NeverIdentify => "400 WebSocket connections with zlib-stream never identify",
            Self::HalfHandshake => {
                "400 connections to the gateway stop in the middle of the handshake's head"
            }
            Self::UnknownIdentify => "16 connections identify with tokens that nobody has, again and again",
            Self::SlowHeads => "300 connections to the api send a byte of a head each second",
            Self::UnknownTokens => "16 connections ask the api with tokens that nobody has, at full speed",
            Self::ConnectStorm => "2,000 connects at once to the gateway, again and again",
            Self::Descriptors => "1,500 idle connections over all listeners: more than there are descriptors",
            Self::IdleHttp2 => {
                "100 HTTP/2 connections to the admin listener and 300 to the data service only answer pings"
            }
            Self::DeafStreams => {
                "10 HTTP/2 connections ask the data service for 200 full pages each, and open no window"
            }
            Self::RapidReset => "8 HTTP/2 connections open streams and reset them at once",
            Self::UnfinishedBodies => "64 requests to the data service send all but the last bytes of 4 MiB",
            Self::RandomChannels => "reads of channels that nobody has, at full speed, at the data service",
            Self::DeafReplies => "100 connections pipeline full pages at the api and read nothing",
            Self::DeafStreamsToken => {
                "10 HTTP/2 connections ask the api for 200 full pages each, and open no window"
            }
            Self::UnfinishedBodiesToken => "300 requests to the api send all but the last bytes of 1 MiB",
            Self::SessionsComeAndGo => {
                "48 connections at a time identify with zlib-stream, read READY and leave"
            }
            Self::DeafSessions => "60 connections identify for a guild of 500 channels and read nothing",
            Self::MemberRequests => {
                "20 connections ask for members whom nobody knows at full speed, read nothing, leave and resume"
            }
            Self::HeavyGuild => "24 requests a second in a guild of 500 channels with 100 overwrites each",
        }
    }

    /// Attacks until `until`, and describes what was done.
    pub(in crate::scenario) async fn run(self, ground: Arc<Ground>, until: Instant) -> String {
        match self {
            Self::PingFlood => websocket::ping_flood(ground.gateway, 4, until).await,
            Self::NeverIdentify => websocket::never_identify(ground.gateway, 400, until).await,
            Self::HalfHandshake => {
                http::hold(&[(ground.gateway, 400)], b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: webs", until)
                    .await
            }
            Self::UnknownIdentify => websocket::unknown_identify(ground.gateway, 16, until).await,
            Self::SlowHeads => http::slow_heads(ground.api, 300, until).await,
            Self::UnknownTokens => http::unknown_tokens(ground.api, 16, until).await,
            Self::ConnectStorm => http::connect_storm(ground.gateway, 2_000, until).await,
            Self::Descriptors => {
                let all = [ground.api, ground.gateway, ground.data_service, ground.admin];
                http::hold(&all.map(|address| (address, 375)), b"", until).await
            }
            Self::IdleHttp2 => {
                http::idle_http2(&[(ground.admin, 100), (ground.data_service, 300)], until).await
            }
            Self::DeafStreams => http::deaf_streams(&ground.page_of_data_service(), 10, 200, until).await,
            Self::RapidReset => http::rapid_reset(&ground.page_of_data_service(), 8, until).await,
            Self::UnfinishedBodies => {
                let path = "/weir.data.v1.MessageService/ListMessages";
                http::unfinished_bodies(ground.data_service, path, None, 64, 4 << 20, until).await
            }
            Self::RandomChannels => calls::random_channels(&ground, ATTACK_ROUND, until).await,
            Self::DeafReplies => http::deaf_replies(&ground, 100, until).await,
            Self::DeafStreamsToken => http::deaf_streams(&ground.page_of_api(), 10, 200, until).await,
            Self::UnfinishedBodiesToken => {
                let path = format!("/api/v10/channels/{}/messages", ground.channel);
                http::unfinished_bodies(ground.api, &path, Some(&ground.token), 300, 1 << 20, until).await
            }
            Self::SessionsComeAndGo => {
                let hello = Hello { query: "&compress=zlib-stream", intents: 1, reads: true };
                websocket::sessions(&ground, hello, 48, until).await
            }
            Self::DeafSessions => {
                calls::heavy_guild(&ground, 500, 20).await;
                let hello = Hello { query: "", intents: 1, reads: false };
                websocket::sessions(&ground, hello, 60, until).await
            }
            Self::MemberRequests => websocket::member_requests(&ground, 20, until).await,
            Self::HeavyGuild => calls::heavy_requests(&ground, until).await,
        }
    }
}
