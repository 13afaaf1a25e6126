//! Replies until they are sent: which account holds their bytes, and which of them make no progress.
//!
//! Problem: HTTP/2 lets a client open a window of nothing, ask for pages, and answer pings for ever. Each
//! reply waits in the protocol, where neither its handler's bounds nor the socket's timeout see it.
//! Guarantee: from the moment when a handler gives its reply until the last byte is in the socket or the
//! stream is gone, the bytes are held on the peer's account, together with what the handler wants kept
//! ([`KeepUntilSent`]). A reply of which the socket takes nothing for the stall timeout is reset.
//!
//! How: a reply is a [`Reply`] whose data are [`Piece`]s, and each piece refers to its [`Sending`]. HTTP/2
//! runs each stream as a task of its own, which [`Streams`] makes. A stream that waits with its reply unsent
//! is put on the connection's list ([`super::slow`]), which the connection examines a few times in the stall
//! timeout. Nearly all streams are sent at once and cost no timer. Dropping the task resets the stream as
//! long as its end is not queued: so a reply above [`AT_ONCE`] ends in a frame of its own, after its data are
//! gone.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connected::Connected;
use super::slow::Unsent;
use crate::budget::Hold;

/// Most bytes of a reply whose end is sent with its data: one frame of HTTP/2's smallest allowed size. A
/// larger reply costs nine bytes more.
const AT_ONCE: usize = 16 << 10;

/// Seconds after which a client may ask again when its reply found no room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A value that a handler wants kept until its reply is sent or given up, such as a permit. The handler puts
/// it into the reply's extensions.
#[derive(Clone)]
pub struct KeepUntilSent(
    #[expect(dead_code, reason = "it is kept to be dropped")] Arc<dyn Any + Send + Sync>,
);

impl KeepUntilSent {
    /// Keeps `what`.
    pub fn new(what: impl Any + Send + Sync) -> KeepUntilSent {
        KeepUntilSent(Arc::new(what))
    }
}

/// The client and user for which a reply counts, instead of the connection's peer. The handler puts it into
/// the reply's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ChargeTo {
    /// The client's address: the peer's own, or the one that a trusted proxy names.
    pub client: IpAddr,
    /// The user whose token the call carried.
    pub user: u64,
}

/// Asks the client to slow down: nothing more is read for this long from the connection that the reply goes
/// to. The handler puts it into the reply's extensions. Requests that have arrived already are still
/// answered: on HTTP/2 up to [`super::ServerConfig::streams_per_connection`] of them. It must be below
/// [`super::ServerConfig::keep_alive_timeout`], because answers to pings wait too.
#[derive(Clone, Copy, Debug)]
pub struct SlowDown(pub Duration);

/// The response that is sent in place of a reply for which there is no room. The handler puts it into the
/// reply's extensions. It counts on no account, so its body may have at most [`INSTEAD_BYTES_MAX`] bytes.
/// With a larger one, or without any, the client gets the plain 503 with `Retry-After`.
#[derive(Clone, Debug)]
pub struct Instead(pub Arc<Response<Bytes>>);

/// Most bytes of an [`Instead`]. A choice: the text of an error. All clients that get the same one share its
/// bytes.
pub const INSTEAD_BYTES_MAX: usize = 512;

impl fmt::Debug for KeepUntilSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepUntilSent")
    }
}

/// One request, from its arrival until its reply is sent or given up.
pub(super) struct Sending {
    peer: Arc<Connected>,
    held: Mutex<Held>,
    /// Bytes that the protocol has taken and the socket has not.
    unsent: AtomicUsize,
    /// Grows with each piece that the socket takes.
    moves: AtomicU64,
    /// The handler has replied; from here on it is the client that is waited for.
    replied: AtomicBool,
    /// It is on the connection's list of slow replies.
    listed: AtomicBool,
    cut: AtomicBool,
    /// Wakes the stream's task when the reply is cut or all pieces are gone.
    stream: AtomicWaker,
}

