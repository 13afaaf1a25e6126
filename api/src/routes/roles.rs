//! `GET` and `POST /guilds/{guild_id}/roles`; `PATCH` and `DELETE /guilds/{guild_id}/roles/{role_id}`
//!
//! Two rules hold besides MANAGE_ROLES: a caller may act only on roles below its highest one, and hand out
//! only permissions that it has.

use axum::response::Response;
use weir_discord::{
    error::ApiError,
    object::RoleObject,
    permission::{Permissions, outranks},
    validate::{RoleForm, parse_body},
};
use weir_proto::{
    data::{DeleteRoleRequest, PutRoleRequest, Role},
    id::{GuildId, RoleId},
};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    permission::{access::GuildAccess, read_set::ReadSet, retry::retry_on_conflict},
    request::{body::Payload, input::Input},
};

/// The position of a new role, just above @everyone. Roles with the same position are ordered by age.
const LOWEST_POSITION: u32 = 1;

/// The guild's roles.
pub(crate) async fn list_roles(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let access = GuildAccess::find(&data, &caller, ids.guild()?).await?;
    let roles: Vec<_> = access.state.roles.iter().map(RoleObject::new).collect();
    Ok(reply::ok(&roles))
}

/// Creates a role. Answers 200, not 201, as Discord does.
pub(crate) async fn create_role(input: Input, Payload(body): Payload) -> Result<Response, Refused> {
    let guild_id = input.ids.guild()?;
    let form = RoleForm::parse(&parse_body(&body)?)?;
    retry_on_conflict(|| create(&input, guild_id, form.clone())).await
}

async fn create(input: &Input, guild_id: GuildId, form: RoleForm) -> Result<Response, Refused> {
    let access = GuildAccess::find(&input.data, &input.caller, guild_id).await?;
    access.require(Permissions::MANAGE_ROLES)?;
    access.require_held(form.permissions.unwrap_or_default())?;
    let everyone = access.state.roles.iter().find(|role| role.id == guild_id.get());
    let mut role = Role {
        guild_id: guild_id.get(),
        position: LOWEST_POSITION,
        permissions: everyone.map_or(0, |role| role.permissions),
        ..Role::default()
    };
    form.apply(&mut role);
    put(input, role, access.read_set()).await
}

/// Changes a role.
pub(crate) async fn edit_role(input: Input, Payload(body): Payload) -> Result<Response, Refused> {
    let (guild_id, role_id) = (input.ids.guild()?, input.ids.role()?);
    let form = RoleForm::parse(&parse_body(&body)?)?;
    retry_on_conflict(|| edit(&input, guild_id, role_id, form.clone())).await
}

async fn edit(
    input: &Input,
    guild_id: GuildId,
    role_id: RoleId,
    form: RoleForm,
) -> Result<Response, Refused> {
    let access = GuildAccess::find(&input.data, &input.caller, guild_id).await?;
    let known = role_below(&access, role_id)?;
    let mut role = known.clone();
    let before = role.permissions;
    form.apply(&mut role);
    // Taking a permission away needs the same right as granting it.
    access.require_held(Permissions(before ^ role.permissions))?;
    put(input, role, access.read_set().role(known)).await
}

/// Deletes a role. @everyone cannot be deleted.
pub(crate) async fn delete_role(input: Input) -> Result<Response, Refused> {
    let (guild_id, role_id) = (input.ids.guild()?, input.ids.role()?);
    retry_on_conflict(|| delete(&input, guild_id, role_id)).await
}

async fn delete(input: &Input, guild_id: GuildId, role_id: RoleId) -> Result<Response, Refused> {
    let access = GuildAccess::find(&input.data, &input.caller, guild_id).await?;
    let role = role_below(&access, role_id)?;
    if role_id.get() == guild_id.get() {
        return Err(ApiError::InvalidRole.into());
    }
    let basis = access.read_set().role(role).basis();
    let request = DeleteRoleRequest { guild_id: guild_id.get(), role_id: role_id.get(), basis };
    input.data.delete_role(&request, &input.change()).await.found_or(ApiError::UnknownRole)?;
    Ok(reply::no_content())
}

/// Finds a role that the caller may act on.
///
/// # Errors
/// 50013 without MANAGE_ROLES or if the role is not below the caller's highest; 10011 if there is no such
/// role.
pub(crate) fn role_below(access: &GuildAccess, role_id: RoleId) -> Result<&Role, Refused> {
    access.require(Permissions::MANAGE_ROLES)?;
    let role =
        access.state.roles.iter().find(|role| role.id == role_id.get()).ok_or(ApiError::UnknownRole)?;
    // Every member stands on @everyone or above it, so a caller with MANAGE_ROLES may always change it.
    let everyone = role.id == access.guild().id;
    if everyone || outranks(&access.state, &access.member, Some(role)) {
        Ok(role)
    } else {
        Err(ApiError::MissingPermissions.into())
    }
}

async fn put(input: &Input, role: Role, read: ReadSet) -> Result<Response, Refused> {
    let request = PutRoleRequest { role: Some(role), basis: read.basis() };
    let role = input.data.put_role(&request, &input.change()).await.found_or(ApiError::UnknownRole)?.role;
    Ok(reply::ok(&RoleObject::new(&role.ok_or(ApiError::Internal)?)))
}
