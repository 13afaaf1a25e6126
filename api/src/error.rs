//! Refusals on their way out: what the data service answers, in Discord's terms, and how each becomes a response.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use weir_data_client::DataError;
use weir_discord::error::{ApiError, FormErrors, Leaf, RateLimitScope};
use weir_proto::data::Refusal;

use crate::{ratelimit::Standing, reply};

const SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");
const GLOBAL: HeaderName = HeaderName::from_static("x-ratelimit-global");
/// Wait told with a 503 when nobody knows better: what whole-second clients wait anyway.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// A refused request. Wraps Discord's table so that it can become a response here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    error: ApiError,
    /// The caller's bucket, if its limit refused. Boxed nowhere: refusals are made only on the way out.
    standing: Option<Standing>,
}

impl Refused {
    /// True if this is the table's `error`.
    pub(crate) fn is(&self, error: &ApiError) -> bool {
        self.error == *error
    }

    /// Too many requests are under way in this process.
    pub(crate) fn busy() -> Self {
        ApiError::Overloaded { retry_after: Some(RETRY_AFTER_UNKNOWN) }.into()
    }

    /// One wrong field of the body, the query or the path.
    pub(crate) fn field(name: &str, leaf: Leaf) -> Self {
        FormErrors::field(name, leaf).into()
    }

    /// The caller's bucket is empty.
    pub(crate) fn limited(limited: weir_discord::error::RateLimited, standing: Option<Standing>) -> Self {
        Self { error: ApiError::RateLimited(limited), standing }
    }

    /// What the data service's error means to the client; `missing` is what `not_found` says of this call.
    pub(crate) fn from_data(error: DataError, missing: ApiError) -> Self {
        let answer = match error {
            DataError::NotFound { .. } => return missing.into(),
            // The service is stricter than the validation here. Not a 5xx: clients repeat those, and this would fail again.
            DataError::Invalid { ref problem } => {
                tracing::error!(%problem, "the data service found a request invalid that the api let pass");
                return ApiError::InvalidForm(FormErrors::new()).into();
            }
            DataError::Refused { reason, limit, retry_after } => {
                let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                return with_wait(ApiError::from(&Refusal { reason: reason.into(), limit, retry_after_ms }))
                    .into();
            }
            DataError::OutcomeUnknown { .. } => ApiError::OutcomeUnknown,
            DataError::DeadlineExceeded | DataError::Unavailable { .. } => {
                with_wait(ApiError::Overloaded { retry_after: None })
            }
            DataError::Failed { .. } => ApiError::Internal,
        };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            answer = answer.label(),
            "a data call failed"
        );
        answer.into()
    }
}

/// A 503 always says when to come back.
fn with_wait(error: ApiError) -> ApiError {
    match error {
        ApiError::Overloaded { retry_after: None } => {
            ApiError::Overloaded { retry_after: Some(RETRY_AFTER_UNKNOWN) }
        }
        other => other,
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, standing: None }
    }
}

impl From<FormErrors> for Refused {
    fn from(errors: FormErrors) -> Self {
        ApiError::from(errors).into()
    }
}

/// A 503 that must not be taken for an ordinary one: only a repetition with the same nonce is safe.
#[derive(Serialize)]
struct OutcomeUnknownBody {
    message: &'static str,
    code: u32,
}

const OUTCOME_UNKNOWN: OutcomeUnknownBody = OutcomeUnknownBody {
    message: "outcome unknown: the change may or may not have happened; repeat it only with the same nonce",
    code: 0,
};

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.status()).expect("the table holds valid statuses");
        let mut response = match &self.error {
            ApiError::OutcomeUnknown => reply::json(status, &OUTCOME_UNKNOWN),
            error => reply::raw_json(status, error.body()),
        };
        let headers = response.headers_mut();
        if let Some(seconds) = self.error.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let ApiError::RateLimited(limited) = &self.error {
            headers.insert(SCOPE, HeaderValue::from_static(limited.scope.as_str()));
            if limited.scope == RateLimitScope::Global {
                headers.insert(GLOBAL, HeaderValue::from_static("true"));
            }
        }
        if let Some(standing) = self.standing {
            standing.write(headers);
        }
        response
    }
}
