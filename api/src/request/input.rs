//! What nearly every route is given of a request.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use weir_data_client::CallOptions;
use weir_discord::error::ApiError;

use crate::{
    answer::error::Refused,
    data::Data,
    request::{arrival::Arrival, caller::Caller, path::PathIds},
};

/// Who asks, for what, and when; and the data service, which knows the answer.
pub(crate) struct Input {
    pub(crate) data: Data,
    pub(crate) caller: Caller,
    /// The ids in the path: as many as the route's template has, perhaps none.
    pub(crate) ids: PathIds,
    pub(crate) arrival: Arrival,
}

impl Input {
    /// How the data service is called for the change that the request asks for.
    pub(crate) fn change(&self) -> CallOptions {
        self.data.change(self.arrival)
    }
}

impl<S> FromRequestParts<S> for Input
where
    Data: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self {
            data: Data::from_ref(state),
            caller: Caller::from_request_parts(parts, state).await?,
            ids: PathIds::from_request_parts(parts, state).await?,
            // The envelope notes it for every request.
            arrival: parts.extensions.get::<Arrival>().copied().ok_or(ApiError::Internal)?,
        })
    }
}