/// What is kept for the reply.
#[derive(Default)]
struct Held {
    bytes: Option<Hold>,
    #[expect(dead_code, reason = "it is kept to be dropped")]
    kept: Option<KeepUntilSent>,
}

impl Sending {
    pub(super) fn new(peer: Arc<Connected>) -> Arc<Sending> {
        peer.begin();
        Arc::new(Sending {
            peer,
            held: Mutex::default(),
            unsent: AtomicUsize::new(0),
            moves: AtomicU64::new(0),
            replied: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            stream: AtomicWaker::new(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the handler's reply with its bytes held. If there is no room for it, gives the handler's
    /// [`Instead`], or else 503. `ends_apart` says whether the end of a large reply waits for its data.
    pub(super) fn reply<B: Body>(
        self: &Arc<Self>,
        mut response: Response<B>,
        ends_apart: bool,
    ) -> Response<Reply<B>> {
        let kept = response.extensions_mut().remove::<KeepUntilSent>();
        let instead = response.extensions_mut().remove::<Instead>();
        let bytes = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        self.replied.store(true, Ordering::Relaxed);
        if let Some(SlowDown(pause)) = response.extensions_mut().remove() {
            self.peer.pause(pause);
        }
        let account = match response.extensions_mut().remove::<ChargeTo>() {
            Some(ChargeTo { client, user }) => self.peer.replies.for_client(client).for_token(user),
            None => self.peer.replies.clone(),
        };
        let hold = match bytes {
            0 => Ok(account.empty_hold()),
            bytes => account.hold(bytes),
        };
        let reply = |body, instead| Reply {
            body,
            instead,
            paid: bytes,
            sending: Arc::clone(self),
            ends_apart,
            last: 0,
            ended: false,
        };
        match hold {
            Ok(hold) => {
                *self.held() = Held { bytes: Some(hold), kept };
                response.map(|body| reply(Some(body), None))
            }
            Err(full) => {
                tracing::debug!(%full, peer = %self.peer.addr.0, "a reply found no room");
                *self.held() = Held { bytes: None, kept };
                if let Some(Instead(instead)) = instead
                    && instead.body().len() <= INSTEAD_BYTES_MAX
                {
                    let (head, body) = Response::clone(&instead).into_parts();
                    return Response::from_parts(head, reply(None, Some(body)));
                }
                let mut refused = Response::new(reply(None, None));
                *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                refused.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
                refused
            }
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Called by the stream's task when it must wait.
    fn waits(self: &Arc<Self>, cx: &mut Context<'_>) {
        if !self.replied.load(Ordering::Relaxed) {
            return;
        }
        self.stream.register(cx.waker());
        if !self.listed.swap(true, Ordering::Relaxed) {
            let reply = Arc::downgrade(self);
            self.peer.slow.list(self.key(), self.moves(), reply);
        }
        // It may have been cut after the task looked and before the task could be woken.
        if self.is_cut() {
            cx.waker().wake_by_ref();
        }
    }

    /// The key in its connection's list of slow replies.
    fn key(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Notes that the socket has taken something.
    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.peer.moves.fetch_add(1, Ordering::Relaxed);
    }

    fn gone(&self, bytes: usize) {
        if let Some(hold) = &mut self.held().bytes {
            hold.shrink(bytes);
        }
        self.moved();
        self.peer.unsent.fetch_sub(bytes, Ordering::Relaxed);
        // Release, so that the stream's task, which looks after it registers, finds either the count or the
        // wake.
        if self.unsent.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.stream.wake();
        }
    }
}

impl Unsent for Sending {
    fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    fn cut(&self) -> bool {
        let first = !self.cut.swap(true, Ordering::Relaxed);
        if first {
            self.stream.wake();
        }
        first
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if *self.listed.get_mut() {
            self.peer.slow.forget(self.key());
        }
        self.peer.end();
    }
}

pin_project! {
    /// A reply's body.
    pub(super) struct Reply<B> {
        #[pin]
        body: Option<B>,
        // The body of an [`Instead`], until it is sent.
        instead: Option<Bytes>,
        // Bytes that are held in advance, by the body's declared length.
        paid: usize,
        sending: Arc<Sending>,
        ends_apart: bool,
        // Bytes of the last piece.
        last: usize,
        // The body has given its last frame.
        ended: bool,
    }
}

impl<B> Body for Reply<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            let piece = this.instead.take().map(|bytes| Piece::new(bytes, this.paid, this.sending));
            return Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)));
        };
        if !*this.ended {
            match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    return Poll::Ready(Some(match frame.into_data() {
                        Ok(mut data) => {
                            let bytes = data.copy_to_bytes(data.remaining());
                            *this.last = bytes.len();
                            Piece::new(bytes, this.paid, this.sending).map(Frame::data).map_err(Into::into)
                        }
                        Err(other) => match other.into_trailers() {
                            Ok(trailers) => Ok(Frame::trailers(trailers)),
                            // There is no third kind of frame.
                            Err(_) => return Poll::Ready(None),
                        },
                    }));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => *this.ended = true,
            }
        }
        if !*this.ends_apart {
            return Poll::Ready(None);
        }
        this.sending.stream.register(cx.waker());
        if this.sending.unsent.load(Ordering::Acquire) > 0 { Poll::Pending } else { Poll::Ready(None) }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            None => self.instead.is_none(),
            Some(body) => {
                let ended = self.ended || body.is_end_stream();
                let apart = self.ends_apart && self.last > AT_ONCE;
                ended && !(apart && self.sending.unsent.load(Ordering::Acquire) > 0)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let instead = || SizeHint::with_exact(self.instead.as_ref().map_or(0, |bytes| bytes.len() as u64));
        self.body.as_ref().map_or_else(instead, Body::size_hint)
    }
}

