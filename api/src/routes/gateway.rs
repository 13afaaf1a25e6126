//! `GET /gateway` and `GET /gateway/bot`

use axum::{extract::State, response::Response};
use weir_discord::object::{GatewayBotReply, GatewayReply, SessionStartLimit};

use crate::{
    answer::{error::Refused, reply},
    app::App,
    flow::memberships::guild_count,
    request::caller::Caller,
};

/// Identifies in a day; Discord's for bots in few guilds. Told to clients as never used up: the gateway does not count them, and a client
/// that is told of none left stops for hours.
const SESSION_STARTS: u32 = 1_000;

/// Guilds for which a shard is recommended. Discord's advice; the gateway's bound for a session is about twice that, so that a bot may join
/// some more before it has to be started anew with more shards. At most three are recommended, because no more guilds are counted.
const GUILDS_OF_A_SHARD: u32 = 1_000;

/// Where the gateway is. No authentication, as at Discord.
pub(crate) async fn gateway(State(app): State<App>) -> Response {
    reply::ok(&GatewayReply::new(&app.config.gateway_url))
}

/// The same, with how to connect.
pub(crate) async fn gateway_bot(State(app): State<App>, caller: Caller) -> Result<Response, Refused> {
    let shards = guild_count(&app.data, &caller).await?.div_ceil(GUILDS_OF_A_SHARD).max(1);
    let limit = SessionStartLimit {
        total: SESSION_STARTS,
        remaining: SESSION_STARTS,
        reset_after_ms: 0,
        max_concurrency: app.config.max_concurrency.max(1),
    };
    Ok(reply::ok(&GatewayBotReply::new(&app.config.gateway_url, shards, limit)))
}
