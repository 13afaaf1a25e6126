//! Refusals: what an error of the data service means in Discord's terms, and how a refusal becomes a
//! response.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use weir_data_client::DataError;
use weir_discord::error::{ApiError, FormErrors, Leaf, RateLimitScope, RateLimited};
use weir_proto::{
    data::{Refusal, RefusalReason},
    refusal::RefusalCause,
};

use crate::{answer::reply, ratelimit::BucketState};

const SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");
const GLOBAL: HeaderName = HeaderName::from_static("x-ratelimit-global");
/// The wait that a 503 names when the data service gave none. One second is what clients that only read whole
/// seconds wait anyway.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// A refused request. It wraps Discord's error table so that an error can become a response here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    error: ApiError,
    /// The state of the caller's bucket, if its rate limit refused. It is not boxed, because refusals are
    /// made only at the end of a request.
    bucket_state: Option<BucketState>,
    /// The fault behind this tier, if there is one. It is boxed because it is rare, and every function
    /// returns a refusal.
    fault: Option<Box<Fault>>,
}

/// A fault of the data service or the database that is to be logged. It travels with the answer, because only
/// the outermost layer sees every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its word in metrics and logs, one of a fixed set.
    pub(crate) kind: &'static str,
    /// The data service's message.
    pub(crate) message: String,
}

impl Fault {
    /// The fault that caused `error`; `None` if nothing is wrong with the service.
    fn of(error: &DataError) -> Option<Self> {
        let kind = match error {
            DataError::NotFound { .. } => return None,
            DataError::Refused { reason, .. } => match reason.cause() {
                // The data service itself counts what its limits refuse.
                RefusalCause::Request => return None,
                RefusalCause::Service | RefusalCause::Database => reason.label(),
            },
            DataError::Invalid { .. } => "invalid",
            DataError::OutcomeUnknown { .. } => "outcome_unknown",
            DataError::DeadlineExceeded => "deadline",
            DataError::Unavailable { .. } => "unavailable",
            DataError::Failed { .. } => "failed",
        };
        Some(Self { kind, message: error.to_string() })
    }
}

impl Refused {
    /// True if the refusal is this `error` of Discord's table.
    pub(crate) fn is(&self, error: &ApiError) -> bool {
        self.error == *error
    }

    /// The refusal when too many requests are under way in this process.
    pub(crate) fn busy() -> Self {
        ApiError::Overloaded { retry_after: Some(RETRY_AFTER_UNKNOWN) }.into()
    }

    /// The answer with its body as bytes.
    pub(crate) fn into_bytes(self) -> http::Response<Bytes> {
        let body = Bytes::from(self.error.body());
        self.into_response().map(|_| body)
    }

    /// One field of the body, the query or the path is wrong.
    pub(crate) fn field(name: &str, leaf: Leaf) -> Self {
        FormErrors::field(name, leaf).into()
    }

    /// The caller's bucket is empty.
    pub(crate) fn limited(limited: RateLimited, bucket_state: Option<BucketState>) -> Self {
        Self { error: ApiError::RateLimited(limited), bucket_state, fault: None }
    }

    /// What the data service's error means to the client. `missing` is the answer if the service did not find
    /// what the call is about.
    pub(crate) fn from_data(error: DataError, missing: ApiError) -> Self {
        let fault = Fault::of(&error).map(Box::new);
        let error = match error {
            DataError::NotFound { .. } => missing,
            // The service checks more strictly than the validation here. The answer is not a 5xx, because
            // clients repeat those, and this request would fail again.
            DataError::Invalid { .. } => ApiError::InvalidForm(FormErrors::new()),
            DataError::Refused { reason: RefusalReason::Clock, retry_after, message, .. } => {
                ApiError::ClockWrong { message, retry_after }
            }
            DataError::Refused { reason, limit, retry_after, .. } => {
                let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                with_wait(ApiError::from(&Refusal { reason: reason.into(), limit, retry_after_ms }))
            }
            DataError::OutcomeUnknown { .. } => ApiError::OutcomeUnknown,
            DataError::DeadlineExceeded | DataError::Unavailable { .. } => {
                with_wait(ApiError::Overloaded { retry_after: None })
            }
            DataError::Failed { .. } => ApiError::Internal,
        };
        Self { fault, ..error.into() }
    }
}

/// Adds a wait to a 503 that has none: a 503 always says when to come back.
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
        Self { error, bucket_state: None, fault: None }
    }
}

impl From<FormErrors> for Refused {
    fn from(errors: FormErrors) -> Self {
        ApiError::from(errors).into()
    }
}

/// The body of a 503 that clients must not take for an ordinary one: repeating the request is safe only with
/// the same nonce.
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
        if let Some(bucket_state) = self.bucket_state {
            bucket_state.write(headers);
        }
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(*fault);
        }
        response
    }
}
