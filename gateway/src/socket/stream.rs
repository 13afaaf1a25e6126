//! A client's socket: payloads in, batches of framed payloads out, each write bounded in time.
//!
//! tungstenite reads. Writes bypass its buffer, which would keep the capacity of the largest guild ever sent
//! for as long as the connection lasts. Instead a batch is framed into a buffer of its own, written in one
//! call and freed.

use std::{io, pin::pin, task::Poll, time::Duration};

use futures_util::{SinkExt, StreamExt, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{
            CloseFrame,
            frame::{
                FrameHeader,
                coding::{CloseCode as WireCode, Data, OpCode},
            },
        },
    },
};

use weir_connect::budget::{Account, Full, Hold};
use weir_proto::id::UserId;

use super::{
    compress::{self, ZlibStream},
    handshake_params::TransportCompression,
};
use crate::{Close, CloseCode, limits::memory::Accounts};

/// Time for a close frame to leave, and for reading what the client still sends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Most frames read in that time: four times what a client may send in a minute. Without a bound, reading
/// would cost as much as the client likes to send.
const PARTING_MAX: usize = 512;
/// Close codes with which a client says that it will not come back: its session ends.
const CLIENT_IS_DONE: [u16; 2] = [1000, 1001];

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A payload.
    Payload(String),
    /// A ping, which is answered, or a pong. It carries nothing but costs time, so it is counted like a
    /// payload.
    Control,
    /// The connection is over. `done`: the client said that it will not resume.
    Closed { done: bool },
}

