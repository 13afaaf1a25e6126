//! Hostile HTTP: connections that are held, heads and bodies that never end, replies that are never read.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::ground::{Ask, Ground};

/// Longest wait for one step of an attacker, which then tries something else.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Pause before a connection that was refused or cut is opened again: an attacker is stubborn, but bounded.
const AGAIN: Duration = Duration::from_millis(50);
/// Receive buffer, in bytes, of a client that does not read. It is small, so that replies stay in the
/// server's memory.
const DEAF_BUFFER: u32 = 4 << 10;

/// A counter that attackers of one kind share.
pub(in crate::scenario) type Count = Arc<AtomicU64>;

/// Runs `size` attackers at once, again and again, until `until`. Each is given its number.
pub(super) async fn crowd<F, T>(size: usize, until: Instant, attacker: F)
where
    F: Fn(u64) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..size as u64 {
        let attacker = attacker(number);
        tasks.spawn(async move {
            let _cut = timeout_at(until, attacker).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Source address of the attackers. As in reality, it is another one than the innocents'.
const ATTACKERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn socket() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ATTACKERS, 0)))?;
    Ok(socket)
}

/// An attacker's connection.
async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    socket()?.connect(address).await
}

/// A connection with a receive buffer as small as the kernel allows.
pub(in crate::scenario) async fn deaf(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket()?;
    socket.set_recv_buffer_size(DEAF_BUFFER)?;
    socket.connect(address).await
}

