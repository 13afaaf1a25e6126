//! `GET /guilds/{guild_id}/members`; `GET`, `PUT` and `DELETE /guilds/{guild_id}/members/{user_id}`

use std::collections::BTreeSet;

use axum::{extract::State, response::Response};
use serde_json::Value;
use weir_discord::{
    error::ApiError,
    object::MemberObject,
    permission::{Permissions, highest_role, outranks},
    validate::{NICK_MAX, parse_body, parse_fields},
};
use weir_proto::{
    data::{DeleteMemberRequest, ListMembersRequest, Member, PutMemberRequest},
    id::{GuildId, RoleId, UserId},
};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    app::App,
    config::AddMembers,
    entry::auth::require_consent,
    flow::memberships::{AddedBy, require_room},
    permission::{
        access::{GuildAccess, member_of},
        retry::retry_on_conflict,
    },
    request::{body::Payload, client::Client, input::Input, query::QueryPairs},
    routes::roles::role_below,
};

/// Most members of a page. This is Discord's bound.
const PAGE_MAX: u32 = 1_000;
/// Most roles of a member, which is as many as a guild has.
const ROLES_MAX: usize = 250;

/// Members by user id, ascending.
pub(crate) async fn list_members(
    Input { data, caller, ids, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let (limit, after) = (query.limit(1, PAGE_MAX)?, query.id("after")?.unwrap_or(0));
    GuildAccess::find(&data, &caller, guild_id).await?;
    let request = ListMembersRequest { guild_id: guild_id.get(), after, limit };
    let page = data.list_members(&request, &data.call()).await.found_or(ApiError::UnknownGuild)?;
    data.learn(&page.users);
    let user = |id: u64| page.users.iter().find(|user| user.id == id);
    let members: Vec<_> =
        page.members.iter().map(|member| MemberObject::full(member, user(member.user_id))).collect();
    Ok(reply::ok(&members))
}

/// One member.
pub(crate) async fn get_member(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let (guild_id, user_id) = (ids.guild()?, ids.user_or_me(&caller)?);
    GuildAccess::find(&data, &caller, guild_id).await?;
    let (member, user) =
        member_of(&data, guild_id, user_id.get(), &data.call()).await?.ok_or(ApiError::UnknownMember)?;
    Ok(reply::ok(&MemberObject::full(&member, user.as_ref())))
}

/// Adds a user, with CREATE_INSTANT_INVITE. Discord asks for the user's OAuth2 token as `access_token`. A
/// self-hosted server has none to ask for, so where consent is required (`api.add_members`) it is the user's
/// own token. Answers 201 with the member, or 204 if the user was one already.
pub(crate) async fn put_member(
    State(app): State<App>,
    client: Client,
    input: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let (guild_id, user_id) = (input.ids.guild()?, input.ids.user()?);
    let body = parse_body(&body)?;
    let (nick, role_ids) = parse_fields(&body, |fields| {
        let nick = fields.name("nick", 0..=NICK_MAX).unwrap_or_default().to_owned();
        let roles: BTreeSet<u64> = fields.ids("roles", ROLES_MAX).unwrap_or_default().into_iter().collect();
        (nick, roles.into_iter().collect::<Vec<_>>())
    })?;
    let by = if user_id == input.caller.id { AddedBy::Itself } else { AddedBy::Others };
    let consent = match app.config.add_members {
        AddMembers::Open => None,
        AddMembers::Consent => Some((client, body.get("access_token").and_then(Value::as_str))),
    };
    retry_on_conflict(|| add(&app, &input, (guild_id, user_id, by), (&nick, &role_ids), consent)).await
}

async fn add(
    app: &App,
    input: &Input,
    (guild_id, user_id, by): (GuildId, UserId, AddedBy),
    (nick, role_ids): (&str, &[u64]),
    consent: Option<(Client, Option<&str>)>,
) -> Result<Response, Refused> {
    let Input { data, caller, arrival, .. } = input;
    let access = GuildAccess::find(data, caller, guild_id).await?;
    access.require(Permissions::CREATE_INSTANT_INVITE)?;
    if !nick.is_empty() {
        access.require(Permissions::MANAGE_NICKNAMES)?;
    }
    // If two callers add the same user at once, one of them does, and the other finds that it is done.
    let mut read = access.read_set().member(user_id.get(), None);
    for role_id in role_ids {
        let role_id = RoleId::try_from(*role_id).map_err(|_| ApiError::InvalidRole)?;
        let role = role_below(&access, role_id)?;
        if role.id == guild_id.get() {
            return Err(ApiError::InvalidRole.into());
        }
        read = read.role(role);
    }
    if member_of(data, guild_id, user_id.get(), &data.call()).await?.is_some() {
        return Ok(reply::no_content());
    }
    let by = match consent {
        None => by,
        Some((client, token)) => {
            require_consent(app, client, user_id, token).await?;
            AddedBy::Itself
        }
    };
    let turn = app.turns.take([user_id.get()]).await?;
    require_room(data, user_id, by).await?;
    let member = Member {
        guild_id: guild_id.get(),
        user_id: user_id.get(),
        nick: nick.to_owned(),
        role_ids: role_ids.to_vec(),
        joined_at_ms: arrival.unix_ms(),
        rev: 0,
    };
    let request = PutMemberRequest { member: Some(member), basis: read.basis() };
    let (data, call) = (data.clone(), input.change());
    let put = async move { data.put_member(&request, &call).await.found_or(ApiError::UnknownUser) };
    let stored = turn.make(put).await?;
    let (member, user) = (stored.member.ok_or(ApiError::Internal)?, stored.user);
    Ok(reply::created(&MemberObject::full(&member, user.as_ref())))
}

/// Removes a member, with KICK_MEMBERS. The member has to stand below the caller and is never the owner.
pub(crate) async fn kick_member(input: Input) -> Result<Response, Refused> {
    let (guild_id, user_id) = (input.ids.guild()?, input.ids.user()?);
    retry_on_conflict(|| kick(&input, guild_id, user_id)).await
}

async fn kick(input: &Input, guild_id: GuildId, user_id: UserId) -> Result<Response, Refused> {
    let Input { data, caller, .. } = input;
    let access = GuildAccess::find(data, caller, guild_id).await?;
    access.require(Permissions::KICK_MEMBERS)?;
    let target = member_of(data, guild_id, user_id.get(), &data.call()).await?;
    let (target, _user) = target.ok_or(ApiError::UnknownMember)?;
    require_above(&access, &target)?;
    let basis = access.read_set().powers(&access.state, &target).basis();
    let request = DeleteMemberRequest { guild_id: guild_id.get(), user_id: user_id.get(), basis };
    data.delete_member(&request, &input.change()).await.found_or(ApiError::UnknownMember)?;
    Ok(reply::no_content())
}

/// Makes sure that the caller stands above the member.
///
/// # Errors
/// 50013 if it does not.
fn require_above(access: &GuildAccess, target: &Member) -> Result<(), Refused> {
    let owner = access.guild().owner_id == target.user_id;
    let above = outranks(&access.state, &access.member, highest_role(&access.state, target));
    if above && !owner { Ok(()) } else { Err(ApiError::MissingPermissions.into()) }
}
