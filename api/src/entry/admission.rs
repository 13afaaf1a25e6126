//! Admission to a route: first who is asking, then how often. [`crate::router`] applies it to each route with
//! the route's bucket, so that every answer of the route has the rate-limit headers, also an error or a 204.
//!
//! Identity comes first, because the limits are for each caller. The limits come before the body is read, so
//! that a refused request costs least.

use std::time::SystemTime;

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    middleware::Next,
    response::{IntoResponse, Response},
};
use weir_connect::{BodyAccount, ChargeTo};
use weir_discord::error::ApiError;

use crate::{
    answer::error::Refused,
    app::App,
    entry::auth,
    ratelimit::{Major, RouteBucket},
    request::client::Client,
};

/// Admits a request to a route of `bucket`.
pub(crate) async fn admit(
    State((app, bucket)): State<(App, RouteBucket)>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // The path is not UTF-8 once it is percent-decoded, and no route has such a path.
    let Ok(path) = path else { return Refused::from(ApiError::UnknownRoute).into_response() };
    let client = Client::from_extensions(request.extensions());
    let caller = match auth::identify(&app, request.headers(), client).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let bucket_state = match &app.rate_limits {
        None => None,
        Some(limits) => match limits.charge(caller.id, bucket, Major::of(path.iter()), SystemTime::now()) {
            Ok(bucket_state) => Some(bucket_state),
            Err(exhausted) => {
                return Refused::limited(exhausted.limited, exhausted.bucket_state).into_response();
            }
        },
    };
    let user = caller.id.get();
    if let Some(BodyAccount(account)) = request.extensions_mut().remove() {
        // The connection's account is the proxy's, if there is one, and all of the proxy's clients would
        // share it.
        request.extensions_mut().insert(BodyAccount(account.for_client(client.address()).for_token(user)));
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(ChargeTo { client: client.address(), user });
    if let Some(bucket_state) = bucket_state {
        bucket_state.write(response.headers_mut());
    }
    response
}
