//! `PUT` and `DELETE /guilds/{guild_id}/members/{user_id}/roles/{role_id}`

use axum::{Extension, extract::State, response::Response};
use weir_discord::error::ApiError;
use weir_proto::data::Member;

use crate::{
    access::{GuildAccess, member_of},
    app::App,
    auth::Caller,
    envelope::Arrival,
    error::Refused,
    path::PathIds,
    reply,
    routes::{members, roles::role_below},
};

/// Gives a member a role.
pub(crate) async fn grant_role(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    change(&app, &caller, &ids, arrival, |member, role_id| {
        if member.role_ids.contains(&role_id) {
            return false;
        }
        member.role_ids.push(role_id);
        true
    })
    .await
}

/// Takes a role from a member.
pub(crate) async fn revoke_role(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    change(&app, &caller, &ids, arrival, |member, role_id| {
        let before = member.role_ids.len();
        member.role_ids.retain(|known| *known != role_id);
        member.role_ids.len() != before
    })
    .await
}

/// Reads the member, changes its roles, and stores it if `change` says that it did. Two such requests at once for one member can lose
/// one: the data service replaces members whole.
async fn change(
    app: &App,
    caller: &Caller,
    ids: &PathIds,
    arrival: Arrival,
    change: impl FnOnce(&mut Member, u64) -> bool + Send,
) -> Result<Response, Refused> {
    let (guild_id, user_id, role_id) = (ids.guild()?, ids.user_or_me(caller)?, ids.role()?);
    let access = GuildAccess::find(app, caller, guild_id).await?;
    role_below(&access, role_id)?;
    if role_id.get() == guild_id.get() {
        return Err(ApiError::InvalidRole.into());
    }
    let found = member_of(app, guild_id, user_id.get(), &app.call()).await?;
    let (mut member, _user) = found.ok_or(ApiError::UnknownMember)?;
    if change(&mut member, role_id.get()) {
        members::put(app, member, arrival).await?;
    }
    Ok(reply::no_content())
}
