//! The guilds that a user is in: walked, counted, and whether there is room for one more.

use weir_discord::error::ApiError;
use weir_proto::{data::ListUserGuildsRequest, id::UserId};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    data::Data,
    request::caller::Caller,
};

/// Most guilds of a page; Discord's, and the data service's.
pub(crate) const PAGE_MAX: u32 = 200;
/// Most guilds of a caller that are walked one page after another: 13 calls, which is what one request may cost the data service. Discord's
/// bound for a shard, so a bot that is in more of them is several shards, and each of its sessions hears of fewer.
const GUILDS_MAX: usize = 2_500;

/// Number of the caller's guilds, at most [`GUILDS_MAX`].
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
pub(crate) async fn require_room(data: &Data, user_id: UserId, by: AddedBy) -> Result<(), Refused> {
    let most = match by {
        AddedBy::Itself => GUILDS_MAX,
        AddedBy::Others => GUILDS_BY_OTHERS_MAX,
    };
    let many = walk(data, user_id, 0, u64::MAX).await?.ids.len();
    if many < most { Ok(()) } else { Err(ApiError::GuildLimit.into()) }
}

/// Guilds that were found upwards from an id.
pub(crate) struct Walk {
    /// Ascending; at most [`GUILDS_MAX`].
    pub(crate) ids: Vec<u64>,
    /// The last of them, if there are more.
    pub(crate) broken_off_at: Option<u64>,
}

/// Walks a user's guilds above `after` and below `before`. The data service lists them upwards only.
pub(crate) async fn walk(data: &Data, user_id: UserId, mut after: u64, before: u64) -> Result<Walk, Refused> {
    let mut ids = Vec::new();
    loop {
        // One more than the bound tells that there are more.
        let left = (GUILDS_MAX + 1).saturating_sub(ids.len());
        let limit = PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX));
        let page = page_above(data, user_id, after, limit).await?;
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
pub(crate) async fn page_above(
    data: &Data,
    user_id: UserId,
    after: u64,
    limit: u32,
) -> Result<Vec<u64>, Refused> {
    let request = ListUserGuildsRequest { user_id: user_id.get(), after, limit };
    Ok(data.list_user_guilds(&request, &data.call()).await.found_or(ApiError::UnknownUser)?.guild_ids)
}
