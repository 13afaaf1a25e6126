//! Lists of what Weir does not have: sounds, stickers, voice regions, commands. Client libraries ask for them
//! when they start, and some wait for the answer before they are ready. The true answer is that the lists are
//! empty.

use axum::response::Response;
use serde::Serialize;
use weir_discord::error::ApiError;

use crate::{
    answer::{error::Refused, reply},
    permission::access::GuildAccess,
    request::{caller::Caller, input::Input, path::PathIds},
};

/// The empty list.
const NONE: [(); 0] = [];

/// An object with an empty list.
#[derive(Serialize)]
struct Items {
    items: [(); 0],
}

#[derive(Serialize)]
struct StickerPacks {
    sticker_packs: [(); 0],
}

#[derive(Serialize)]
struct ActiveThreads {
    threads: [(); 0],
    members: [(); 0],
}

/// A list that is the same for everybody.
pub(crate) async fn list() -> Response {
    reply::ok(&NONE)
}

/// `GET /sticker-packs`
pub(crate) async fn sticker_packs() -> Response {
    reply::ok(&StickerPacks { sticker_packs: NONE })
}

/// A list of the caller's application. A request that replaces the commands gets an empty list too, because
/// nobody could call a command here.
pub(crate) async fn application_list(caller: Caller, ids: PathIds) -> Result<Response, Refused> {
    own(&caller, &ids)?;
    Ok(reply::ok(&NONE))
}

/// `GET /applications/{application_id}/emojis`
pub(crate) async fn application_items(caller: Caller, ids: PathIds) -> Result<Response, Refused> {
    own(&caller, &ids)?;
    Ok(reply::ok(&Items { items: NONE }))
}

/// A list of a guild that the caller is in.
pub(crate) async fn guild_list(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    GuildAccess::find(&data, &caller, ids.guild()?).await?;
    Ok(reply::ok(&NONE))
}

/// `GET /guilds/{guild_id}/soundboard-sounds`
pub(crate) async fn guild_items(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    GuildAccess::find(&data, &caller, ids.guild()?).await?;
    Ok(reply::ok(&Items { items: NONE }))
}

/// `GET /guilds/{guild_id}/threads/active`
pub(crate) async fn active_threads(Input { data, caller, ids, .. }: Input) -> Result<Response, Refused> {
    GuildAccess::find(&data, &caller, ids.guild()?).await?;
    Ok(reply::ok(&ActiveThreads { threads: NONE, members: NONE }))
}

/// Makes sure that the application in the path is the caller's. Here a bot and its application have the same
/// id.
///
/// # Errors
/// 50001 if it is another's.
fn own(caller: &Caller, ids: &PathIds) -> Result<(), Refused> {
    if ids.application()? == caller.id { Ok(()) } else { Err(ApiError::MissingAccess.into()) }
}
