//! `GET /users/@me/guilds` and `DELETE /users/@me/guilds/{guild_id}`

use axum::{extract::State, response::Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use weir_discord::{
    error::{ApiError, Leaf},
    object::PartialGuildObject,
};
use weir_proto::{
    data::{DeleteMemberRequest, ListUserGuildsRequest},
    id::{GuildId, UserId},
};

use crate::{
    access::GuildAccess, app::App, auth::Caller, error::Refused, path::PathIds, query::QueryPairs, reply,
};

/// Most guilds of a page; Discord's, and the data service's.
const PAGE_MAX: u32 = 200;
/// Most guilds of a caller that are walked one page after another: 13 calls, which is what one request may cost the data service. Discord's
/// bound for a shard, so a bot that is in more of them is several shards, and each of its sessions hears of fewer.
const GUILDS_MAX: usize = 2_500;
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
    let mut ids = match before {
        None => page_above(&app, caller.id, after, PAGE_MAX).await?,
        Some(before) => {
            let mut ids = between(&app, &caller, after, before).await?;
            // Paging downwards: the ones next to the anchor.
            ids.drain(..ids.len().saturating_sub(limit));
            ids
        }
    };
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

/// Number of the caller's guilds, at most [`GUILDS_MAX`].
///
/// # Errors
/// Those of the data service.
pub(crate) async fn guild_count(app: &App, caller: &Caller) -> Result<u32, Refused> {
    let guilds = walk(app, caller.id, 0, u64::MAX).await?.ids.len();
    Ok(u32::try_from(guilds).unwrap_or(u32::MAX))
}

/// Who brings a user into one more guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The user itself.
    Itself,
    /// Somebody else.
    Others,
}

/// Guilds up to which others may bring a user: the last hundred places are its own, so that nobody else takes them, and so that those who
/// add it at once stay below the number at which its session would no longer be taken. In one process they do so in turn
/// ([`crate::turns`]), so each process is one guild too far at most: the reserve covers 100 processes of the api. Number: a choice.
const GUILDS_BY_OTHERS_MAX: usize = GUILDS_MAX - 100;

/// Whether a user has room for one more guild. Decides only for who has the user's turn.
///
/// # Errors
/// 30001 if the user is in as many guilds as it may be, and those of the data service. One call for each 200 guilds, at most 13.
pub(crate) async fn require_room(app: &App, user_id: UserId, by: By) -> Result<(), Refused> {
    let most = match by {
        By::Itself => GUILDS_MAX,
        By::Others => GUILDS_BY_OTHERS_MAX,
    };
    let many = walk(app, user_id, 0, u64::MAX).await?.ids.len();
    if many < most { Ok(()) } else { Err(ApiError::GuildLimit.into()) }
}

/// Ids of all the caller's guilds above `after` and below `before`, ascending.
///
/// # Errors
/// A form error that names the greatest `before` if they cannot all be walked: what is next to the anchor is then not known.
async fn between(app: &App, caller: &Caller, after: u64, before: u64) -> Result<Vec<u64>, Refused> {
    let Walk { ids, broken_off_at } = walk(app, caller.id, after, before).await?;
    match broken_off_at {
        None => Ok(ids),
        Some(last) => Err(Refused::field("before", Leaf::Max(i64::try_from(last).unwrap_or(i64::MAX)))),
    }
}

/// Guilds that were found upwards from an id.
struct Walk {
    /// Ascending; at most [`GUILDS_MAX`].
    ids: Vec<u64>,
    /// The last of them, if there are more.
    broken_off_at: Option<u64>,
}

/// Walks a user's guilds above `after` and below `before`. The data service lists them upwards only.
async fn walk(app: &App, user_id: UserId, mut after: u64, before: u64) -> Result<Walk, Refused> {
    let mut ids = Vec::new();
    loop {
        // One more than the bound tells that there are more.
        let left = (GUILDS_MAX + 1).saturating_sub(ids.len());
        let limit = PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX));
        let page = page_above(app, user_id, after, limit).await?;
        let full = page.len() >= limit as usize;
        let last = page.last().copied();
        ids.extend(page.into_iter().take_while(|id| *id < before));
        // A page that does not rise would be asked for without end.
        match last.filter(|last| full && *last < before && *last > after) {
            None => return Ok(Walk { ids, broken_off_at: None }),
            Some(last) => after = last,
        }
        if ids.len() > GUILDS_MAX {
            ids.truncate(GUILDS_MAX);
            let broken_off_at = ids.last().copied();
            return Ok(Walk { ids, broken_off_at });
        }
    }
}

/// Ids of a user's guilds above `after`, ascending, at most `limit`, which is at most [`PAGE_MAX`].
async fn page_above(app: &App, user_id: UserId, after: u64, limit: u32) -> Result<Vec<u64>, Refused> {
    let request = ListUserGuildsRequest { user_id: user_id.get(), after, limit };
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
