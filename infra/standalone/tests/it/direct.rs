//! Tests direct messages through the whole stack: api, data service, bus and gateway of a real process, with
//! sockets of three users.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use weir_testkit::{Signal, http};

use crate::process::{Home, Server};

/// DIRECT_MESSAGES and DIRECT_MESSAGE_TYPING, without the intents of guilds and MESSAGE_CONTENT.
const INTENTS: u64 = 1 << 12 | 1 << 14;
/// Longest wait for a payload; delivery takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct User {
    id: String,
    token: String,
}

impl User {
    fn new(home: &Home, name: &str) -> Self {
        let made = home.ok(&["bot", "create", name]);
        let text = |key: &str| made[key].as_str().expect("text").to_owned();
        Self { id: text("user_id"), token: text("token") }
    }

    fn ask(&self, api: SocketAddr, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let authorization = format!("Bot {}", self.token);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = http(api, method, path, &headers, &body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn ok(&self, api: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(api, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn tell(&self, api: SocketAddr, other: &Self, content: &str) -> Value {
        self.ok(api, "POST", "/messages", &json!({"user": other.id, "content": content}))
    }
}

/// A gateway session on a socket of its user.
struct Session<'a> {
    runtime: &'a Runtime,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
    seq: u64,
}

impl<'a> Session<'a> {
    fn begin(runtime: &'a Runtime, server: &Server, user: &User) -> Self {
        let mut session = Self::connect(runtime, server);
        let d = json!({"token": user.token, "intents": INTENTS, "properties": {}});
        session.send(&json!({"op": 2, "d": d}));
        let ready = session.dispatch("READY");
        session.id = ready["session_id"].as_str().expect("text").to_owned();
        session
    }

    /// Continues the session on a new connection.
    fn resume(self, server: &Server, user: &User) -> Self {
        let mut again = Self::connect(self.runtime, server);
        (again.id, again.seq) = (self.id, self.seq);
        let d = json!({"token": user.token, "session_id": again.id, "seq": again.seq});
        again.send(&json!({"op": 6, "d": d}));
        again
    }

    fn connect(runtime: &'a Runtime, server: &Server) -> Self {
        let url = format!("ws://{}/?v=10&encoding=json", server.address("gateway"));
        let (socket, _) = runtime.block_on(connect_async(url)).expect("a socket");
        let mut session = Self { runtime, socket, id: String::new(), seq: 0 };
        assert_eq!(session.payload()["op"], 10, "hello comes first");
        session
    }

    fn send(&mut self, payload: &Value) {
        self.runtime.block_on(self.socket.send(Message::text(payload.to_string()))).expect("sent");
    }

    fn payload(&mut self) -> Value {
        let next = async { timeout(PATIENCE, self.socket.next()).await.expect("soon") };
        let message = self.runtime.block_on(next).expect("open").expect("a frame");
        let payload: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
        self.seq = payload["s"].as_u64().unwrap_or(self.seq);
        payload
    }

    /// The `d` of the next payload, which must be this dispatch.
    fn dispatch(&mut self, name: &str) -> Value {
        let mut payload = self.payload();
        assert_eq!(payload["t"], name, "{payload}");
        payload["d"].take()
    }
}

/// Two users talk, and a third does not receive anything. Returns the channel.
pub(crate) fn talk(home: &Home, server: &Server) -> String {
    let runtime = Runtime::new().expect("a runtime");
    let api = server.address("api");
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| User::new(home, name));
    let mut sessions = [&ann, &bob].map(|user| Session::begin(&runtime, server, user));
    let mut third = Session::begin(&runtime, server, &eve);

    let first = ann.tell(api, &bob, "between us");
    let channel = first["channel_id"].as_str().expect("an id").to_owned();
    let message = format!("/api/v10/channels/{channel}/messages/{}", first["id"].as_str().expect("an id"));
    ann.ok(api, "PATCH", &message, &json!({"content": "still"}));
    assert_eq!(bob.ask(api, "DELETE", &message, &Value::Null).1["code"], 50_003);
    ann.ok(api, "DELETE", &message, &Value::Null);
    for session in &mut sessions {
        // Both are bots, which receive the messages but not the channel's creation.
        let created = session.dispatch("MESSAGE_CREATE");
        assert_eq!((&created["content"], created.get("guild_id")), (&json!("between us"), None));
        assert_eq!(created["author"]["username"], "ann");
        assert_eq!(session.dispatch("MESSAGE_UPDATE")["content"], "still");
        assert_eq!(session.dispatch("MESSAGE_DELETE")["id"], first["id"]);
    }
    bob.ok(api, "POST", &format!("/api/v10/channels/{channel}/typing"), &Value::Null);
    for session in &mut sessions {
        assert_eq!(session.dispatch("TYPING_START")["user_id"], bob.id);
    }

    // One user disconnects and comes back.
    let [_, away] = sessions;
    let told: Vec<Value> = ["one", "two"].map(|word| ann.tell(api, &bob, word)["id"].clone()).into();
    let mut back = away.resume(server, &bob);
    // A bus between machines may deliver the last of them only after the replay.
    let (mut heard, mut resumed) = (Vec::new(), false);
    while heard.len() < told.len() || !resumed {
        let mut payload = back.payload();
        match payload["t"].as_str() {
            Some("RESUMED") => resumed = true,
            Some("MESSAGE_CREATE") => heard.push(payload["d"]["id"].take()),
            _ => panic!("neither a message nor the end of the replay: {payload}"),
        }
    }
    assert_eq!(heard, told);
    for (user, expected) in [(&ann, 200), (&bob, 200), (&eve, 403)] {
        let (status, page) = user.ask(api, "GET", &format!("/history?channel={channel}"), &Value::Null);
        assert_eq!(status, expected, "{page}");
    }

    // Both sides open the channel at once. The first thing that the third user receives is this.
    let openings = [(&ann, &eve), (&eve, &ann), (&ann, &eve), (&eve, &ann)];
    let opened: Vec<Value> = std::thread::scope(|scope| {
        let threads = openings.map(|(user, other)| {
            let open = move || {
                let body = json!({"recipient_id": other.id});
                user.ok(api, "POST", "/api/v10/users/@me/channels", &body)["id"].clone()
            };
            scope.spawn(open)
        });
        threads.map(|thread| thread.join().expect("answered")).into()
    });
    assert!(opened.iter().all(|id| *id == opened[0] && *id != json!(channel)), "{opened:?}");
    let opened = opened[0].as_str().expect("an id");
    eve.ok(api, "POST", &format!("/api/v10/channels/{opened}/messages"), &json!({"content": "found it"}));
    assert_eq!(third.dispatch("MESSAGE_CREATE")["channel_id"], opened);
    channel
}

#[test]
fn two_users_talk_and_a_third_hears_nothing() {
    let home = Home::new();
    let server = home.serve(&[]);
    talk(&home, &server);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_channel_its_messages_and_the_session_that_missed_them_survive_a_kill() {
    let home = Home::new();
    let server = home.serve(&[]);
    let runtime = Runtime::new().expect("a runtime");
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| User::new(&home, name));
    let session = Session::begin(&runtime, &server, &bob);
    let third = Session::begin(&runtime, &server, &eve);
    let first = ann.tell(server.address("api"), &bob, "acknowledged");
    server.signal(Signal::KILL);
    assert_eq!(server.wait(), None);

    let server = home.serve(&[]);
    // The log is read again for both sessions, but what it holds is for one of them.
    third.resume(&server, &eve).dispatch("RESUMED");
    let mut session = session.resume(&server, &bob);
    assert_eq!(session.dispatch("MESSAGE_CREATE")["id"], first["id"]);
    session.dispatch("RESUMED");
    let back = bob.tell(server.address("api"), &ann, "still here");
    assert_eq!(back["channel_id"], first["channel_id"]);
    assert_eq!(session.dispatch("MESSAGE_CREATE")["id"], back["id"]);
    assert_eq!(server.stop(), Some(0));
}
