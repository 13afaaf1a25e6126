//! Who is asking: a token in `Authorization` to a user, through a small short-lived cache of hashes.
//!
//! Only the token's SHA-256 leaves this module. What strangers may ask of the data service is bounded by client address
//! ([`weir_runtime::strangers`]): guesses are remembered for a moment only, apart from the successes, and a credential made a moment ago
//! works at once. A cached success may outlive its credential by the cache's age; that is safe as long as credentials are
//! never revoked, and the age is the price when they can be ([`crate::ApiConfig::credentials_cached_for`]).

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

/// The caller that the headers name.
///
/// # Errors
/// 401 for no token, one of another shape, and one that nobody has; 429 for an address with too many of the last; what the data service
/// answers otherwise.
pub(crate) async fn identify(app: &App, headers: &HeaderMap, client: Client) -> Result<Caller, Refused> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| parse_authorization(value).ok()).ok_or(ApiError::Unauthorized)?;
    resolve(app, &token, client).await
}

/// Makes sure that a user consents to what somebody else asks for: `token` is the user's own.
///
/// # Errors
/// 50025 if it is not; 429 and those of the data service as for [`identify`], so that nobody tries out tokens here either.
pub(crate) async fn require_consent(
    app: &App,
    client: Client,
    user_id: UserId,
    token: Option<&str>,
) -> Result<(), Refused> {
    let token = token.and_then(|text| parse_authorization(text).ok());
    // What says that it is somebody else's need not be asked for.
    let token = token.filter(|token| token.claimed_user() == Some(user_id)).ok_or(ApiError::ConsentNeeded)?;
    match resolve(app, &token, client).await {
        Ok(owner) if owner.id == user_id => Ok(()),
        Ok(_) => Err(ApiError::ConsentNeeded.into()),
        Err(refused) if refused.is(&ApiError::Unauthorized) => Err(ApiError::ConsentNeeded.into()),
        Err(refused) => Err(refused),
    }
}

/// Whose a token is.
async fn resolve(app: &App, token: &BotToken, client: Client) -> Result<Caller, Refused> {
    let hash = token.hash();
    if let Some(caller) = app.credentials.get(&hash) {
        return Ok(caller);
    }
    let leave = app.strangers.ask(client.address(), hash.0, Instant::now());
    let leave = leave.map_err(|refused| match refused {
        strangers::Refused::Unknown => ApiError::Unauthorized.into(),
        strangers::Refused::Throttled { retry_after } => {
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
