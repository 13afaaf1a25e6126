//! The tier's routes: this page lists all of them.
//!
//! A request passes, from the outside in: the envelope (`Via`, CORS, metrics, the bound of requests under
//! way) → the route → its admission (identity, then rate limits) → the endpoint. The envelope is outside of
//! routing so that a 404 carries `Via` too. Admission is inside, because a bucket belongs to a route.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};
use http::Uri;
use weir_discord::error::ApiError;

use crate::{
    answer::error::Refused,
    app::App,
    entry::{
        admission::admit,
        envelope::{Envelope, wrap},
        prefix::{PREFIXES, names_other_version},
    },
    ratelimit::RouteBucket,
    routes::{
        application, bulk_delete, channels, create_message, current_guilds, delete_message, direct_channels,
        edit_message, empty, gateway, get_message, guilds, list_messages, member_roles, members, pins,
        reactions, roles, short, typing, users,
    },
};

/// The tier's router.
pub(crate) fn router(app: &App, envelope: &Envelope) -> Router {
    let discord = discord(app);
    let all = PREFIXES.iter().fold(short_flows(app), |all, prefix| all.nest(prefix, discord.clone()));
    all.fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies have their own bound in `request/body.rs`. axum's of 2 MB would refuse forms that an
        // operator allows.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(envelope.clone(), wrap))
        .with_state(app.clone())
}

/// Puts admission before a route: who is asking, then the rate limit of the route's bucket.
fn admission(app: &App) -> impl Fn(RouteBucket, MethodRouter<App>) -> MethodRouter<App> {
    let app = app.clone();
    move |bucket, route| route.layer(middleware::from_fn_with_state((app.clone(), bucket), admit))
}

