//! Request bodies: bounded in bytes and time, JSON or a multipart form with `payload_json`, handed on as JSON bytes.

use axum::{
    body::{self, Body},
    extract::{FromRequest, Multipart, Request, multipart::Field},
};
use bytes::Bytes;
use http::header;
use http_body_util::LengthLimitError;
use weir_discord::error::{ApiError, Leaf};

use crate::{app::App, error::Refused};

/// The request's JSON text, not yet parsed. An empty body is `{}`, as at Discord.
pub(crate) struct Payload(pub(crate) Bytes);

impl FromRequest<App> for Payload {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let form = match media_type(&request) {
            None | Some("application/json") => false,
            Some("multipart/form-data") => true,
            Some(_) => return Err(Refused::field("Content-Type", Leaf::BadContentType)),
        };
        let (parts, body) = request.into_parts();
        let bytes = read(body, app).await?;
        let json = if form {
            // The whole form is in memory already and bounded: what follows never waits for the network.
            form_json(Request::from_parts(parts, Body::from(bytes)), app).await?
        } else {
            bytes
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

/// The field `payload_json`. Files are refused rather than dropped in silence.
async fn form_json(request: Request, app: &App) -> Result<Bytes, Refused> {
    let malformed = || Refused::field("payload_json", Leaf::BadContentType);
    let mut form = Multipart::from_request(request, app).await.map_err(|_| malformed())?;
    let mut json = None;
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        if is_file(&field) {
            return Err(Refused::field("files", Leaf::Unsupported));
        }
        if field.name() == Some("payload_json") {
            json = Some(field.bytes().await.map_err(|_| malformed())?);
        }
    }
    json.ok_or_else(|| Refused::field("payload_json", Leaf::Required))
}

fn is_file(field: &Field<'_>) -> bool {
    field.file_name().is_some()
        || field.name().is_some_and(|name| name == "file" || name.starts_with("files["))
}
