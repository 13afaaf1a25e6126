//! `GET /users/@me/guilds` and `DELETE /users/@me/guilds/{guild_id}`

use axum::{extract::State, response::Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use weir_discord::{
    error::{ApiError, Leaf},
    object::PartialGuildObject,
};
use weir_proto::{
    data::{DeleteMemberRequest, ListUserGuildsRequest},
    id::GuildId,
};

use crate::{
    access::GuildAccess, app::App, auth::Caller, error::Refused, path::PathIds, query::QueryPairs, reply,
};

/// Most guilds of a page; Discord's, and the data service's.
const PAGE_MAX: u32 = 200;
/// Guilds read at once for a page: two calls each. A choice: a page takes 25 round trips instead of 200, and one caller does not fill the
/// data service.
const READS_AT_ONCE: usize = 8;

/// The caller's guilds, ascending.
pub(crate) async fn list_current_guilds(
    State(app): State<App>,
    caller: Caller,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let limit = query.limit(PAGE_MAX, PAGE_MAX)? as usize;
    let (before, after) = (query.id("before")?, query.id("after")?.unwrap_or(0));
    let with_counts = query.flag("with_counts")?;
    let mut ids = guild_ids_above(&app, &caller, after).await?;
    if let Some(before) = before {
        ids.retain(|id| *id < before);
        // Paging downwards: the ones next to the anchor.
        ids.drain(..ids.len().saturating_sub(limit));
    }
    ids.truncate(limit);
    let reads = ids.into_iter().map(|id| member_guild(&app, &caller, id));
    let found: Vec<Option<GuildAccess>> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let objects: Vec<_> = found.iter().flatten().map(|access| object(access, with_counts)).collect();
    Ok(reply::ok(&objects))
}

fn object(access: &GuildAccess, with_counts: bool) -> PartialGuildObject<'_> {
    let object = PartialGuildObject::new(access.guild(), access.member.user_id, access.permissions);
    // Presence lives in the gateways; nobody counts it.
    if with_counts { object.with_counts(access.state.member_count, 0) } else { object }
}

/// A guild that was listed; `None` if the caller left or it was deleted since.
async fn member_guild(app: &App, caller: &Caller, id: u64) -> Result<Option<GuildAccess>, Refused> {
    let id = GuildId::try_from(id).map_err(|_| ApiError::Internal)?;
    match GuildAccess::find(app, caller, id).await {
        Ok(access) => Ok(Some(access)),
        Err(refused) if refused.is(&ApiError::UnknownGuild) || refused.is(&ApiError::MissingAccess) => {
            Ok(None)
        }
        Err(refused) => Err(refused),
    }
}

/// Ids of the caller's guilds above `after`, ascending, at most 200.
pub(crate) async fn guild_ids_above(app: &App, caller: &Caller, after: u64) -> Result<Vec<u64>, Refused> {
    let request = ListUserGuildsRequest { user_id: caller.id.get(), after, limit: PAGE_MAX };
    let reply = app.data.list_user_guilds(&request, &app.call()).await;
    Ok(reply.map_err(|error| Refused::from_data(error, ApiError::UnknownUser))?.message.guild_ids)
}

/// Leaves a guild. The owner cannot: a guild always has one.
pub(crate) async fn leave_guild(
    State(app): State<App>,
    caller: Caller,
    ids: PathIds,
) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let access = GuildAccess::find(&app, &caller, guild_id).await?;
    if access.guild().owner_id == caller.id.get() {
        return Err(Refused::field("guild_id", Leaf::Choices("guilds that the caller does not own")));
    }
    // Rests on nothing: a guild's owner never changes, and everybody else may leave.
    let request = DeleteMemberRequest { guild_id: guild_id.get(), user_id: caller.id.get(), basis: None };
    let reply = app.data.delete_member(&request, &app.call()).await;
    reply.map_err(|error| Refused::from_data(error, ApiError::MissingAccess))?;
    Ok(reply::no_content())
}
