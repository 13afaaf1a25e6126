//! The parts of a request that nearly every route takes.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use weir_data_client::CallOptions;
use weir_discord::error::ApiError;

use crate::{
    answer::error::Refused,
    data::Data,
    request::{arrival::Arrival, caller::Caller, path::PathIds},
};

/// The caller, the ids in the path and the time of arrival, together with the data service.
pub(crate) struct Input {
    pub(crate) data: Data,
    pub(crate) caller: Caller,
    /// The ids in the path. A route whose template has none has none here.
    pub(crate) ids: PathIds,
    pub(crate) arrival: Arrival,
}

impl Input {
    /// Options of the data call that makes the change which the request asks for.
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
            // The envelope sets it for every request.
            arrival: parts.extensions.get::<Arrival>().copied().ok_or(ApiError::Internal)?,
        })
    }
}
