//! `GET /users/@me` and `GET /users/{user_id}`

use std::collections::BTreeSet;

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    object::{OwnUserObject, UserObject, UserSource},
};

use crate::{
    answer::{error::Refused, reply},
    request::{caller::Caller, input::Input},
};

/// Shows the caller.
pub(crate) async fn get_current_user(caller: Caller) -> Response {
    reply::ok(&OwnUserObject::new(&caller.user))
}

/// Shows any user.
pub(crate) async fn get_user(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let id = ids.user_or_me(&caller)?.get();
    let found = data.users(BTreeSet::from([id])).await?;
    Ok(reply::ok(&UserObject::new(found.user(id).ok_or(ApiError::UnknownUser)?)))
}
