//! `POST /guilds`, `GET /guilds/{guild_id}` and `DELETE /guilds/{guild_id}`

use axum::{extract::State, response::Response};
use weir_discord::{
    error::ApiError,
    object::GuildObject,
    validate::{GuildForm, parse_body, parse_fields},
};
use weir_proto::data::DeleteGuildRequest;

use crate::{
    answer::{error::Refused, found::FoundOr as _, reply},
    app::App,
    flow::create_guild::{self, NewGuild},
    permission::access::GuildAccess,
    request::{body::Payload, input::Input, query::QueryPairs},
};

/// Creates a guild that the caller owns, with @everyone and a text channel.
pub(crate) async fn create_guild(
    State(app): State<App>,
    Input { caller, arrival, .. }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let body = parse_body(&body)?;
    parse_fields(&body, |fields| {
        for key in ["icon", "roles", "channels"] {
            fields.refuse_unsupported(key);
        }
    })?;
    let name = GuildForm::parse_create(&body)?.name.unwrap_or_default();
    let state = create_guild::create(&app, &caller, NewGuild { name, members: Vec::new() }, arrival).await?;
    Ok(reply::created(&GuildObject::new(&state).ok_or(ApiError::Internal)?))
}

/// A guild that the caller is in.
pub(crate) async fn get_guild(
    Input { data, caller, ids, .. }: Input,
    query: QueryPairs,
) -> Result<Response, Refused> {
    let with_counts = query.flag("with_counts")?;
    let access = GuildAccess::find(&data, &caller, ids.guild()?).await?;
    let mut object = GuildObject::new(&access.state).ok_or(ApiError::Internal)?;
    if with_counts {
        // Presence lives in the gateways, and nobody counts it.
        object = object.with_counts(access.state.member_count, 0);
    }
    Ok(reply::ok(&object))
}

/// Deletes a guild. Only its owner may.
pub(crate) async fn delete_guild(Input { data, caller, ids, arrival }: Input) -> Result<Response, Refused> {
    let guild_id = ids.guild()?;
    let access = GuildAccess::find(&data, &caller, guild_id).await?;
    if access.guild().owner_id != caller.id.get() {
        return Err(ApiError::OwnerOnly.into());
    }
    data.delete_guild(&DeleteGuildRequest { guild_id: guild_id.get() }, &data.change(arrival))
        .await
        .found_or(ApiError::UnknownGuild)?;
    Ok(reply::no_content())
}