/// Waits until the server ends the connection.
async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1_024];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// Opens so many connections to each address, sends `start` and holds them. Connections that are closed are
/// opened again.
pub(super) async fn hold(addresses: &[(SocketAddr, usize)], start: &'static [u8], until: Instant) -> String {
    let (opened, closed) = (Count::default(), Count::default());
    let each: Vec<SocketAddr> =
        addresses.iter().flat_map(|(address, count)| std::iter::repeat_n(*address, *count)).collect();
    crowd(each.len(), until, |number| {
        let address = each.get(number as usize).copied();
        let (opened, closed) = (Arc::clone(&opened), Arc::clone(&closed));
        async move {
            let Some(address) = address else { return };
            loop {
                if let Ok(Ok(mut stream)) = timeout(STEP_MAX, connect(address)).await {
                    opened.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(start).await.is_ok() {
                        until_closed(&mut stream).await;
                    }
                    closed.fetch_add(1, Ordering::Relaxed);
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!(
        "{} opened, {} closed by the server",
        opened.load(Ordering::Relaxed),
        closed.load(Ordering::Relaxed)
    )
}

/// Sends request heads at a byte a second.
pub(in crate::scenario) async fn slow_heads(
    address: SocketAddr,
    connections: usize,
    until: Instant,
) -> String {
    let opened = Count::default();
    crowd(connections, until, |_| {
        let opened = Arc::clone(&opened);
        async move {
            loop {
                if let Ok(mut stream) = connect(address).await {
                    opened.fetch_add(1, Ordering::Relaxed);
                    let head = b"GET /api/v10/gateway HTTP/1.1\r\nHost: a\r\nX-Slow: ";
                    let mut alive = stream.write_all(head).await.is_ok();
                    while alive {
                        sleep(Duration::from_secs(1)).await;
                        alive = stream.write_all(b"x").await.is_ok();
                    }
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} connections", opened.load(Ordering::Relaxed))
}

/// Sends requests with tokens of a valid form that belong to nobody.
pub(super) async fn unknown_tokens(address: SocketAddr, connections: usize, until: Instant) -> String {
    let (asked, answered) = (Count::default(), Count::default());
    crowd(connections, until, |number| {
        let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
        async move {
            let mut round = 0_u64;
            loop {
                let Ok(mut stream) = connect(address).await else {
                    sleep(AGAIN).await;
                    continue;
                };
                let mut buffer = vec![0; 4 << 10];
                loop {
                    round += 1;
                    let request = format!(
                        "GET /api/v10/users/@me HTTP/1.1\r\nHost: a\r\nAuthorization: Bot {}\r\n\r\n",
                        unknown_token(number, round)
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(request.as_bytes()).await.is_err() {
                        break;
                    }
                    match stream.read(&mut buffer).await {
                        Ok(read) if read > 0 => answered.fetch_add(1, Ordering::Relaxed),
                        Ok(_) | Err(_) => break,
                    };
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} asked, {} answered", asked.load(Ordering::Relaxed), answered.load(Ordering::Relaxed))
}

/// A token `base64url(user id).base64url(time).base64url(secret)` with a secret that belongs to nobody.
pub(super) fn unknown_token(number: u64, round: u64) -> String {
    format!("MTAwMDAwMDAwMDAwMDAwMDAw.AAAAAAAA.{:022}{:021}", number, round)
}

/// Opens so many connections at once, closes each when it is open, and begins again.
pub(super) async fn connect_storm(address: SocketAddr, connections: usize, until: Instant) -> String {
    let (connected, slowest_ms) = (Count::default(), Count::default());
    while Instant::now() < until {
        crowd(connections, until, |_| {
            let (connected, slowest_ms) = (Arc::clone(&connected), Arc::clone(&slowest_ms));
            async move {
                let begun = Instant::now();
                if connect(address).await.is_ok() {
                    connected.fetch_add(1, Ordering::Relaxed);
                    slowest_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                }
            }
        })
        .await;
        sleep(AGAIN).await;
    }
    format!(
        "{} connects, the slowest took {} ms",
        connected.load(Ordering::Relaxed),
        slowest_ms.load(Ordering::Relaxed)
    )
}

type Http2 = h2::client::SendRequest<Bytes>;

/// Opens an HTTP/2 connection that gives its streams this window; a task answers pings.
async fn http2(address: SocketAddr, window: u32) -> Option<(Http2, tokio::task::JoinHandle<()>)> {
    let stream = timeout(STEP_MAX, deaf(address)).await.ok()?.ok()?;
    let handshake = h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(stream);
    let (sender, connection) = timeout(STEP_MAX, handshake).await.ok()?.ok()?;
    let answering = tokio::spawn(async move {
        // It ends with the connection. That the connection was cut is what the attack counts.
        let _ended = connection.await;
    });
    Some((sender, answering))
}

/// Opens connections that send no request and answer pings.
pub(super) async fn idle_http2(addresses: &[(SocketAddr, usize)], until: Instant) -> String {
    let opened = Count::default();
    let each: Vec<SocketAddr> =
        addresses.iter().flat_map(|(address, count)| std::iter::repeat_n(*address, *count)).collect();
    crowd(each.len(), until, |number| {
        let address = each.get(number as usize).copied();
        let opened = Arc::clone(&opened);
        async move {
            let Some(address) = address else { return };
            loop {
                if let Some((sender, answering)) = http2(address, 65_535).await {
                    opened.fetch_add(1, Ordering::Relaxed);
                    let guard = AbortOnDrop(answering);
                    guard.ended().await;
                    drop(sender);
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} opened", opened.load(Ordering::Relaxed))
}

/// Ends a connection's task when the attacker ends.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl AbortOnDrop {
    async fn ended(mut self) {
        let _ended = (&mut self.0).await;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(ask: &Ask) -> Option<Request<()>> {
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(format!("http://{}{}", ask.address, ask.path))
        .body(())
        .ok()?;
    for (name, value) in &ask.headers {
        request.headers_mut().insert(*name, value.parse().ok()?);
    }
    Some(request)
}

/// Opens streams whose replies get no window. Streams that the server resets are opened again.
pub(super) async fn deaf_streams(ask: &Ask, connections: usize, streams: usize, until: Instant) -> String {
    let (opened, reset) = (Count::default(), Count::default());
    crowd(connections, until, |_| {
        let (ask, opened, reset) = (ask.clone(), Arc::clone(&opened), Arc::clone(&reset));
        async move {
            loop {
                let Some((sender, answering)) = http2(ask.address, 0).await else {
                    sleep(AGAIN).await;
                    continue;
                };
                let guard = AbortOnDrop(answering);
                let mut held = JoinSet::new();
                loop {
                    while held.len() < streams {
                        let (opened, reset) = (Arc::clone(&opened), Arc::clone(&reset));
                        let (sender, ask) = (sender.clone(), ask.clone());
                        held.spawn(async move { one_deaf_stream(sender, &ask, &opened, &reset).await });
                    }
                    // A stream ended. Another takes its place, unless the connection is gone.
                    if matches!(held.join_next().await, Some(Ok(false)) | Some(Err(_)) | None) {
                        break;
                    }
                }
                drop(guard);
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!(
        "{} streams, {} reset by the server",
        opened.load(Ordering::Relaxed),
        reset.load(Ordering::Relaxed)
    )
}

/// False if the connection can carry no more.
async fn one_deaf_stream(sender: Http2, ask: &Ask, opened: &Count, reset: &Count) -> bool {
    let Some(request) = request(ask) else { return false };
    let Ok(Ok(mut ready)) = timeout(STEP_MAX, sender.ready()).await else { return false };
    let empty = ask.method == Method::GET;
    let Ok((response, mut body)) = ready.send_request(request, empty) else { return false };
    opened.fetch_add(1, Ordering::Relaxed);
    if !empty && body.send_data(Bytes::from(ask.body.clone()), true).is_err() {
        return false;
    }
    // The head arrives without a window. The body does not, until the server gives up the stream.
    let Ok(answer) = response.await else { return true };
    let mut body = answer.into_body();
    if !matches!(body.data().await, Some(Ok(_))) {
        reset.fetch_add(1, Ordering::Relaxed);
    }
    // Without a pause an attacker that is cut off at once would only spin.
    sleep(AGAIN).await;
    true
}

/// Opens streams and resets them at once.
pub(super) async fn rapid_reset(ask: &Ask, connections: usize, until: Instant) -> String {
    let (opened, cut) = (Count::default(), Count::default());
    crowd(connections, until, |_| {
        let (ask, opened, cut) = (ask.clone(), Arc::clone(&opened), Arc::clone(&cut));
        async move {
            loop {
                if let Some((mut sender, answering)) = http2(ask.address, 65_535).await {
                    let guard = AbortOnDrop(answering);
                    while let Ok(Ok(mut ready)) = timeout(STEP_MAX, sender.ready()).await {
                        let Some(request) = request(&ask) else { return };
                        let Ok((_response, mut body)) = ready.send_request(request, false) else { break };
                        body.send_reset(h2::Reason::CANCEL);
                        opened.fetch_add(1, Ordering::Relaxed);
                        sender = ready;
                        // The connection's task needs this thread for each of its steps.
                        tokio::task::yield_now().await;
                    }
                    cut.fetch_add(1, Ordering::Relaxed);
                    drop(guard);
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} streams, {} connections cut", opened.load(Ordering::Relaxed), cut.load(Ordering::Relaxed))
}

/// Sends bodies whose last bytes never arrive.
pub(in crate::scenario) async fn unfinished_bodies(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    connections: usize,
    length: usize,
    until: Instant,
) -> String {
    let (begun, ended) = (Count::default(), Count::default());
    let authorization = token.map(|token| format!("Authorization: Bot {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{authorization}Content-Length: {length}\r\n\r\n"
    );
    let most = Bytes::from(vec![b' '; length - 16]);
    crowd(connections, until, |_| {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        let (head, most) = (head.clone(), most.clone());
        async move {
            loop {
                if let Ok(mut stream) = connect(address).await
                    && stream.write_all(head.as_bytes()).await.is_ok()
                {
                    begun.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(&most).await.is_ok() {
                        until_closed(&mut stream).await;
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!(
        "{} bodies begun, {} ended by the server",
        begun.load(Ordering::Relaxed),
        ended.load(Ordering::Relaxed)
    )
}

/// Sends HTTP/1.1 requests one after the other and never reads the replies.
pub(super) async fn deaf_replies(ground: &Ground, connections: usize, until: Instant) -> String {
    let sent = Count::default();
    let ask = ground.page_of_api();
    let mut request = format!("GET {} HTTP/1.1\r\nHost: a\r\n", ask.path);
    for (name, value) in &ask.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    crowd(connections, until, |_| {
        let (sent, request) = (Arc::clone(&sent), request.clone());
        async move {
            loop {
                if let Ok(mut stream) = deaf(ask.address).await {
                    // It sends until the server takes no more.
                    while matches!(timeout(STEP_MAX, stream.write_all(request.as_bytes())).await, Ok(Ok(())))
                    {
                        sent.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(20)).await;
                    }
                    sleep_until(Instant::now() + STEP_MAX).await;
                }
                sleep(AGAIN).await;
            }
        }
    })
    .await;
    format!("{} requests", sent.load(Ordering::Relaxed))
}
