//! Request bodies: each is collected whole, within bounds for one request, for one peer and for all together,
//! and at a minimum pace.
//!
//! Problem: a body must be complete before its message can be decoded, so senders of bodies decide how much
//! the server holds. Guarantee: one body is at most `request_bytes_max` before and after decompression. The
//! bodies of one peer, and all bodies, are bounded by the part of the budget that their account belongs to. A
//! quarter of that part is kept for small bodies, so that calls of everyday size are answered while large
//! ones are refused. A body that arrives too slowly is given up. The caller bounds the time for a whole body.

use std::future::poll_fn;
use std::io::Read;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use hyper::body::{Body, Frame};
use tokio::time::Instant;

use crate::budget::{Account, Full, Hold};
use crate::error::ConnectError;
use crate::limits::RequestLimits;

/// Largest small body, in bytes. 64 KiB has room for a message with its embeds, which is what nearly all
/// calls carry.
const SMALL: usize = 64 << 10;

/// The time in which an incomplete body must bring [`PACE_BYTES`]. 3 s: a segment that is lost twice has
/// arrived by then.
const PACE_TIME: Duration = Duration::from_secs(3);

/// The least that must arrive in [`PACE_TIME`], in bytes: 5 KiB/s, a tenth of what the time for a whole body
/// asks of the largest.
const PACE_BYTES: usize = 16 << 10;

/// Why a body was not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the bound, which is this many bytes.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The client broke off; the transport's error.
    #[error("the request body broke off: {0}")]
    BrokenOff(String),
    /// It arrived too slowly.
    #[error("too little of the request body came within {PACE_TIME:?}")]
    TooSlow,
    /// There is no room for it in the budget.
    #[error(transparent)]
    Full(#[from] Full),
}

impl From<BodyError> for ConnectError {
    fn from(error: BodyError) -> ConnectError {
        let text = error.to_string();
        match error {
            BodyError::TooLarge(_) => ConnectError::resource_exhausted(text),
            BodyError::BrokenOff(_) => ConnectError::canceled(text),
            BodyError::TooSlow => ConnectError::deadline_exceeded(text),
            BodyError::Full(_) => ConnectError::unavailable(text),
        }
    }
}

/// The compression of a body.
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

/// Receives a whole body and undoes its compression. The hold must live as long as the bytes do. The caller
/// bounds the time.
///
/// # Errors
/// `resource_exhausted` if the body is too large, `canceled` if the client breaks off, `deadline_exceeded` if
/// it arrives too slowly, `unavailable` if the peer or the server holds too many bytes of bodies,
/// `invalid_argument` if it does not match its encoding.
pub(crate) async fn receive<B>(
    body: &mut B,
    encoding: Encoding,
    limits: &RequestLimits,
    account: &Account,
) -> Result<(Bytes, Hold), ConnectError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (bytes, mut hold) = collect(body, limits.request_bytes_max, account).await?;
    // The protocol says that a body of zero length is never decompressed.
    match encoding {
        Encoding::Gzip if !bytes.is_empty() => {
            let inflated = inflate(&bytes, limits.request_bytes_max)?;
            grow(&mut hold, inflated.len()).map_err(BodyError::from)?;
            Ok((inflated, hold))
        }
        Encoding::Gzip | Encoding::Identity => Ok((bytes, hold)),
    }
}

/// Grows a hold. Large bodies leave a quarter of the part to small ones.
pub(crate) fn grow(hold: &mut Hold, more: usize) -> Result<(), Full> {
    let total = hold.bounds().total;
    if hold.bytes().saturating_add(more) > SMALL {
        hold.grow_below(more, total - total / 4)
    } else {
        hold.grow(more)
    }
}

