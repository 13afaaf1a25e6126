//! A WebSocket client as a library would be: it keeps the last `s` and checks what every client may rely on.

use std::time::Duration;

use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::world::{Running, token};

/// GUILDS, GUILD_MESSAGES, GUILD_MESSAGE_TYPING, DIRECT_MESSAGES, DIRECT_MESSAGE_TYPING, MESSAGE_CONTENT.
pub(crate) const INTENTS: u64 = 1 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15;
/// Longer than any answer takes, shorter than a heartbeat is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const PIPE: usize = 1 << 20;

/// What a client may receive.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    Payload(Value),
    Closed(u16),
    /// The connection ended without a close frame.
    Cut,
}

pub(crate) struct Client<S = DuplexStream> {
    pub(crate) ws: WebSocketStream<S>,
    inflate: Option<Decompress>,
    pub(crate) seq: Option<u64>,
    pub(crate) session_id: String,
}

impl Client {
    pub(crate) async fn connect(gateway: &Running) -> Self {
        Self::connect_to(gateway, "/?v=10&encoding=json").await
    }

    pub(crate) async fn connect_to(gateway: &Running, path: &str) -> Self {
        Self::over(gateway.pipe(PIPE), path).await
    }

    /// Connects and identifies.
    pub(crate) async fn identifying(gateway: &Running, user_id: u64, intents: u64) -> Self {
        let mut client = Self::connect(gateway).await;
        client.hello().await;
        client.identify(user_id, intents).await;
        client
    }

    /// Connects and identifies; swallows READY.
    pub(crate) async fn ready(gateway: &Running, user_id: u64, intents: u64) -> Self {
        Self::ready_over(gateway.pipe(PIPE), "/?v=10&encoding=json", user_id, intents).await
    }

    /// Connects and identifies; swallows READY and the guilds.
    pub(crate) async fn identified(gateway: &Running, user_id: u64) -> Self {
        Self::identified_with(gateway, user_id, INTENTS).await
    }

    pub(crate) async fn identified_with(gateway: &Running, user_id: u64, intents: u64) -> Self {
        let mut client = Self::identifying(gateway, user_id, intents).await;
        let ready = client.dispatch("READY").await;
        for _ in ready["guilds"].as_array().unwrap() {
            client.dispatch("GUILD_CREATE").await;
        }
        client
    }

    /// Begins a session and leaves it: its id, and the last number that was sent.
    pub(crate) async fn left(gateway: &Running, user_id: u64) -> (String, u64) {
        let client = Self::identified(gateway, user_id).await;
        (client.session_id.clone(), client.last_seq())
    }

    /// Connects anew and asks to resume this session from `seq`.
    pub(crate) async fn resuming(gateway: &Running, user_id: u64, session_id: &str, seq: u64) -> Self {
        Self::resuming_over(gateway.pipe(PIPE), user_id, session_id, seq).await
    }

