//! `GET /oauth2/applications/@me` and `GET /applications/@me`

use axum::{extract::State, response::Response};
use weir_discord::object::ApplicationObject;

use crate::{app::App, auth::Caller, error::Refused, reply, routes::current_guilds::guild_count};

/// The caller's application. A bot and its application share their id and their owner here.
pub(crate) async fn get_current_application(
    State(app): State<App>,
    caller: Caller,
) -> Result<Response, Refused> {
    let guilds = guild_count(&app, &caller).await?;
    Ok(reply::ok(&ApplicationObject::new(&caller.user, guilds)))
}
