//! `GET /users/@me` and `GET /users/{user_id}`

use std::collections::BTreeSet;

use axum::{extract::State, response::Response};
use weir_discord::{
    error::ApiError,
    object::{OwnUserObject, UserObject, UserSource},
};

use crate::{app::App, auth::Caller, error::Refused, path::PathIds, reply};

/// The caller.
pub(crate) async fn get_current_user(caller: Caller) -> Response {
    reply::ok(&OwnUserObject::new(&caller.user))
}

/// Anybody.
pub(crate) async fn get_user(
    State(app): State<App>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let id = ids.user_or_me(&caller)?.get();
    let found = app.users.find(BTreeSet::from([id]), &app.data, &app.call()).await;
    let found = found.map_err(|error| Refused::from_data(error, ApiError::UnknownUser))?;
    Ok(reply::ok(&UserObject::new(found.user(id).ok_or(ApiError::UnknownUser)?)))
}
