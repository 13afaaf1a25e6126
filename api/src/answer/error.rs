//! Refusals on their way out: what the data service answers, in Discord's terms, and how each becomes a response.

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
/// Wait told with a 503 when nobody knows better: what whole-second clients wait anyway.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// A refused request. Wraps Discord's table so that it can become a response here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    error: ApiError,
    /// The caller's bucket, if its limit refused. Boxed nowhere: refusals are made only on the way out.
    bucket_state: Option<BucketState>,
    /// What is wrong behind this tier, if something is. Boxed: it is rare, and a refusal travels through every function.
    fault: Option<Box<Fault>>,
}

/// A fault of the data service or the database, on its way to the log. It travels with the answer, because only the outermost layer sees
/// every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its word in metrics and logs: one of a fixed set.
    pub(crate) kind: &'static str,
    /// The data service's words.
    pub(crate) message: String,
}

impl Fault {
    /// The fault that an error is a sign of; none for answers that are as they should be.
    fn of(error: &DataError) -> Option<Self> {
        let kind = match error {
            DataError::NotFound { .. } => return None,
            DataError::Refused { reason, .. } => match reason.cause() {
                // The data service counts what limits refuse.
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
    /// True if this is the table's `error`.
    pub(crate) fn is(&self, error: &ApiError) -> bool {
        self.error == *error
    }

    /// Too many requests are under way in this process.
    pub(crate) fn busy() -> Self {
        ApiError::Overloaded { retry_after: Some(RETRY_AFTER_UNKNOWN) }.into()
    }

    /// The answer with its body as bytes.
    pub(crate) fn into_bytes(self) -> http::Response<Bytes> {
        let body = Bytes::from(self.error.body());
        self.into_response().map(|_| body)
    }

    /// One wrong field of the body, the query or the path.
    pub(crate) fn field(name: &str, leaf: Leaf) -> Self {
        FormErrors::field(name, leaf).into()
    }

    /// The caller's bucket is empty.
    pub(crate) fn limited(limited: RateLimited, bucket_state: Option<BucketState>) -> Self {
        Self { error: ApiError::RateLimited(limited), bucket_state, fault: None }
    }

    /// What the data service's error means to the client; `missing` is what `not_found` says of this call.
    pub(crate) fn from_data(error: DataError, missing: ApiError) -> Self {
        let fault = Fault::of(&error).map(Box::new);
        let error = match error {
            DataError::NotFound { .. } => missing,
            // The service is stricter than the validation here. Not a 5xx: clients repeat those, and this would fail again.
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
        Self { error, bucket_state: None, fault: None }
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
        if let Some(bucket_state) = self.bucket_state {
            bucket_state.write(headers);
        }
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(*fault);
        }
        response
    }
}
