//! Request bodies: collected whole, never beyond what one request, and all requests together, may hold.
//!
//! Problem: a body must be complete before its message can be decoded, so whoever sends bodies chooses what the server
//! holds. Guarantee: one body is at most `request_bytes_max` before and after decompression, all bodies in flight are at most
//! `request_bytes_total`. How long a body may take is the endpoint's.

use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use hyper::body::Body;

use crate::endpoint::RequestLimits;
use crate::error::ConnectError;

/// The bytes that all requests in flight may hold together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used: AtomicUsize,
    max: usize,
}

impl BodyBudget {
    pub(crate) fn new(max: usize) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { used: AtomicUsize::new(0), max })
    }

    /// A share of the budget that gives its bytes back when dropped.
    fn share(self: &Arc<BodyBudget>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

/// One request's share of the budget.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), ConnectError> {
        // Relaxed: the counter guards no other memory. It may overshoot for the instant between add and subtract, which
        // can only refuse another request that arrives in that instant.
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget.max {
            self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(ConnectError::unavailable("the server holds as many request bytes as it may"));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a body's bytes are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The encoding that a request names; `unimplemented` with the list of known ones for any other.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Encoding, ConnectError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
        match value.as_bytes() {
            b"" | b"identity" => Ok(Encoding::Identity),
            b"gzip" => Ok(Encoding::Gzip),
            other => Err(ConnectError::unimplemented(format!(
                "unknown content-encoding {:?}: supported are identity, gzip",
                String::from_utf8_lossy(other)
            ))),
        }
    }
}

/// Receives a whole body and undoes its compression. The share must live as long as the bytes do. The caller bounds the time.
///
/// # Errors
/// `resource_exhausted` if it is too large, `canceled` if the client breaks off, `unavailable` if the server holds too many bodies, `invalid_argument` if it is not what its encoding says.
pub(crate) async fn receive<B>(
    body: &mut B,
    encoding: Encoding,
    limits: &RequestLimits,
    budget: &Arc<BodyBudget>,
) -> Result<(Bytes, Share), ConnectError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (bytes, mut share) = collect(body, limits.request_bytes_max, budget.share()).await?;
    // The protocol: a body of zero length is never decompressed.
    match encoding {
        Encoding::Gzip if !bytes.is_empty() => {
            let inflated = inflate(&bytes, limits.request_bytes_max)?;
            share.grow(inflated.len())?;
            Ok((inflated, share))
        }
        Encoding::Gzip | Encoding::Identity => Ok((bytes, share)),
    }
}

fn too_large(max: usize) -> ConnectError {
    ConnectError::resource_exhausted(format!("the request body is larger than {max} bytes"))
}

async fn collect<B>(body: &mut B, max: usize, mut share: Share) -> Result<(Bytes, Share), ConnectError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // A declared length is refused before a byte of it is read.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    // Nearly every request is one frame, which is kept as it arrived; only a second frame makes a copy.
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| ConnectError::canceled(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let held = first.len().max(joined.len());
        if data.len() > max - held {
            return Err(too_large(max));
        }
        share.grow(data.len())?;
        if held == 0 {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&std::mem::take(&mut first));
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok((if joined.is_empty() { first } else { joined.freeze() }, share))
}

fn inflate(compressed: &[u8], max: usize) -> Result<Bytes, ConnectError> {
    // One byte more than allowed is enough to know, so that a small body cannot unfold into a large one.
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .take(max as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| ConnectError::invalid_argument(format!("the body is not gzip: {error}")))?;
    if inflated.len() > max { Err(too_large(max)) } else { Ok(inflated.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::stream;
    use http::HeaderValue;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use proptest::prelude::*;

    use super::*;
    use crate::Code;

    fn limits(request_bytes_max: usize) -> RequestLimits {
        RequestLimits { request_bytes_max, ..RequestLimits::default() }
    }

    fn chunks(chunks: Vec<Vec<u8>>) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        StreamBody::new(stream::iter(chunks.into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk))))))
    }

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let sent = Bytes::from(vec![7; 4096]);
        let budget = BodyBudget::new(1 << 20);
        let mut body = Full::new(sent.clone());
        let (got, _share) = receive(&mut body, Encoding::Identity, &limits(4096), &budget).await.unwrap();
        assert_eq!(got.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn a_zip_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096);
        let budget = BodyBudget::new(1 << 20);
        let error =
            receive(&mut Full::new(bomb), Encoding::Gzip, &limits(4096), &budget).await.expect_err("bomb");
        assert_eq!(error.code, Code::ResourceExhausted);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn empty_gzip_is_an_empty_body_and_garbage_is_refused() {
        let budget = BodyBudget::new(1 << 20);
        let empty = receive(&mut Full::new(Bytes::new()), Encoding::Gzip, &limits(64), &budget).await;
        assert!(empty.unwrap().0.is_empty());
        let mut garbage = Full::new(Bytes::from_static(b"not gzip"));
        let error = receive(&mut garbage, Encoding::Gzip, &limits(64), &budget).await.expect_err("garbage");
        assert_eq!(error.code, Code::InvalidArgument);
    }

    #[tokio::test]
    async fn the_total_is_shared_and_given_back() {
        let (budget, limits) = (BodyBudget::new(100), limits(80));
        let sixty = async || {
            let mut body = Full::new(Bytes::from(vec![0; 60]));
            receive(&mut body, Encoding::Identity, &limits, &budget).await
        };
        let (body, first) = sixty().await.unwrap();
        assert_eq!(body.len(), 60);
        assert_eq!(sixty().await.expect_err("over the total").code, Code::Unavailable);
        drop(first);
        assert!(sixty().await.is_ok());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn unknown_encodings_are_refused_with_the_list() {
        let of = |value: &'static str| {
            Encoding::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert_eq!(of("gzip"), Ok(Encoding::Gzip));
        assert_eq!(of("identity"), Ok(Encoding::Identity));
        let error = of("br").expect_err("br");
        assert_eq!(error.code, Code::Unimplemented);
        assert!(error.message.contains("identity, gzip"), "{error}");
    }

    proptest! {
        /// Any split into frames gives the same bytes, or a refusal exactly when the sum is over the limit; and the budget is
        /// charged what was held and no more.
        #[test]
        fn frames_join_to_what_was_sent(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            max in 0..200_usize,
        ) {
            let whole = parts.concat();
            let budget = BodyBudget::new(1 << 20);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let got = runtime.block_on(receive(&mut chunks(parts), Encoding::Identity, &limits(max), &budget));
            if whole.len() > max {
                prop_assert_eq!(got.map(|_| ()).unwrap_err().code, Code::ResourceExhausted);
            } else {
                let (bytes, share) = got.unwrap();
                prop_assert_eq!(&bytes[..], &whole[..]);
                prop_assert_eq!(share.bytes, whole.len());
            }
            prop_assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        }

        #[test]
        fn gzip_round_trips(data in proptest::collection::vec(any::<u8>(), 1..500)) {
            prop_assert_eq!(inflate(&gzip(&data), 500).unwrap(), data);
        }
    }
}