/// Why a socket can no longer be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The client must be told this close.
    #[error(transparent)]
    Close(#[from] Close),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] tungstenite::Error),
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

fn too_slow(full: Full) -> Close {
    Close::fault(format!("the client reads too slowly: {full}"))
}

/// How outgoing payloads are packed.
enum Packing {
    Text,
    ZlibStream(ZlibStream),
    /// Identify's `compress`: each payload is compressed on its own.
    ZlibDocument,
}

/// A client's socket.
pub(crate) struct Socket<S> {
    stream: WebSocketStream<S>,
    packing: Packing,
    accounts: Accounts,
    write_timeout: Duration,
    /// Framed payloads that were not written yet; the handshake's answer comes before the first of them.
    batch: Vec<u8>,
    /// True while a write is under way. If that write is dropped half-way, no frame may follow.
    torn: bool,
    /// Until when the answer to the last ping must have left. Nothing is read before that, so that a client
    /// that pings and does not read makes us hold one pong and no more.
    pong_due: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// `answer` is the handshake's answer; it goes out with the first payload.
    pub(crate) fn new(
        stream: WebSocketStream<S>,
        answer: Vec<u8>,
        compression: TransportCompression,
        write_timeout: Duration,
        accounts: Accounts,
    ) -> Self {
        let packing = match compression {
            TransportCompression::None => Packing::Text,
            TransportCompression::ZlibStream => Packing::ZlibStream(ZlibStream::new()),
        };
        Self { stream, packing, accounts, write_timeout, batch: answer, torn: false, pong_due: None }
    }

    /// From here on each payload is a zlib document of its own, unless the transport compresses already.
    pub(crate) fn compress_payloads(&mut self) {
        if let Packing::Text = self.packing {
            self.packing = Packing::ZlibDocument;
        }
    }

    /// Notes that the client has a session of `user`. From here on it gets a compressor, if it asked for one
    /// and there is room, and what it holds counts for the user.
    pub(crate) fn begin_session(&mut self, user: UserId) {
        self.accounts.begin_session(user);
        if let Packing::ZlibStream(stream) = &mut self.packing {
            stream.begin_compressing(&self.accounts.codecs());
        }
    }

    /// The account for what is rendered while the session begins.
    pub(crate) fn introductions(&self) -> Account {
        self.accounts.introductions()
    }

    /// Counts bytes that wait for the client, until the result is dropped.
    ///
    /// # Errors
    /// 4000 if the client, its token or all clients together hold as many bytes as they may. The client may
    /// resume and read on.
    pub(crate) fn wait_with(&self, bytes: usize) -> Result<Hold, Close> {
        self.accounts.wait_with(bytes).map_err(too_slow)
    }

    /// The next payload.
    ///
    /// # Errors
    /// 4002 for a payload that is too long or no text, 4000 if the answer to a ping does not leave within the
    /// write timeout, or the failure of the connection.
    ///
    /// # Cancel safety
    /// Safe: no payload is lost.
    pub(crate) async fn receive(&mut self) -> Result<Inbound, SocketError> {
        if let Some(due) = self.pong_due {
            match timeout_at(due, self.stream.flush()).await {
                Ok(flushed) => flushed?,
                Err(_) => return Err(Close::fault("the client reads too slowly").into()),
            }
            self.pong_due = None;
        }
        let message = match self.stream.next().await {
            None => return Ok(Inbound::Closed { done: false }),
            Some(Err(tungstenite::Error::Capacity(_))) => {
                return Err(Close::new(CloseCode::Decode, "a payload has at most 4096 bytes").into());
            }
            Some(Err(tungstenite::Error::Utf8(_))) => {
                return Err(Close::new(CloseCode::Decode, "a payload is UTF-8").into());
            }
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => message,
        };
        match message {
            Message::Text(text) => Ok(Inbound::Payload(text.as_str().to_owned())),
            Message::Binary(bytes) => match String::from_utf8(bytes.to_vec()) {
                // Some libraries send JSON in binary frames.
                Ok(text) => Ok(Inbound::Payload(text)),
                Err(_) => Err(Close::new(CloseCode::Decode, "a payload is UTF-8").into()),
            },
            Message::Close(frame) => {
                let done = frame.is_some_and(|frame| CLIENT_IS_DONE.contains(&frame.code.into()));
                Ok(Inbound::Closed { done })
            }
            Message::Ping(_) => {
                self.pong_due = Some(Instant::now() + self.write_timeout);
                Ok(Inbound::Control)
            }
            Message::Pong(_) | Message::Frame(_) => Ok(Inbound::Control),
        }
    }

    /// Adds a payload to the batch.
    pub(crate) fn queue(&mut self, payload: &str) -> Result<(), SocketError> {
        let packed;
        let failed = |_| Close::fault("the compressor failed");
        let (opcode, bytes) = match &mut self.packing {
            Packing::Text => (Data::Text, payload.as_bytes()),
            Packing::ZlibStream(stream) => {
                packed = stream.message(payload.as_bytes()).map_err(failed)?;
                (Data::Binary, packed.as_slice())
            }
            Packing::ZlibDocument => {
                packed = compress::document(payload.as_bytes()).map_err(failed)?;
                (Data::Binary, packed.as_slice())
            }
        };
        let header = FrameHeader { opcode: OpCode::Data(opcode), ..FrameHeader::default() };
        let length = bytes.len() as u64;
        self.batch.reserve(header.len(length) + bytes.len());
        header.format(length, &mut self.batch)?;
        self.batch.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes in the batch.
    pub(crate) fn queued(&self) -> usize {
        self.batch.len()
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// 4000 if the client does not read it within the write timeout, or the failure of the connection.
    ///
    /// # Cancel safety
    /// Not safe: a frame may be half written. Only [`Socket::close`] may follow, and it then only drops the
    /// connection.
    pub(crate) async fn flush(&mut self) -> Result<(), SocketError> {
        if self.torn {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let length = batch.len();
        self.torn = true;
        let write = async {
            // A pong or close that tungstenite holds must not come between our bytes.
            self.stream.flush().await?;
            let stream = self.stream.get_mut();
            stream.write_all(&batch).await?;
            stream.flush().await?;
            Ok::<(), SocketError>(())
        };
        let mut write = pin!(write);
        // The socket nearly always takes everything at once, so only a write that must wait is counted.
        let written = match poll!(write.as_mut()) {
            Poll::Ready(written) => Ok(written),
            Poll::Pending => {
                let _held = self.accounts.wait_with(length).map_err(too_slow)?;
                timeout(self.write_timeout, write).await
            }
        };
        match written {
            Ok(written) => {
                written?;
                self.torn = false;
                Ok(())
            }
            Err(_) => Err(Close::fault("the client reads too slowly").into()),
        }
    }

    /// Sends one payload.
    ///
    /// # Errors
    /// As [`Socket::flush`].
    pub(crate) async fn send(&mut self, payload: &str) -> Result<(), SocketError> {
        self.queue(payload)?;
        self.flush().await
    }

    /// Sends a close frame with the reason and closes, within a second.
    pub(crate) async fn close(self, close: &Close) {
        let code = WireCode::from(close.code.number());
        self.end(CloseFrame { code, reason: close.reason.as_ref().into() }).await;
    }

    /// Ends a connection that its client ended, within a second. The client's close frame is answered with
    /// its own code, as RFC 6455 (5.5.1) demands; otherwise every orderly close looks like a broken
    /// connection (1006) to the client. A client that broke the protocol is told 1002.
    pub(crate) async fn finish(self) {
        self.end(CloseFrame { code: WireCode::Protocol, reason: "".into() }).await;
    }

    /// Writes this close frame, or the answer to the client's own if that came first; tungstenite has it
    /// ready by then. What the client sent meanwhile is read and dropped, so that no reset overtakes the
    /// frame.
    async fn end(mut self, frame: CloseFrame) {
        if self.torn {
            return;
        }
        let said = async {
            // This fails if the client's frame came first: then reading on sends the answer.
            drop(self.stream.close(Some(frame)).await);
            for _ in 0..PARTING_MAX {
                if self.stream.next().await.is_none_or(|read| read.is_err()) {
                    return;
                }
            }
            // A client that sends more does not listen. Nothing more is read, and it has the rest of the time
            // to read the frame.
            std::future::pending::<()>().await;
        };
        // This is best effort: the connection ends either way.
        let _ = timeout(CLOSE_TIMEOUT, said).await;
    }
}
