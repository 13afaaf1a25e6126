//! The HTTP half of the handshake: one request head is read within a bound, and answered with 101 or with a
//! refusal in plain text.
//!
//! tungstenite parses the head and computes the answer. We read and write ourselves, because its own
//! handshake drops a request that is no upgrade without an answer, and a person with a browser deserves one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self,
        handshake::{
            machine::TryParse,
            server::{Request, create_response, write_response},
        },
        protocol::{Role, WebSocketConfig},
    },
};

use super::handshake_params::{self, HandshakeParams, ParamsError};
use crate::Close;

/// Bytes of a request head, including the headers of proxies.
const HEAD_MAX: usize = 8 << 10;
/// Bytes of a refused request that are read and dropped.
const UNREAD_MAX: u64 = 64 << 10;
/// Bytes read at once.
const READ: usize = 1 << 10;
/// Longest payload a client may send, bytes. Discord's number.
pub(crate) const PAYLOAD_MAX: usize = 4_096;
/// Bytes of a connection's read buffer. It grows to a longer payload and no further. The library's default of
/// 128 KiB would be the largest part of an idle connection.
const READ_BUFFER: usize = 512;

/// Most bytes of pongs and closes that wait in tungstenite's buffer, which has no bound by default. A control
/// frame has at most 127 bytes, and [`super::stream`] reads nothing while a pong is unsent, so a pong and a
/// close always fit.
const WRITE_BUFFER_MAX: usize = 512;

/// Result of a handshake.
#[derive(Debug)]
pub(crate) enum Upgrade<S> {
    /// A WebSocket with the parameters of its URL, or with the close to send at once.
    Open {
        socket: Box<WebSocketStream<S>>,
        /// The answer of the handshake. It is written together with the first payload, which saves a packet
        /// for each connection.
        answer: Vec<u8>,
        params: Result<HandshakeParams, Close>,
        /// What proxies say about the client's address, in the order of the request. Only trusted proxies are
        /// believed.
        forwarded: Vec<String>,
    },
    /// The request was answered with a refusal.
    Refused,
}

/// Reads a request head. A WebSocket request is answered by its caller, any other request here. Every path is
/// accepted, because client libraries append paths of their own.
///
/// # Errors
/// The failure of the stream. The caller bounds the time.
///
/// # Cancel safety
/// Not safe: the connection is of no use afterwards.
pub(crate) async fn accept<S>(mut stream: S) -> io::Result<Upgrade<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::with_capacity(READ);
    let (request, length) = loop {
        match Request::try_parse(&head) {
            Ok(Some((length, request))) => break (request, length),
            Ok(None) if head.len() < HEAD_MAX => {}
            Ok(None) => {
                return refuse(stream, "431 Request Header Fields Too Large", "the request head is too long")
                    .await;
            }
            Err(_) => return refuse(stream, "400 Bad Request", "not a WebSocket request").await,
        }
        head.reserve(READ);
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(Upgrade::Refused);
        }
    };
    let params = match handshake_params::parse(request.uri().query()) {
        Ok(params) => Ok(params),
        Err(ParamsError::Close(close)) => Err(close),
        Err(error @ ParamsError::Compression { .. }) => {
            return refuse(stream, "400 Bad Request", &error.to_string()).await;
        }
    };
    let mut answer = Vec::with_capacity(256);
    let made = create_response(&request).and_then(|response| write_response(&mut answer, &response));
    if let Err(error) = made {
        let text = format!("this is the gateway: connect with a WebSocket ({error})");
        let status = if matches!(error, tungstenite::Error::Protocol(_)) {
            "426 Upgrade Required"
        } else {
            "400 Bad Request"
        };
        return refuse(stream, status, &text).await;
    }
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    let forwarded = forwarded.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    let early = head.split_off(length);
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER;
    // Payloads are framed and written by `stream`; only pongs and closes pass through this buffer.
    config.write_buffer_size = 0;
    config.max_write_buffer_size = WRITE_BUFFER_MAX;
    config.max_message_size = Some(PAYLOAD_MAX);
    config.max_frame_size = Some(PAYLOAD_MAX);
    let socket = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
    Ok(Upgrade::Open { socket: Box::new(socket), answer, params, forwarded })
}

/// Refuses with a text, before any handshake.
///
/// # Errors
/// The failure of the stream. The caller bounds the time: this waits for a client that does not close.
pub(crate) async fn refuse<S>(mut stream: S, status: &str, text: &str) -> io::Result<Upgrade<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1,
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the answer would be lost.
    tokio::io::copy(&mut stream.take(UNREAD_MAX), &mut tokio::io::sink()).await?;
    Ok(Upgrade::Refused)
}
