//! Hostile WebSocket clients, written on bare sockets, because a library would answer, read and behave.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    ground::Ground,
    http::{Count, crowd, deaf, unknown_token},
};

/// Longest wait for one step.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Pause before a connection that was refused or cut is opened again.
const AGAIN: Duration = Duration::from_millis(50);
/// Pings in one write.
const PINGS: usize = 500;
/// Opcodes of RFC 6455.
const TEXT: u8 = 1;
const PING: u8 = 9;

/// How the sessions of an attack identify.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Hello {
    /// Query parameters besides version and encoding.
    pub(in crate::scenario) query: &'static str,
    pub(in crate::scenario) intents: u64,
    /// True if the session reads what it receives. Otherwise it stays connected and never reads.
    pub(in crate::scenario) reads: bool,
}

/// A masked frame; the mask is zero, which the protocol allows.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        // The lengths are below 126 and below 2^16, so they fit.
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The request head that asks for a WebSocket.
pub(in crate::scenario) fn upgrade(query: &str) -> String {
    format!(
        "GET /?v=10&encoding=json{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Opens a connection and completes its handshake.
async fn open(address: SocketAddr, query: &str) -> Option<TcpStream> {
    let mut stream = timeout(STEP_MAX, deaf(address)).await.ok()?.ok()?;
    stream.write_all(upgrade(query).as_bytes()).await.ok()?;
    let mut start = [0; 12];
    timeout(STEP_MAX, stream.read_exact(&mut start)).await.ok()?.ok()?;
    (start == *b"HTTP/1.1 101").then_some(stream)
}

/// Sends pings of the longest kind as fast as they leave, and reads nothing.
pub(super) async fn ping_flood(address: SocketAddr, connections: usize, until: Instant) -> String {
    let (sent, cut) = (Count::default(), Count::default());
    let pings: Vec<u8> = frame(PING, &[b'x'; 125]).repeat(PINGS);
    crowd(connections, until, |_| {
        let (sent, cut, pings) = (Arc::clone(&sent), Arc::clone(&cut), pings.clone());
        async move {
            loop {
                if let Some(mut stream) = open(address, "").await {
                    while stream.write_all(&pings).await.is_ok() {
                        sent.fetch_add(PINGS as u64, Ordering::Relaxed);
                    }
                    cut.fetch_add(1, Ordering::Relaxed);
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} pings, {} connections cut", sent.load(Ordering::Relaxed), cut.load(Ordering::Relaxed))
}

/// Opens connections and then stays silent.
pub(in crate::scenario) async fn never_identify(
    address: SocketAddr,
    connections: usize,
    until: Instant,
) -> String {
    let opened = Count::default();
    crowd(connections, until, |_| {
        let opened = Arc::clone(&opened);
        async move {
            loop {
                if let Some(mut stream) = open(address, "&compress=zlib-stream").await {
                    opened.fetch_add(1, Ordering::Relaxed);
                    let mut buffer = [0; 256];
                    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} opened", opened.load(Ordering::Relaxed))
}

/// The frame of Identify.
pub(in crate::scenario) fn identify(token: &str, intents: u64) -> Vec<u8> {
    let properties = r#"{"os":"linux","browser":"attack","device":"attack"}"#;
    let payload =
        format!(r#"{{"op":2,"d":{{"token":"{token}","intents":{intents},"properties":{properties}}}}}"#);
    frame(TEXT, payload.as_bytes())
}

/// Identifies with tokens that belong to nobody.
pub(in crate::scenario) async fn unknown_identify(
    address: SocketAddr,
    connections: usize,
    until: Instant,
) -> String {
    let tried = Count::default();
    crowd(connections, until, |number| {
        let tried = Arc::clone(&tried);
        async move {
            for round in 0_u64.. {
                if let Some(mut stream) = open(address, "").await {
                    tried.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(&identify(&unknown_token(number, round), 1)).await.is_ok() {
                        let mut buffer = [0; 1_024];
                        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
                    }
                } else {
                    sleep(AGAIN).await;
                }
            }
        }
    })
    .await;
    format!("{} tried", tried.load(Ordering::Relaxed))
}

/// Opens sessions with the attacker's token: they are read and left at once, or kept and never read.
pub(in crate::scenario) async fn sessions(
    ground: &Ground,
    hello: Hello,
    connections: usize,
    until: Instant,
) -> String {
    let identified = Count::default();
    let address = ground.gateway;
    let identify = identify(&ground.token, hello.intents);
    crowd(connections, until, |_| {
        let (identified, identify) = (Arc::clone(&identified), identify.clone());
        async move {
            loop {
                if let Some(mut stream) = open(address, hello.query).await
                    && stream.write_all(&identify).await.is_ok()
                {
                    identified.fetch_add(1, Ordering::Relaxed);
                    if hello.reads {
                        // HELLO, READY and the first guild, as far as they arrive within a moment.
                        let mut buffer = vec![0; 16 << 10];
                        let read =
                            async { while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {} };
                        let _left = timeout(Duration::from_millis(100), read).await;
                        continue;
                    }
                    // Without reading, only a failed write shows the connection's end.
                    while stream.write_all(&frame(TEXT, br#"{"op":1,"d":null}"#)).await.is_ok() {
                        sleep(Duration::from_secs(1)).await;
                    }
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} identifies sent", identified.load(Ordering::Relaxed))
}

/// Payloads that a connection sends before it leaves. With the one that resumes they are as many as it may
/// send in a minute.
const BEFORE_LEAVING: usize = 118;

/// Opens sessions that each time request a hundred members that do not exist, as fast as they may. Then they
/// leave and resume, because a new connection's payloads are counted anew. They read none of the answers.
pub(in crate::scenario) async fn member_requests(
    ground: &Ground,
    connections: usize,
    until: Instant,
) -> String {
    let (asked, resumed) = (Count::default(), Count::default());
    let (address, guild) = (ground.gateway, ground.guild);
    crowd(connections, until, |number| {
        let (asked, resumed, token) = (Arc::clone(&asked), Arc::clone(&resumed), ground.token.clone());
        async move {
            let mut session: Option<String> = None;
            let mut next = (number + 1) << 40;
            loop {
                let Some(mut stream) = open(address, "").await else {
                    sleep(AGAIN).await;
                    continue;
                };
                let first = match &session {
                    Some(id) => resume(&token, id),
                    None => identify(&token, 3),
                };
                let mut alive = stream.write_all(&first).await.is_ok();
                if session.is_some() {
                    resumed.fetch_add(1, Ordering::Relaxed);
                } else {
                    session = session_of(&mut stream).await;
                    alive &= session.is_some();
                }
                if !alive {
                    // A token may identify only once in a while.
                    sleep(AGAIN).await;
                    continue;
                }
                for _ in 0..BEFORE_LEAVING {
                    let ids: Vec<String> = (next..next + 100).map(|id| format!("\"{id}\"")).collect();
                    next += 100;
                    let request = format!(
                        r#"{{"op":8,"d":{{"guild_id":"{}","user_ids":[{}]}}}}"#,
                        guild,
                        ids.join(",")
                    );
                    if stream.write_all(&frame(TEXT, request.as_bytes())).await.is_err() {
                        break;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                // This gives the server time to read them.
                sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
    format!("{} requests, {} resumes", asked.load(Ordering::Relaxed), resumed.load(Ordering::Relaxed))
}

/// The frame that resumes a session, from its READY on.
fn resume(token: &str, session: &str) -> Vec<u8> {
    let payload = format!(r#"{{"op":6,"d":{{"token":"{token}","session_id":"{session}","seq":1}}}}"#);
    frame(TEXT, payload.as_bytes())
}

/// Most bytes that are read to find READY, which arrives among the first.
const READY_MAX: usize = 64 << 10;

/// The session id in READY; `None` if no READY arrives.
async fn session_of(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let found = async {
        while read.len() < READY_MAX && stream.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&read);
            if let Some((_, rest)) = text.split_once(r#""session_id":""#)
                && let Some((id, _)) = rest.split_once('"')
            {
                return Some(id.to_owned());
            }
        }
        None
    };
    timeout(Duration::from_secs(1), found).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked_and_as_long_as_they_say() {
        assert_eq!(frame(PING, b"ab"), [0x89, 0x82, 0, 0, 0, 0, b'a', b'b']);
        let long = frame(TEXT, &[b'x'; 300]);
        assert_eq!(long[..4], [0x81, 0x80 | 126, 1, 44]);
        assert_eq!(long.len(), 4 + 4 + 300);
    }
}
