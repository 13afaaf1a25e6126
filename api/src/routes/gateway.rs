//! `GET /gateway` and `GET /gateway/bot`

use axum::{extract::State, response::Response};
use weir_discord::object::{GatewayBotReply, GatewayReply, SessionStartLimit};

use crate::{app::App, reply};

/// Identifies in a day; Discord's for bots in few guilds. Told to clients as never used up: the gateway does not count them, and a client
/// that is told of none left stops for hours.
const SESSION_STARTS: u32 = 1_000;

/// Where the gateway is. No authentication, as at Discord.
pub(crate) async fn gateway(State(app): State<App>) -> Response {
    reply::ok(&GatewayReply::new(&app.config.gateway_url))
}

/// The same, with how to connect. One shard: the gateway asks nobody to split, it only allows it.
pub(crate) async fn gateway_bot(State(app): State<App>) -> Response {
    let limit = SessionStartLimit {
        total: SESSION_STARTS,
        remaining: SESSION_STARTS,
        reset_after_ms: 0,
        max_concurrency: app.config.max_concurrency.max(1),
    };
    reply::ok(&GatewayBotReply::new(&app.config.gateway_url, 1, limit))
}
