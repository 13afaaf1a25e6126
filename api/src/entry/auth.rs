//! Authentication: finds the user of the token in `Authorization`, through a small short-lived cache of
//! hashes.
//!
//! Only the token's SHA-256 leaves this module. What strangers may ask of the data service is bounded by
//! client address ([`weir_runtime::strangers`]). Wrong tokens are remembered for a moment only, apart from
//! the good ones. A credential that was just made works at once. A cached credential may be used after it was
//! revoked for as long as the cache keeps it ([`crate::ApiConfig::credentials_cached_for`]). That is safe for
//! now, because no credential is ever revoked.

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio::time::Instant;
use weir_data_client::DataError;
use weir_discord::{
    error::{ApiError, RateLimitScope, RateLimited},
    token::{BotToken, parse_authorization},
};
use weir_proto::{data::ResolveTokenRequest, id::UserId};
use weir_runtime::strangers;

use crate::{
    answer::error::Refused,
    app::App,
    request::{caller::Caller, client::Client},
};

/// Finds the caller by the request's headers.
///
/// # Errors
/// 401 if there is no token, if it has another shape, or if no user has it; 429 for an address that sent too
/// many tokens that no user has; for any other error of the data service, what it means to the client.
pub(crate) async fn identify(app: &App, headers: &HeaderMap, client: Client) -> Result<Caller, Refused> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| parse_authorization(value).ok()).ok_or(ApiError::Unauthorized)?;
    resolve(app, &token, client).await
}

/// Makes sure that a user consents to what another user asks for: `token` has to be the user's own.
///
/// # Errors
/// 50025 if it is not. 429 and the errors of the data service are as for [`identify`], so that nobody can try
/// out tokens here either.
pub(crate) async fn require_consent(
    app: &App,
    client: Client,
    user_id: UserId,
    token: Option<&str>,
) -> Result<(), Refused> {
    let token = token.and_then(|text| parse_authorization(text).ok());
    // A token that claims to be another user's need not be looked up.
    let token = token.filter(|token| token.claimed_user() == Some(user_id)).ok_or(ApiError::ConsentNeeded)?;
    match resolve(app, &token, client).await {
        Ok(owner) if owner.id == user_id => Ok(()),
        Ok(_) => Err(ApiError::ConsentNeeded.into()),
        Err(refused) if refused.is(&ApiError::Unauthorized) => Err(ApiError::ConsentNeeded.into()),
        Err(refused) => Err(refused),
    }
}

/// Finds the user whose token this is.
async fn resolve(app: &App, token: &BotToken, client: Client) -> Result<Caller, Refused> {
    let hash = token.hash();
    if let Some(caller) = app.credentials.get(&hash) {
        return Ok(caller);
    }
    let leave = app.strangers.ask(client.address(), hash.0, Instant::now());
    let leave = leave.map_err(|refused| match refused {
        strangers::NoLeave::Unknown => ApiError::Unauthorized.into(),
        strangers::NoLeave::Throttled { retry_after } => {
            Refused::limited(RateLimited { retry_after, scope: RateLimitScope::User, code: None }, None)
        }
    })?;
    let request = ResolveTokenRequest { token_hash: hash.0.to_vec() };
    let user = match app.data.resolve_token(&request, &app.data.call()).await {
        Ok(reply) => {
            leave.known(Instant::now());
            reply.message.user
        }
        Err(error) => {
            if let DataError::NotFound { .. } = error {
                leave.unknown(Instant::now());
            } else {
                leave.undecided();
            }
            return Err(Refused::from_data(error, ApiError::Unauthorized));
        }
    };
    let user = user.ok_or(ApiError::Internal)?;
    let id = UserId::try_from(user.id).map_err(|_| ApiError::Internal)?;
    let caller = Caller { id, user: Arc::new(user) };
    app.credentials.insert(hash, caller.clone());
    Ok(caller)
}
