//! `GET /oauth2/applications/@me` and `GET /applications/@me`

use axum::{extract::State, response::Response};
use weir_discord::object::ApplicationObject;

use crate::{app::App, auth::Caller, error::Refused, reply, routes::current_guilds::guild_ids_above};

/// The caller's application. A bot and its application share their id and their owner here.
pub(crate) async fn get_current_application(
    State(app): State<App>,
    caller: Caller,
) -> Result<Response, Refused> {
    let guilds = guild_ids_above(&app, &caller, 0).await?.len();
    Ok(reply::ok(&ApplicationObject::new(&caller.user, u32::try_from(guilds).unwrap_or(u32::MAX))))
}
