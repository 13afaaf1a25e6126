//! `GET /gateway` and `GET /gateway/bot`

use axum::{extract::State, response::Response};
use weir_discord::object::{GatewayBotReply, GatewayReply, SessionStartLimit};

use crate::{
    answer::{error::Refused, reply},
    app::App,
    flow::memberships::guild_count,
    request::caller::Caller,
};

/// How many sessions a bot may start in a day, which is Discord's number for bots in few guilds. Clients are
/// always told that all of them are left: the gateway does not count them, and a client that is told of none
/// stops for hours.
const SESSION_STARTS: u32 = 1_000;

/// For how many guilds one shard is recommended, which is Discord's advice. The gateway lets a session have
/// about twice as many, so that a bot may join some more before it has to be started again with more shards.
/// At most three shards are recommended, because no more guilds are counted.
const GUILDS_OF_A_SHARD: u32 = 1_000;

/// Tells the gateway's address. This needs no authentication, as at Discord.
pub(crate) async fn gateway(State(app): State<App>) -> Response {
    reply::ok(&GatewayReply::new(&app.config.gateway_url))
}

/// Tells the gateway's address and how a bot should connect.
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