fn discord(app: &App) -> Router<App> {
    let on = admission(app);
    use RouteBucket as B;
    empty_lists(app)
        .route("/gateway", get(gateway::gateway))
        .route("/gateway/bot", on(B::Gateway, get(gateway::gateway_bot)))
        .route("/users/@me", on(B::Users, get(users::get_current_user)))
        .route("/users/{user_id}", on(B::Users, get(users::get_user)))
        .route("/users/@me/guilds", on(B::Users, get(current_guilds::list_current_guilds)))
        .route("/users/@me/channels", on(B::Users, get(direct_channels::list_direct_channels)))
        .route("/users/@me/channels", on(B::OpenDirect, post(direct_channels::open_direct_channel)))
        .route("/users/@me/guilds/{guild_id}", on(B::ChangeGuild, delete(current_guilds::leave_guild)))
        .route("/oauth2/applications/@me", on(B::Users, get(application::get_current_application)))
        .route("/applications/@me", on(B::Users, get(application::get_current_application)))
        .route("/guilds", on(B::CreateGuild, post(guilds::create_guild)))
        .route("/guilds/{guild_id}", on(B::GetGuild, get(guilds::get_guild)))
        .route("/guilds/{guild_id}", on(B::ChangeGuild, delete(guilds::delete_guild)))
        .route("/guilds/{guild_id}/channels", on(B::GetGuild, get(channels::list_channels)))
        .route("/guilds/{guild_id}/channels", on(B::ChangeGuild, post(channels::create_channel)))
        .route("/guilds/{guild_id}/members", on(B::GetMembers, get(members::list_members)))
        .route("/guilds/{guild_id}/members/{user_id}", on(B::GetMembers, get(members::get_member)))
        .route("/guilds/{guild_id}/members/{user_id}", on(B::ChangeMembers, put(members::put_member)))
        .route("/guilds/{guild_id}/members/{user_id}", on(B::ChangeMembers, delete(members::kick_member)))
        .route(
            "/guilds/{guild_id}/members/{user_id}/roles/{role_id}",
            on(B::ChangeMembers, put(member_roles::grant_role).delete(member_roles::revoke_role)),
        )
        .route("/guilds/{guild_id}/roles", on(B::GetGuild, get(roles::list_roles)))
        .route("/guilds/{guild_id}/roles", on(B::ChangeGuild, post(roles::create_role)))
        .route(
            "/guilds/{guild_id}/roles/{role_id}",
            on(B::ChangeGuild, patch(roles::edit_role).delete(roles::delete_role)),
        )
        .route("/channels/{channel_id}", on(B::GetChannel, get(channels::get_channel)))
        .route(
            "/channels/{channel_id}",
            on(B::ChangeChannel, patch(channels::edit_channel).delete(channels::delete_channel)),
        )
        .route("/channels/{channel_id}/typing", on(B::Typing, post(typing::typing)))
        .route("/channels/{channel_id}/messages", on(B::ListMessages, get(list_messages::list_messages)))
        .route("/channels/{channel_id}/messages", on(B::CreateMessage, post(create_message::create_message)))
        .route(
            "/channels/{channel_id}/messages/bulk-delete",
            on(B::DeleteMessage, post(bulk_delete::bulk_delete)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}/reactions",
            on(B::ChangeReactions, delete(reactions::clear)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}",
            on(B::ListReactions, get(reactions::list_users)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}",
            on(B::ChangeReactions, delete(reactions::clear_emoji)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me",
            on(B::ChangeReactions, put(reactions::react).delete(reactions::take_back)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/{user_id}",
            on(B::ChangeReactions, delete(reactions::remove_of_user)),
        )
        .route("/channels/{channel_id}/messages/pins", on(B::ListPins, get(pins::list_pins)))
        .route("/channels/{channel_id}/pins", on(B::ListPins, get(pins::list_pinned_messages)))
        .route(
            "/channels/{channel_id}/messages/pins/{message_id}",
            on(B::ChangePins, put(pins::pin).delete(pins::unpin)),
        )
        .route(
            "/channels/{channel_id}/pins/{message_id}",
            on(B::ChangePins, put(pins::pin).delete(pins::unpin)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}",
            on(B::GetMessage, get(get_message::get_message)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}",
            on(B::EditMessage, patch(edit_message::edit_message)),
        )
        .route(
            "/channels/{channel_id}/messages/{message_id}",
            on(B::DeleteMessage, delete(delete_message::delete_message)),
        )
}

/// Lists that client libraries ask for when they start. Weir has nothing to put into them.
fn empty_lists(app: &App) -> Router<App> {
    let on = admission(app);
    let commands = || get(empty::application_list).put(empty::application_list);
    let of_guild = || on(RouteBucket::GetGuild, get(empty::guild_list));
    Router::new()
        .route("/soundboard-default-sounds", on(RouteBucket::Users, get(empty::list)))
        .route("/voice/regions", on(RouteBucket::Users, get(empty::list)))
        .route("/sticker-packs", on(RouteBucket::Users, get(empty::sticker_packs)))
        .route("/applications/{application_id}/commands", on(RouteBucket::Users, commands()))
        .route(
            "/applications/{application_id}/guilds/{guild_id}/commands",
            on(RouteBucket::Users, commands()),
        )
        .route("/applications/{application_id}/emojis", on(RouteBucket::Users, get(empty::application_items)))
        .route(
            "/applications/{application_id}/entitlements",
            on(RouteBucket::Users, get(empty::application_list)),
        )
        .route("/applications/{application_id}/skus", on(RouteBucket::Users, get(empty::application_list)))
        .route("/guilds/{guild_id}/emojis", of_guild())
        .route("/guilds/{guild_id}/stickers", of_guild())
        .route("/guilds/{guild_id}/scheduled-events", of_guild())
        .route("/guilds/{guild_id}/regions", of_guild())
        .route("/guilds/{guild_id}/soundboard-sounds", on(RouteBucket::GetGuild, get(empty::guild_items)))
        .route("/guilds/{guild_id}/threads/active", on(RouteBucket::GetGuild, get(empty::active_threads)))
}

fn short_flows(app: &App) -> Router<App> {
    let on = admission(app);
    Router::new()
        .route("/servers", on(RouteBucket::CreateGuild, post(short::create_server)))
        .route("/messages", on(RouteBucket::ShortMessages, post(short::create_message)))
        .route("/history", on(RouteBucket::ShortHistory, get(short::get_history)))
}

async fn unknown_route(uri: Uri) -> Response {
    Refused::from(if names_other_version(uri.path()) {
        ApiError::UnknownApiVersion
    } else {
        ApiError::UnknownRoute
    })
    .into_response()
}

async fn method_not_allowed() -> Response {
    Refused::from(ApiError::MethodNotAllowed).into_response()
}
