//! Request bodies. They are bounded in bytes and time. A body is JSON or a form, and both are handed on as
//! JSON bytes.

use std::net::Ipv4Addr;

use axum::{
    body::Body,
    extract::{FromRef, FromRequest, Request},
};
use bytes::Bytes;
use http::header;
use weir_connect::body::{BodyError, collect};
use weir_connect::budget::Hold;
use weir_connect::{BodyAccount, Memory};
use weir_discord::error::{ApiError, Leaf};

use crate::{answer::error::Refused, bounds::ApiBounds, request::form};

/// The request's JSON text, not yet parsed. An empty body is taken for `{}`, as at Discord.
pub(crate) struct Payload(pub(crate) Bytes);

/// The format of a body.
enum Kind {
    Json,
    UrlEncoded,
    Multipart,
}

impl<S> FromRequest<S> for Payload
where
    ApiBounds: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let kind = match media_type(&request) {
            None | Some("application/json") => Kind::Json,
            Some("application/x-www-form-urlencoded") => Kind::UrlEncoded,
            Some("multipart/form-data") => Kind::Multipart,
            Some(_) => return Err(Refused::field("Content-Type", Leaf::BadContentType)),
        };
        let (parts, body) = request.into_parts();
        // A request that did not come through the server has an account of its own.
        let account = parts.extensions.get::<BodyAccount>().cloned();
        let account = account
            .unwrap_or_else(|| BodyAccount(Memory::default().bodies.account(Ipv4Addr::UNSPECIFIED.into())));
        let bytes = read(body, &account, &ApiBounds::from_ref(state)).await?;
        // The whole form is in memory already and bounded, so what follows never waits for the network.
        let whole = |bytes| Request::from_parts(parts, Body::from(bytes));
        let json = match kind {
            Kind::Json => bytes,
            Kind::UrlEncoded => form::url_encoded(whole(bytes)).await?,
            Kind::Multipart => form::multipart(whole(bytes)).await?,
        };
        Ok(Self(if json.is_empty() { Bytes::from_static(b"{}") } else { json }))
    }
}

/// The content type without parameters; `None` if the header is absent or no text.
fn media_type(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim).filter(|value| !value.is_empty())
}

/// Bytes that count on their sender's account for as long as they are used.
struct Held {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn read(mut body: Body, account: &BodyAccount, bounds: &ApiBounds) -> Result<Bytes, Refused> {
    let read = collect(&mut body, bounds.body_bytes_max, &account.0);
    match tokio::time::timeout(bounds.body_read_timeout, read).await {
        Ok(Ok((bytes, _hold))) if bytes.is_empty() => Ok(bytes),
        Ok(Ok((bytes, _hold))) => Ok(Bytes::from_owner(Held { bytes, _hold })),
        Ok(Err(BodyError::TooLarge(_))) => Err(ApiError::TooLarge.into()),
        Ok(Err(BodyError::Full(_))) => Err(Refused::busy()),
        // The body broke off, or was too slow. The bytes that arrived are not the JSON that was meant, and
        // mostly no client is left to read this answer.
        Ok(Err(BodyError::BrokenOff(_) | BodyError::TooSlow)) | Err(_) => Err(ApiError::InvalidJson.into()),
    }
}
