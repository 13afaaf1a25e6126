//! The guilds that a user is in: lists and counts them, and tells whether the user has room for one more.

use weir_discord::error::ApiError;
use weir_proto::{data::ListUserGuildsRequest, id::UserId};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    data::Data,
    request::caller::Caller,
};

/// Most guilds of a page. This is Discord's bound, and the data service's.
pub(crate) const PAGE_MAX: u32 = 200;
/// Most guilds of a user that are listed page by page: that takes 13 calls, which is what one request may
/// cost the data service. Discord has the same bound for a shard, so a bot in more guilds is run as several
/// shards, and each of its sessions sees fewer.
const GUILDS_MAX: usize = 2_500;

/// Counts the caller's guilds, up to [`GUILDS_MAX`].
///
/// # Errors
/// Those of the data service.
pub(crate) async fn guild_count(data: &Data, caller: &Caller) -> Result<u32, Refused> {
    let guilds = walk(data, caller.id, 0, u64::MAX).await?.ids.len();
    Ok(u32::try_from(guilds).unwrap_or(u32::MAX))
}

/// Who brings a user into one more guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddedBy {
    /// The user itself.
    Itself,
    /// Another user.
    Others,
}

/// Up to how many guilds others may bring a user into. The last hundred places are the user's own, so that
/// nobody else takes them. They are a reserve too: if several processes add a user at once, it must stay
/// below the number of guilds at which its session is refused. In one process this is done in turn
/// ([`crate::turns`]), so each process goes one guild too far at most, and the reserve covers 100 processes
/// of the api. The number is a choice.
const GUILDS_BY_OTHERS_MAX: usize = GUILDS_MAX - 100;

/// Makes sure that a user has room for one more guild. The answer only holds while the caller has the user's
/// turn. Makes one call for each 200 guilds, at most 13.
///
/// # Errors
/// 30001 if the user is in as many guilds as it may be, and the errors of the data service.
pub(crate) async fn require_room(data: &Data, user_id: UserId, by: AddedBy) -> Result<(), Refused> {
    let most = match by {
        AddedBy::Itself => GUILDS_MAX,
        AddedBy::Others => GUILDS_BY_OTHERS_MAX,
    };
    let many = walk(data, user_id, 0, u64::MAX).await?.ids.len();
    if many < most { Ok(()) } else { Err(ApiError::GuildLimit.into()) }
}

/// A user's guilds above an id.
pub(crate) struct Walk {
    /// Ascending, at most [`GUILDS_MAX`].
    pub(crate) ids: Vec<u64>,
    /// The last of `ids`, if there are more guilds.
    pub(crate) broken_off_at: Option<u64>,
}

/// Lists a user's guilds above `after` and below `before`. The data service lists them in ascending order
/// only.
///
/// # Errors
/// Those of the data service.
pub(crate) async fn walk(data: &Data, user_id: UserId, mut after: u64, before: u64) -> Result<Walk, Refused> {
    let mut ids = Vec::new();
    loop {
        // Asking for one more than the bound shows whether there are more.
        let left = (GUILDS_MAX + 1).saturating_sub(ids.len());
        let limit = PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX));
        let page = page_above(data, user_id, after, limit).await?;
        let full = page.len() >= limit as usize;
        let last = page.last().copied();
        ids.extend(page.into_iter().take_while(|id| *id < before));
        // If a page did not ascend, it would be asked for without end.
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

/// Reads the ids of a user's guilds above `after`: ascending, at most `limit`, which is at most [`PAGE_MAX`].
///
/// # Errors
/// Those of the data service.
pub(crate) async fn page_above(
    data: &Data,
    user_id: UserId,
    after: u64,
    limit: u32,
) -> Result<Vec<u64>, Refused> {
    let request = ListUserGuildsRequest { user_id: user_id.get(), after, limit };
    Ok(data.list_user_guilds(&request, &data.call()).await.found_or(ApiError::UnknownUser)?.guild_ids)
}
