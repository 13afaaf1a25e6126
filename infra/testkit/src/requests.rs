//! Requests over HTTP/1.1, each on a connection of its own.

use std::{
    io::{Error, ErrorKind, Read as _, Result, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for an answer. It is far above what any answer needs, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for the answer to a probe, which is repeated.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Sends a request. Returns the answer's status and body.
///
/// # Panics
/// If there is no answer within a minute, or it is not HTTP.
#[must_use]
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    ask(address, &request, PATIENCE).expect("an answer")
}

/// True if the admin listener at this address says within a second that its process can serve.
#[must_use]
pub fn is_ready(admin: SocketAddr) -> bool {
    let request = "GET /readyz HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n";
    ask(admin, request, PROBE_MAX).is_ok_and(|(status, _)| status == 200)
}

fn ask(address: SocketAddr, request: &str, patience: Duration) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let strange = || Error::new(ErrorKind::InvalidData, "the answer is no HTTP");
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
    Ok((status, body.to_owned()))
}
