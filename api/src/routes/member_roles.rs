//! `PUT` and `DELETE /guilds/{guild_id}/members/{user_id}/roles/{role_id}`

use axum::response::Response;
use weir_discord::error::ApiError;
use weir_proto::data::UpdateMemberRequest;

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    permission::{access::GuildAccess, retry::retry_on_conflict},
    request::input::Input,
    routes::roles::role_below,
};

/// What is done with the role.
#[derive(Debug, Clone, Copy)]
enum Act {
    Grant,
    Revoke,
}

/// Gives a member a role.
pub(crate) async fn grant_role(input: Input) -> Result<Response, Refused> {
    retry_on_conflict(|| change(&input, Act::Grant)).await
}

/// Takes a role from a member.
pub(crate) async fn revoke_role(input: Input) -> Result<Response, Refused> {
    retry_on_conflict(|| change(&input, Act::Revoke)).await
}

/// Judges by the caller's rows and the role's, and not by the member's row: the data service adds and removes
/// roles on the member's row as it finds it. So many roles of one member may change at once, and a user that
/// was removed never becomes a member again by this.
async fn change(input: &Input, act: Act) -> Result<Response, Refused> {
    let Input { data, caller, ids, .. } = input;
    let (guild_id, user_id, role_id) = (ids.guild()?, ids.user_or_me(caller)?, ids.role()?);
    let access = GuildAccess::find(data, caller, guild_id).await?;
    let role = role_below(&access, role_id)?;
    if role_id.get() == guild_id.get() {
        return Err(ApiError::InvalidRole.into());
    }
    let (add_role_ids, remove_role_ids) = match act {
        Act::Grant => (vec![role.id], Vec::new()),
        Act::Revoke => (Vec::new(), vec![role.id]),
    };
    let request = UpdateMemberRequest {
        guild_id: guild_id.get(),
        user_id: user_id.get(),
        add_role_ids,
        remove_role_ids,
        basis: access.read_set().role(role).basis(),
    };
    data.update_member(&request, &input.change()).await.found_or(ApiError::UnknownMember)?;
    Ok(reply::no_content())
}
