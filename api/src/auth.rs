//! Who is asking: a token in `Authorization` to a user, through a small short-lived cache of hashes.
//!
//! Only the token's SHA-256 leaves this module. Only successes are cached: a stranger's guesses fill nothing, and a credential made a
//! moment ago works at once. A cached success may outlive its credential by the cache's age; that is safe as long as credentials are
//! never revoked, and the age is the price when they can be ([`crate::ApiConfig::credentials_cached_for`]).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use moka::sync::Cache;
use weir_discord::{
    error::ApiError,
    token::{TokenHash, parse_authorization},
};
use weir_proto::{
    data::{ResolveTokenRequest, User},
    id::UserId,
};

use crate::{app::App, config::ApiConfig, error::Refused};

/// Resolved credentials by the hash of their token.
pub(crate) struct Credentials {
    resolved: Cache<TokenHash, Caller>,
}

impl Credentials {
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let resolved = Cache::builder()
            .max_capacity(config.credentials_cached_max)
            .time_to_live(config.credentials_cached_for)
            .build();
        Self { resolved }
    }
}

/// The authenticated user of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: UserId,
    pub(crate) user: Arc<User>,
}

/// The caller that the headers name.
///
/// # Errors
/// 401 for no token, one of another shape, and one that nobody has; what the data service answers otherwise.
pub(crate) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Refused> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| parse_authorization(value).ok()).ok_or(ApiError::Unauthorized)?;
    let hash = token.hash();
    if let Some(caller) = app.credentials.resolved.get(&hash) {
        return Ok(caller);
    }
    let request = ResolveTokenRequest { token_hash: hash.0.to_vec() };
    let reply = app.data.resolve_token(&request, &app.call()).await;
    let user = reply.map_err(|error| Refused::from_data(error, ApiError::Unauthorized))?.message.user;
    let user = user.ok_or(ApiError::Internal)?;
    let id = UserId::try_from(user.id).map_err(|_| ApiError::Internal)?;
    let caller = Caller { id, user: Arc::new(user) };
    app.credentials.resolved.insert(hash, caller.clone());
    Ok(caller)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Refused> {
        // The route's admission put it there; a route without admission has no caller.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::Unauthorized.into())
    }
}
