//! A TCP stream that detects its protocol and bounds how long a write may stall.
//!
//! hyper-util's automatic detection has no time limit for the first bytes, so a client that connects and
//! stays silent would hold its connection for ever. Here detection is a step of its own that the caller can
//! time. Neither HTTP/1.1 nor HTTP/2 times a write, so a client that stops reading would hold its reply for
//! ever. A client that is asked to slow down ([`super::SlowDown`]) is not read for a while, whatever its
//! protocol: what it sends waits in its own buffers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connected::Connected;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Whether `bytes` already decide the protocol; `None` while they are a true prefix of HTTP/2's preface.
fn decide(bytes: &[u8]) -> Option<Protocol> {
    if !HTTP2_PREFACE.starts_with(bytes) {
        Some(Protocol::Http1)
    } else if bytes.len() == HTTP2_PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

/// The stream with the bytes that detection took from it put back.
pub(super) struct Socket {
    stream: TcpStream,
    // Bytes `given..taken` of `prefix` were read by detection, and the protocol has not read them yet.
    prefix: [u8; HTTP2_PREFACE.len()],
    given: usize,
    taken: usize,
    write_stall_timeout: Duration,
    // It runs while a write is blocked; any progress drops it. Boxed because most writes never block.
    stalled: Option<Pin<Box<Sleep>>>,
    peer: Arc<Connected>,
    // It runs while nothing is read.
    paused: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Reads until the protocol is known.
    ///
    /// # Errors
    /// The socket's errors of reading; `UnexpectedEof` if the client closes first.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn detect(
        mut stream: TcpStream,
        peer: Arc<Connected>,
        write_stall_timeout: Duration,
    ) -> io::Result<(Protocol, Socket)> {
        let mut prefix = [0; HTTP2_PREFACE.len()];
        let mut taken = 0;
        let protocol = loop {
            let read = stream.read(&mut prefix[taken..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            taken += read;
            if let Some(protocol) = decide(&prefix[..taken]) {
                break protocol;
            }
        };
        let socket = Socket {
            stream,
            prefix,
            given: 0,
            taken,
            write_stall_timeout,
            stalled: None,
            peer,
            paused: None,
        };
        Ok((protocol, socket))
    }

    /// Starts the stall timer when a write blocks, stops it when one makes progress, and fails the write when
    /// the timer has run out.
    fn watch<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let limit = self.write_stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < self.taken {
            let end = self.taken.min(self.given + buffer.remaining());
            buffer.put_slice(&self.prefix[self.given..end]);
            self.given = end;
            return Poll::Ready(Ok(()));
        }
        if let Some(pause) = self.peer.take_pause() {
            self.paused = Some(Box::pin(tokio::time::sleep(pause)));
        }
        if let Some(paused) = &mut self.paused {
            ready!(paused.as_mut().poll(cx));
            self.paused = None;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A TCP stream has nothing of its own to flush, so only writes can stall.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_decides_at_its_first_difference_or_its_end() {
        assert_eq!(decide(b""), None);
        assert_eq!(decide(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(decide(HTTP2_PREFACE), Some(Protocol::Http2));
        assert_eq!(decide(b"POST /"), Some(Protocol::Http1));
        assert_eq!(decide(b"PRI * HTTP/1.1\r\n"), Some(Protocol::Http1));
    }
}
