//! `GET /oauth2/applications/@me` and `GET /applications/@me`

use axum::response::Response;
use weir_discord::object::ApplicationObject;

use crate::{
    answer::{error::Refused, reply},
    flow::memberships::guild_count,
    request::input::Input,
};

/// The caller's application. Here a bot and its application have the same id and the same owner.
pub(crate) async fn get_current_application(Input { data, caller, .. }: Input) -> Result<Response, Refused> {
    let guilds = guild_count(&data, &caller).await?;
    Ok(reply::ok(&ApplicationObject::new(&caller.user, guilds)))
}