/// Collects a body of at most `max` bytes. The hold must live as long as the bytes do. The caller bounds the
/// whole time.
///
/// # Errors
/// [`BodyError`]
///
/// # Cancel safety
/// Dropping the future gives back what was held, and loses the part of the body that had arrived.
pub async fn collect<B>(body: &mut B, max: usize, account: &Account) -> Result<(Bytes, Hold), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // A body is refused by its declared length before a byte of it is read.
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    // This is exact if the length was declared.
    let longest =
        body.size_hint().upper().map_or(max, |upper| usize::try_from(upper).unwrap_or(max).min(max));
    let mut hold = account.empty_hold();
    let mut pace = Pace::default();
    // Nearly every request is one frame, which is kept as it arrived; only a second frame makes a copy.
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = pace.frame(body).await? {
        let Ok(data) = frame.into_data() else { continue };
        pace.arrived += data.len();
        let held = first.len().max(joined.len());
        if data.len() > max - held {
            return Err(BodyError::TooLarge(max));
        }
        if held == 0 {
            grow(&mut hold, data.len())?;
            first = data;
            continue;
        }
        let needed = held + data.len();
        if needed > joined.capacity() {
            // The capacity doubles, so that a body is moved only a few times. Capacity beyond the body's
            // bytes is held too.
            let capacity = (2 * held).min(longest).max(needed);
            let room = if joined.is_empty() { held } else { joined.capacity() };
            grow(&mut hold, capacity.saturating_sub(room))?;
            joined.reserve_exact(capacity - joined.len());
        }
        if joined.is_empty() {
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok((if joined.is_empty() { first } else { joined.into() }, hold))
}

/// The pace at which a body arrives.
#[derive(Default)]
struct Pace {
    /// When the next [`PACE_BYTES`] must have arrived; set at the first wait.
    due: Option<Instant>,
    /// Bytes that arrived since then.
    arrived: usize,
}

impl Pace {
    async fn frame<B>(&mut self, body: &mut B) -> Result<Option<Frame<Bytes>>, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut next = pin!(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
        // Most bodies have arrived with their head, and a timer costs more than they do.
        let mut frame = match poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        };
        while frame.is_none() {
            let due = *self.due.get_or_insert_with(|| Instant::now() + PACE_TIME);
            frame = Box::pin(tokio::time::timeout_at(due, next.as_mut())).await.ok();
            if frame.is_none() {
                if self.arrived < PACE_BYTES {
                    return Err(BodyError::TooSlow);
                }
                *self = Pace::default();
            }
        }
        frame.flatten().transpose().map_err(|error| BodyError::BrokenOff(error.to_string()))
    }
}

