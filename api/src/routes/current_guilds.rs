//! `GET /users/@me/guilds` and `DELETE /users/@me/guilds/{guild_id}`

use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use weir_discord::{
    error::{ApiError, Leaf},
    object::PartialGuildObject,
};
use weir_proto::{data::DeleteMemberRequest, id::GuildId};

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    data::Data,
    flow::memberships::{PAGE_MAX, Walk, page_above, walk},
    permission::access::GuildAccess,
    request::{caller::Caller, input::Input, query::QueryPairs},
};

/// How many guilds of a page are read at once, with two calls each. This is a choice: a page takes 25 round
/// trips instead of 200, and one caller does not fill the data service.
const READS_AT_ONCE: usize = 8;

/// The caller's guilds, ascending.
pub(crate) async fn list_current_guilds(
    Input { data, caller, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let limit = query.limit(PAGE_MAX, PAGE_MAX)? as usize;
    let (before, after) = (query.id("before")?, query.id("after")?.unwrap_or(0));
    let with_counts = query.flag("with_counts")?;
    let mut ids = match before {
        None => page_above(&data, caller.id, after, PAGE_MAX).await?,
        Some(before) => {
            let mut ids = between(&data, &caller, after, before).await?;
            // The client pages downwards, so it gets the guilds next to the anchor.
            ids.drain(..ids.len().saturating_sub(limit));
            ids
        }
    };
    ids.truncate(limit);
    let reads = ids.into_iter().map(|id| member_guild(&data, &caller, id));
    let found: Vec<Option<GuildAccess>> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let objects: Vec<_> = found.iter().flatten().map(|access| object(access, with_counts)).collect();
    Ok(reply::ok(&objects))
}

fn object(access: &GuildAccess, with_counts: bool) -> PartialGuildObject<'_> {
    let object = PartialGuildObject::new(access.guild(), access.member.user_id, access.permissions);
    // Presence lives in the gateways, and nobody counts it.
    if with_counts { object.with_counts(access.state.member_count, 0) } else { object }
}

/// Reads a guild that was listed; `None` if the caller left it or it was deleted since.
async fn member_guild(data: &Data, caller: &Caller, id: u64) -> Result<Option<GuildAccess>, Refused> {
    let id = GuildId::try_from(id).map_err(|_| ApiError::Internal)?;
    match GuildAccess::find(data, caller, id).await {
        Ok(access) => Ok(Some(access)),
        Err(refused) if refused.is(&ApiError::UnknownGuild) || refused.is(&ApiError::MissingAccess) => {
            Ok(None)
        }
        Err(refused) => Err(refused),
    }
}

/// The ids of all the caller's guilds above `after` and below `before`, ascending.
///
/// # Errors
/// A form error that names the greatest `before` that works, if the guilds are more than can be listed: the
/// ones next to the anchor are not known then.
async fn between(data: &Data, caller: &Caller, after: u64, before: u64) -> Result<Vec<u64>, Refused> {
    let Walk { ids, broken_off_at } = walk(data, caller.id, after, before).await?;
    match broken_off_at {
        None => Ok(ids),
        Some(last) => Err(Refused::field("before", Leaf::Max(i64::try_from(last).unwrap_or(i64::MAX)))),
    }
}

/// Leaves a guild. The owner cannot leave, because a guild always has one.
pub(crate) async fn leave_guild(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let access = GuildAccess::find(&data, &caller, guild_id).await?;
    if access.guild().owner_id == caller.id.get() {
        return Err(Refused::field("guild_id", Leaf::Choices("guilds that the caller does not own")));
    }
    // The change has no preconditions: a guild's owner never changes, and all other members may leave.
    let request = DeleteMemberRequest { guild_id: guild_id.get(), user_id: caller.id.get(), basis: None };
    data.delete_member(&request, &data.call()).await.found_or(ApiError::MissingAccess)?;
    Ok(reply::no_content())
}
