//! `GET /oauth2/applications/@me` and `GET /applications/@me`

use axum::{extract::State, response::Response};
use weir_discord::object::ApplicationObject;

use crate::{
    answer::{error::Refused, reply},
    data::Data,
    flow::memberships::guild_count,
    request::caller::Caller,
};

/// The caller's application. A bot and its application share their id and their owner here.
pub(crate) async fn get_current_application(
    State(data): State<Data>,
    caller: Caller,
) -> Result<Response, Refused> {
    let guilds = guild_count(&data, &caller).await?;
    Ok(reply::ok(&ApplicationObject::new(&caller.user, guilds)))
}