fn inflate(compressed: &[u8], max: usize) -> Result<Bytes, ConnectError> {
    // Reading stops one byte above the bound, so that a small body cannot unfold into a large one.
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .take(max as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| ConnectError::invalid_argument(format!("the body is not gzip: {error}")))?;
    if inflated.len() > max { Err(BodyError::TooLarge(max).into()) } else { Ok(inflated.into()) }
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
    use crate::budget::{Bounds, Budget, Part};

    fn part(total: usize) -> Part {
        Budget::default().part("request_bodies", Bounds { total, peer: total, token: total })
    }

    fn account(part: &Part) -> Account {
        part.account(std::net::Ipv4Addr::LOCALHOST.into())
    }

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
        let budget = part(1 << 20);
        let mut body = Full::new(sent.clone());
        let (got, _share) =
            receive(&mut body, Encoding::Identity, &limits(4096), &account(&budget)).await.unwrap();
        assert_eq!(got.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn a_zip_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096);
        let budget = part(1 << 20);
        let error = receive(&mut Full::new(bomb), Encoding::Gzip, &limits(4096), &account(&budget))
            .await
            .expect_err("bomb");
        assert_eq!(error.code, Code::ResourceExhausted);
        assert_eq!(budget.usage().used, 0);
    }

    #[tokio::test]
    async fn empty_gzip_is_an_empty_body_and_garbage_is_refused() {
        let budget = part(1 << 20);
        let empty =
            receive(&mut Full::new(Bytes::new()), Encoding::Gzip, &limits(64), &account(&budget)).await;
        assert!(empty.unwrap().0.is_empty());
        let mut garbage = Full::new(Bytes::from_static(b"not gzip"));
        let error =
            receive(&mut garbage, Encoding::Gzip, &limits(64), &account(&budget)).await.expect_err("garbage");
        assert_eq!(error.code, Code::InvalidArgument);
    }

    #[tokio::test]
    async fn the_total_is_shared_and_given_back() {
        let (budget, limits) = (part(100), limits(80));
        let sixty = async || {
            let mut body = Full::new(Bytes::from(vec![0; 60]));
            receive(&mut body, Encoding::Identity, &limits, &account(&budget)).await
        };
        let (body, first) = sixty().await.unwrap();
        assert_eq!(body.len(), 60);
        assert_eq!(sixty().await.expect_err("over the total").code, Code::Unavailable);
        drop(first);
        assert!(sixty().await.is_ok());
        assert_eq!(budget.usage().used, 0);
    }

    #[tokio::test]
    async fn large_bodies_leave_a_quarter_to_small_ones() {
        let budget = part(8 * SMALL);
        let (account, limits) = (account(&budget), limits(8 * SMALL));
        let of = async |bytes: usize| {
            receive(&mut Full::new(Bytes::from(vec![0; bytes])), Encoding::Identity, &limits, &account).await
        };
        let large = of(6 * SMALL).await.unwrap();
        assert_eq!(of(SMALL + 1).await.expect_err("the rest is for small ones").code, Code::Unavailable);
        assert!(of(SMALL).await.is_ok());
        drop(large);
        assert!(of(SMALL + 1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_hardly_moves_is_given_up_and_one_that_does_is_not() {
        let budget = part(1 << 20);
        let every_second = |bytes: usize| {
            let frames = stream::unfold(10, move |left| async move {
                if left == 0 {
                    return None;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![0; bytes]))), left - 1))
            });
            StreamBody::new(Box::pin(frames))
        };
        let slow = collect(&mut every_second(PACE_BYTES / 4), 1 << 20, &account(&budget)).await;
        assert_eq!(slow.map(drop), Err(BodyError::TooSlow));
        assert_eq!(budget.usage().used, 0);
        let steady = collect(&mut every_second(PACE_BYTES), 1 << 20, &account(&budget)).await;
        assert_eq!(steady.unwrap().0.len(), 10 * PACE_BYTES);
    }

    #[tokio::test]
    async fn what_a_growing_body_allocates_is_held() {
        let frames = |count| vec![vec![7; 10]; count];
        for (count, max, held) in [(1, 100, 10), (2, 100, 20), (3, 100, 40), (5, 100, 80), (5, 60, 60)] {
            let budget = part(1 << 20);
            let (bytes, hold) = collect(&mut chunks(frames(count)), max, &account(&budget)).await.unwrap();
            assert_eq!((bytes.len(), hold.bytes()), (10 * count, held));
        }
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
        /// Any split into frames gives the same bytes, or a refusal exactly when the sum is over the bound.
        /// The budget is charged for what is held and no more.
        #[test]
        fn frames_join_to_what_was_sent(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            max in 0..200_usize,
        ) {
            let whole = parts.concat();
            let budget = part(1 << 20);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let got = runtime.block_on(receive(&mut chunks(parts), Encoding::Identity, &limits(max), &account(&budget)));
            if whole.len() > max {
                prop_assert_eq!(got.map(|_| ()).unwrap_err().code, Code::ResourceExhausted);
            } else {
                let (bytes, share) = got.unwrap();
                prop_assert_eq!(&bytes[..], &whole[..]);
                // The allocation beyond the bytes is held with them.
                prop_assert!(share.bytes() >= whole.len() && share.bytes() <= 2 * whole.len());
            }
            prop_assert_eq!(budget.usage().used, 0);
        }

        #[test]
        fn gzip_round_trips(data in proptest::collection::vec(any::<u8>(), 1..500)) {
            prop_assert_eq!(inflate(&gzip(&data), 500).unwrap(), data);
        }
    }
}