/// Bytes of a reply, held until the socket has taken them or the stream is gone.
pub(super) struct Piece {
    bytes: Bytes,
    held: usize,
    sending: Arc<Sending>,
}

impl Piece {
    fn new(bytes: Bytes, paid: &mut usize, sending: &Arc<Sending>) -> Result<Piece, crate::budget::Full> {
        let held = bytes.len();
        let in_advance = held.min(*paid);
        if held > in_advance
            && let Some(hold) = &mut sending.held().bytes
        {
            hold.grow(held - in_advance)?;
        }
        *paid -= in_advance;
        sending.unsent.fetch_add(held, Ordering::AcqRel);
        sending.peer.unsent.fetch_add(held, Ordering::Relaxed);
        Ok(Piece { bytes, held, sending: Arc::clone(sending) })
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.sending.moved();
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // The bytes are dropped first: the budget must never hold less than there is in memory.
        self.bytes = Bytes::new();
        self.sending.gone(self.held);
    }
}

/// Runs the streams of one HTTP/2 connection, each as a task that ends when its reply is cut.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// The request that was handed to its handler last. hyper runs its stream next, before it hands over
    /// another request.
    next: Arc<Mutex<Option<Arc<Sending>>>>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("unsent", &self.unsent).finish_non_exhaustive()
    }
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams { next: Arc::default() }
    }

    pub(super) fn hand_over(&self, sending: &Arc<Sending>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(sending));
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let sending = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        tokio::spawn(Stream { stream, sending });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        stream: F,
        sending: Option<Arc<Sending>>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(sending) = this.sending else { return this.stream.poll(cx).map(drop) };
        if sending.is_cut() {
            // The stream is dropped with the task, which resets it.
            return Poll::Ready(());
        }
        let polled = this.stream.poll(cx).map(drop);
        if polled.is_pending() {
            sending.waits(cx);
        }
        polled
    }
}
