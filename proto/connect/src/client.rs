//! The HTTP/2 client: a small fixed set of multiplexed connections, made when first needed and made again
//! when lost.
//!
//! Its errors answer the question that decides a retry: was the request certainly not processed
//! ([`ClientError::NotSent`]), may it have been ([`ClientError::Unknown`]), or did the server answer
//! ([`ClientError::Connect`])? The client never retries by itself, because only the caller knows which
//! requests may be repeated.

mod config;
mod connect;
mod error;
mod exchange;
mod reconnect;
mod request;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Uri, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub use config::ClientConfig;
pub use error::{ClientError, InvalidBaseUrl, Lost, NotSent};

use crate::codec::Codec;
use crate::dispatch::UnaryResponse;
use crate::headers;
use request::RequestBody;
use slot::Slot;

/// A client of one server. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ClientConfig>,
    authority: Authority,
    slots: Box<[Arc<Slot>]>,
    // It only spreads calls over slots: wrapping and races are harmless.
    next: AtomicUsize,
}

impl HttpClient {
    /// Makes a client that connects at its first call.
    ///
    /// # Errors
    /// If `base_url` is not `http://host[:port]`.
    pub fn new(config: ClientConfig) -> Result<HttpClient, InvalidBaseUrl> {
        let authority = authority_of(&config.base_url)?;
        let config = Arc::new(config);
        let slots = (0..config.connections.max(1))
            .map(|_| Arc::new(Slot::new(authority.clone(), Arc::clone(&config))))
            .collect();
        Ok(HttpClient { inner: Arc::new(Inner { config, authority, slots, next: AtomicUsize::new(0) }) })
    }

    /// Calls the method `path` (`/package.Service/Method`) with `body`, a protobuf message, and sends the
    /// time that is left as the call's deadline. `timeout` bounds everything, the wait for a connection
    /// included; `None` means [`ClientConfig::timeout_default`].
    ///
    /// # Errors
    /// [`ClientError`], which says whether the request may have been processed.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream: the server drops the handler, and other calls on the connection
    /// go on. If a connection is being made for this call, it is still completed, for the next one.
    pub async fn unary(
        &self,
        path: &str,
        headers: HeaderMap,
        timeout: Option<Duration>,
        body: Bytes,
    ) -> Result<UnaryResponse, ClientError> {
        let timeout = timeout.unwrap_or(self.inner.config.timeout_default);
        let deadline = Instant::now() + timeout.min(FAR_FUTURE);
        let mut request = self.request(path, headers, body)?;
        let (sender, _place) =
            tokio::time::timeout_at(deadline, self.place()).await.map_err(|_elapsed| NotSent::TimedOut)??;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NotSent::TimedOut.into());
        }
        request.headers_mut().insert(headers::TIMEOUT, headers::timeout_value(left));
        let exchange = exchange::run(sender, request, self.inner.config.reply_bytes_max);
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Lost::TimedOut.into()),
        }
    }

    fn request(&self, path: &str, headers: HeaderMap, body: Bytes) -> Result<Request<RequestBody>, NotSent> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.inner.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| NotSent::InvalidPath { path: path.to_owned() })?;
        let mut request = Request::new(RequestBody::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, Codec::Proto.content_type());
        headers.insert(headers::PROTOCOL_VERSION, http::HeaderValue::from_static("1"));
        Ok(request)
    }

    /// A connection and a place among its requests: the next slot in turn with a free place, or else the
    /// first place to become free.
    async fn place(&self) -> Result<(slot::Sender, OwnedSemaphorePermit), NotSent> {
        let slots = &self.inner.slots;
        let turn = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let mut refused = None;
        for offset in 0..slots.len() {
            let slot = &slots[(turn.wrapping_add(offset)) % slots.len()];
            let Some(place) = slot.try_place() else { continue };
            match slot.sender().await {
                Ok(sender) => return Ok((sender, place)),
                // Another slot may still be connected. If none is, the first refusal is reported.
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        let slot = &slots[turn % slots.len()];
        let place = slot.place().await;
        Ok((slot.sender().await?, place))
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("base_url", &self.inner.config.base_url).finish_non_exhaustive()
    }
}

/// Longest deadline that is added to the clock, because a caller's larger timeout would overflow it.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

fn authority_of(base_url: &str) -> Result<Authority, InvalidBaseUrl> {
    let invalid = |reason| InvalidBaseUrl { base_url: base_url.to_owned(), reason };
    let uri: Uri = base_url.parse().map_err(|_| invalid("it is not a URL"))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(invalid("its scheme is not http"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(invalid("it has a path or query"));
    }
    uri.authority().cloned().ok_or_else(|| invalid("it has no host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_plain_http_hosts() {
        assert_eq!(authority_of("http://127.0.0.1:8082").unwrap(), "127.0.0.1:8082");
        assert_eq!(authority_of("http://data/").unwrap(), "data");
        for bad in ["", "data:8082", "https://data", "http://data/prefix", "http://data/?x=1", "ftp://data"] {
            assert!(authority_of(bad).is_err(), "{bad}");
        }
    }
}
