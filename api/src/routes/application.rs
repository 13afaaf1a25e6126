//! `GET /oauth2/applications/@me` and `GET /applications/@me`

use axum::response::Response;
use weir_discord::object::ApplicationObject;

use crate::{
    answer::{error::Refused, reply},
    flow::memberships::guild_count,
    request::input::Input,
};

/// The caller's application. A bot and its application share their id and their owner here.
pub(crate) async fn get_current_application(Input { data, caller, .. }: Input) -> Result<Response, Refused> {
    let guilds = guild_count(&data, &caller).await?;
    Ok(reply::ok(&ApplicationObject::new(&caller.user, guilds)))
}
