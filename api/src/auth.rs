//! Who is asking: a token in `Authorization` to a user, through a small short-lived cache of hashes.
//!
//! Only the token's SHA-256 leaves this module. What strangers may ask of the data service is bounded by client address
//! ([`weir_runtime::strangers`]): guesses are remembered for a moment only, apart from the successes, and a credential made a moment ago
//! works at once. A cached success may outlive its credential by the cache's age; that is safe as long as credentials are
//! never revoked, and the age is the price when they can be ([`crate::ApiConfig::credentials_cached_for`]).

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, header, request::Parts};
use moka::sync::Cache;
use tokio::time::Instant;
use weir_connect::{Budget, Peer};
use weir_data_client::DataError;
use weir_discord::{
    error::{ApiError, RateLimitScope, RateLimited},
    token::{BotToken, TokenHash, parse_authorization},
};
use weir_proto::{
    data::{ResolveTokenRequest, User},
    id::UserId,
};
use weir_runtime::strangers;

use crate::{app::App, config::ApiConfig, error::Refused};

/// Bytes of a credential in the cache: a hash, and a user as in [`crate::users`].
pub(crate) const CREDENTIAL_BYTES: usize = 1_100;

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

    /// Shows what the cache holds.
    pub(crate) fn watch(&self, budget: &Budget, config: &ApiConfig) {
        let (cache, entries_max) = (self.resolved.clone(), config.credentials_cached_max);
        budget.watch_entries("api_credentials", entries_max, CREDENTIAL_BYTES, move || cache.entry_count());
    }
}

/// The authenticated user of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: UserId,
    pub(crate) user: Arc<User>,
}

/// The client's address: its connection's, unless a trusted proxy names another. What strangers ask is counted by it, and what a caller makes
/// the server hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// A router that is called without a server has no peers; all of its callers are counted as one.
    const NOBODYS: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// Works the address out. The envelope does, once, and puts it into the request's extensions.
    pub(crate) fn of(app: &App, headers: &HeaderMap, peer: Option<Peer>) -> Self {
        let Some(Peer(peer)) = peer else { return Self::NOBODYS };
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        Self(app.config.trusted_proxies.client(peer.ip(), forwarded))
    }

    /// The one that the envelope noted.
    pub(crate) fn noted(request: &Extensions) -> Self {
        request.get::<Self>().copied().unwrap_or(Self::NOBODYS)
    }

    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self::noted(&parts.extensions))
    }
}

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
    if let Some(caller) = app.credentials.resolved.get(&hash) {
        return Ok(caller);
    }
    let leave = app.strangers.ask(client.0, hash.0, Instant::now());
    let leave = leave.map_err(|refused| match refused {
        strangers::Refused::Unknown => ApiError::Unauthorized.into(),
        strangers::Refused::Throttled { retry_after } => {
            Refused::limited(RateLimited { retry_after, scope: RateLimitScope::User, code: None }, None)
        }
    })?;
    let request = ResolveTokenRequest { token_hash: hash.0.to_vec() };
    let user = match app.data.resolve_token(&request, &app.call()).await {
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
