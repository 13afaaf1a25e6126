//! Control frames: they are counted like payloads, and a client that pings without reading makes the gateway
//! hold one pong.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;
use weir_gateway::GatewayConfig;

use crate::{
    client::Client,
    world::{BOT, World},
};

/// Bytes that a pipe of these tests holds each way.
const PIPE: usize = 1 << 10;
/// Most bytes that the gateway takes from a client to which it cannot write: its read buffer of 512 bytes
/// grown once, what fits the pipes as pongs, and the pong that waits.
const TAKEN_MAX: usize = 4 << 10;

/// A masked ping with the longest payload.
fn ping() -> Vec<u8> {
    let mut frame = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    frame.resize(6 + 125, b'x');
    frame
}

#[tokio::test(start_paused = true)]
async fn who_pings_at_line_rate_and_never_reads_is_held_a_bounded_number_of_bytes_and_cut() {
    for identified in [false, true] {
        let world = World::new(true, 1_000);
        // Without the count of events, so that only the reading stops it.
        let config = GatewayConfig { events_max: u32::MAX, ..GatewayConfig::default() };
        let gateway = world.gateway(config).await;
        let mut stream = gateway.pipe(PIPE);
        if identified {
            let mut client = Client::ready_over(stream, "/?v=10", BOT, 1).await;
            client.dispatch("GUILD_CREATE").await;
            stream = client.ws.into_inner();
        } else {
            stream = Client::over(stream, "/?v=10").await.ws.into_inner();
        }
        let mut written = 0;
        let flood = async {
            let ping = ping();
            // The most that the test writes: a gateway without a bound takes all of it.
            while written < 64 * TAKEN_MAX {
                // A write may end within a frame; the next one goes on there.
                written += stream.write(&ping[written % ping.len()..]).await.unwrap();
            }
        };
        assert!(timeout(Duration::from_secs(5), flood).await.is_err(), "{written} bytes were taken");
        assert!(written <= PIPE + TAKEN_MAX, "{written}");
        // No progress for the write timeout: the connection ends.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection is still open, identified: {identified}");
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_are_counted_with_the_payloads() {
    let (_world, gateway) = World::with_gateway(true, 1_000).await;
    for pong in [false, true] {
        let mut client = Client::connect(&gateway).await;
        client.hello().await;
        let frame = || {
            if pong { Message::Pong(b"x".as_slice().into()) } else { Message::Ping(b"x".as_slice().into()) }
        };
        for _ in 0..120 {
            client.ws.send(frame()).await.unwrap();
            if !pong {
                assert!(matches!(client.ws.next().await, Some(Ok(Message::Pong(_)))));
            }
        }
        client.ws.send(frame()).await.unwrap();
        assert_eq!(client.closed().await, 4008);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_after_it_was_closed_is_not_read_without_end() {
    /// Frames that are counted, those read after the close, and what fits the pipe and the read buffer; the
    /// test offers ten times as much.
    const TAKEN_MAX: usize = (120 + 512) * (6 + 125) + (64 << 10);
    let (_world, gateway) = World::with_gateway(true, 1_000).await;
    let stream = Client::over(gateway.pipe(PIPE), "/?v=10").await.ws.into_inner();
    let (mut reads, mut writes) = tokio::io::split(stream);
    // The pongs and the close are taken, so that nothing else stops the gateway.
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await });
    let mut written = 0;
    let flood = async {
        let ping = ping();
        while written < 10 * TAKEN_MAX {
            match writes.write(&ping[written % ping.len()..]).await {
                Ok(taken) => written += taken,
                Err(_closed) => break,
            }
        }
    };
    timeout(Duration::from_secs(60), flood).await.expect("the connection ends");
    assert!(written <= TAKEN_MAX, "{written} bytes were taken");
    drop(reading);
}
