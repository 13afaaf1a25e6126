//! The user that makes a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use weir_discord::error::ApiError;
use weir_proto::{data::User, id::UserId};

use crate::answer::error::Refused;

/// The authenticated user of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: UserId,
    pub(crate) user: Arc<User>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        // The route's admission put it there. A route without admission has no caller.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::Unauthorized.into())
    }
}
