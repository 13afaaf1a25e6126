//! Successful answers. Their content type is exactly `application/json`, because two client libraries compare
//! it as text.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer whose body is `value`.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    raw_json(status, weir_discord::object::to_json(value))
}

/// An answer whose body is JSON text already.
pub(crate) fn raw_json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// 200 with `value`.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with `value`.
pub(crate) fn created(value: &impl Serialize) -> Response {
    json(StatusCode::CREATED, value)
}

/// 204, without body and content type.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
