//! Request bodies: bounded in bytes and time, JSON or a form, handed on as JSON bytes.

use axum::{
    body::{self, Body},
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::header;
use http_body_util::LengthLimitError;
use weir_discord::error::{ApiError, Leaf};

use crate::{app::App, error::Refused, form};

/// The request's JSON text, not yet parsed. An empty body is `{}`, as at Discord.
pub(crate) struct Payload(pub(crate) Bytes);

/// How a body says what it says.
enum Kind {
    Json,
    UrlEncoded,
    Multipart,
}

impl FromRequest<App> for Payload {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let kind = match media_type(&request) {
            None | Some("application/json") => Kind::Json,
            Some("application/x-www-form-urlencoded") => Kind::UrlEncoded,
            Some("multipart/form-data") => Kind::Multipart,
            Some(_) => return Err(Refused::field("Content-Type", Leaf::BadContentType)),
        };
        let (parts, body) = request.into_parts();
        let bytes = read(body, app).await?;
        // A whole form is in memory already and bounded: what follows never waits for the network.
        let whole = |bytes| Request::from_parts(parts, Body::from(bytes));
        let json = match kind {
            Kind::Json => bytes,
            Kind::UrlEncoded => form::url_encoded(whole(bytes), app).await?,
            Kind::Multipart => form::multipart(whole(bytes), app).await?,
        };
        Ok(Self(if json.is_empty() { Bytes::from_static(b"{}") } else { json }))
    }
}

/// The content type without parameters; `None` if it is absent or no text.
fn media_type(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim).filter(|value| !value.is_empty())
}

async fn read(body: Body, app: &App) -> Result<Bytes, Refused> {
    let bounds = &app.config.bounds;
    let read = body::to_bytes(body, bounds.body_bytes_max);
    match tokio::time::timeout(bounds.body_read_timeout, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(ApiError::TooLarge.into()),
        // Broken off, or too slow: what arrived is not the JSON that was meant, and mostly nobody is left to read this.
        Ok(Err(_)) | Err(_) => Err(ApiError::InvalidJson.into()),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}