    pub(crate) async fn resuming_over(
        stream: DuplexStream,
        user_id: u64,
        session_id: &str,
        seq: u64,
    ) -> Self {
        let mut client = Self::over(stream, "/?v=10").await;
        client.hello().await;
        client.seq = Some(seq);
        client.session_id = session_id.to_owned();
        let d = json!({"token": token(user_id).reveal(), "session_id": session_id, "seq": seq});
        client.send(json!({"op": 6, "d": d})).await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn over(stream: S, path: &str) -> Self {
        let (ws, _) = client_async(format!("ws://gateway{path}"), stream).await.unwrap();
        let inflate = path.contains("zlib-stream").then(|| Decompress::new(true));
        Self { ws, inflate, seq: None, session_id: String::new() }
    }

    /// The same as [`Client::ready`], over any stream.
    pub(crate) async fn ready_over(stream: S, path: &str, user_id: u64, intents: u64) -> Self {
        let mut client = Self::over(stream, path).await;
        client.hello().await;
        client.identify(user_id, intents).await;
        client.dispatch("READY").await;
        client
    }

    pub(crate) async fn send(&mut self, payload: Value) {
        self.ws.send(Message::text(payload.to_string())).await.unwrap();
    }

    pub(crate) async fn hello(&mut self) -> Value {
        let hello = self.payload().await;
        assert_eq!(hello["op"], 10, "hello comes first: {hello}");
        hello
    }

    pub(crate) async fn identify(&mut self, user_id: u64, intents: u64) {
        let token = format!("Bot {}", token(user_id).reveal());
        let d = json!({"token": token, "intents": intents, "properties": {"os": "test"}});
        self.send(json!({"op": 2, "d": d})).await;
    }

    /// The next payload or end.
    pub(crate) async fn receive(&mut self) -> Received {
        loop {
            let message = match timeout(PATIENCE, self.ws.next()).await.expect("an answer") {
                None | Some(Err(_)) => return Received::Cut,
                Some(Ok(message)) => message,
            };
            let text = match (message, &mut self.inflate) {
                (Message::Text(text), None) => text.as_str().to_owned(),
                (Message::Binary(bytes), Some(context)) => {
                    assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]), "each message ends in the flush marker");
                    inflate(context, &bytes)
                }
                (Message::Binary(bytes), None) => inflate(&mut Decompress::new(true), &bytes),
                (Message::Close(frame), _) => {
                    return frame.map_or(Received::Cut, |frame| Received::Closed(frame.code.into()));
                }
                (Message::Ping(_) | Message::Pong(_), _) => continue,
                (other, _) => panic!("not a frame a gateway sends: {other:?}"),
            };
            let payload: Value = serde_json::from_str(&text).unwrap();
            if payload["op"] == 0 {
                self.take_seq(&payload);
            }
            return Received::Payload(payload);
        }
    }

    fn take_seq(&mut self, payload: &Value) {
        let s = payload["s"].as_u64().unwrap();
        let outside = ["TYPING_START", "RESUMED", "GUILD_MEMBERS_CHUNK", "RATE_LIMITED"]
            .iter()
            .any(|name| payload["t"] == *name);
        match self.seq {
            Some(last) if outside => assert_eq!(s, last, "what is outside the log repeats s: {payload}"),
            Some(last) => assert!(s > last, "s rises: {last} then {payload}"),
            None => assert_eq!((s, &payload["t"]), (1, &json!("READY"))),
        }
        self.seq = Some(s);
        if payload["t"] == "READY" {
            self.session_id = payload["d"]["session_id"].as_str().unwrap().to_owned();
        }
    }

    pub(crate) async fn payload(&mut self) -> Value {
        match self.receive().await {
            Received::Payload(payload) => payload,
            other => panic!("a payload, not {other:?}"),
        }
    }

    /// The `d` of the next payload, which is this dispatch.
    pub(crate) async fn dispatch(&mut self, name: &str) -> Value {
        let mut payload = self.payload().await;
        assert_eq!(payload["t"], name, "{payload}");
        payload["d"].take()
    }

    /// The content of the next payload, which is a MESSAGE_CREATE.
    pub(crate) async fn message(&mut self) -> String {
        self.dispatch("MESSAGE_CREATE").await["content"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn closed(&mut self) -> u16 {
        match self.receive().await {
            Received::Closed(code) => code,
            other => panic!("a close, not {other:?}"),
        }
    }

    /// Asserts that nothing comes for a second (of paused time).
    pub(crate) async fn quiet(&mut self) {
        if let Ok(message) = timeout(Duration::from_secs(1), self.ws.next()).await {
            panic!("nothing, not {message:?}");
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.seq.unwrap()
    }
}

fn inflate(context: &mut Decompress, message: &[u8]) -> String {
    let mut out = Vec::with_capacity(64 << 10);
    let before = context.total_in();
    context.decompress_vec(message, &mut out, FlushDecompress::Sync).unwrap();
    assert_eq!(context.total_in() - before, message.len() as u64, "fits the buffer");
    String::from_utf8(out).unwrap()
}
