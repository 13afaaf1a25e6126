//! One gateway client's side of the protocol, without sockets and clocks: it takes payloads, says what to do
//! next, and notes what was seen.
//!
//! It behaves as client libraries do. After a lost socket it resumes from the last number that it saw. After
//! INVALID_SESSION, or a close that ends the session, it identifies anew.

use serde_json::{Value, json};

use super::observed::{Bot, ChangeKind, Dispatch, Epoch, Micros, What};
use crate::rest;

/// GUILDS, GUILD_MESSAGES and MESSAGE_CONTENT.
const INTENTS: u64 = 1 | 1 << 9 | 1 << 15;
/// Close codes after which client libraries identify anew: a number that was never sent, a session that timed
/// out.
const SESSION_OVER: [u16; 2] = [4007, 4009];
/// Close codes after which client libraries stop for good.
const FATAL: [u16; 6] = [4004, 4010, 4011, 4012, 4013, 4014];

/// What the client must do after a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is to be done.
    Go,
    /// Send heartbeats with this interval, in milliseconds, and send [`Conversation::opening`].
    Hello(u64),
    /// Send a heartbeat now.
    Beat,
    /// The last heartbeat was acknowledged.
    Heard,
    /// A session began: read the histories back to the newest known message.
    Read,
    /// Disconnect and connect again.
    Leave,
    /// Disconnect, wait as clients do before they identify again, and connect.
    LeaveForLong,
}

/// A payload that no gateway should send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the gateway sent {0}")]
pub(super) struct Strange(String);

/// The client's state.
#[derive(Debug)]
pub(super) struct Conversation {
    token: String,
    session: Option<Session>,
    /// When Identify left on this connection.
    identified: Micros,
    /// What was seen; [`Conversation::seen`] returns it.
    bot: Bot,
    /// Newest id of each channel, where a later reading ends.
    newest: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Session {
    id: String,
    url: String,
    seq: u64,
}

impl Conversation {
    pub(super) fn new(name: String, token: String) -> Self {
        Self { token, session: None, identified: 0, bot: Bot { name, ..Bot::default() }, newest: Vec::new() }
    }

    /// The address to connect to, if a session names one.
    pub(super) fn resume_url(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.url.as_str())
    }

    /// What the client has seen so far.
    pub(super) fn seen(&self) -> &Bot {
        &self.bot
    }

    /// Newest id seen in a channel; 0 if there is none.
    pub(super) fn newest(&self, channel: u64) -> u64 {
        self.newest.iter().find(|(of, _)| *of == channel).map_or(0, |(_, id)| *id)
    }

    /// Notes the messages that a reading of a channel's history showed.
    pub(super) fn read(&mut self, channel: u64, ids: impl IntoIterator<Item = u64>) {
        self.bot.reread.extend(ids.into_iter().map(|id| (channel, id)));
    }

    /// The first payload: Resume if there is a session, else Identify.
    pub(super) fn opening(&mut self, now: Micros) -> String {
        let payload = match &self.session {
            Some(session) => {
                json!({ "op": 6, "d": { "token": self.token, "session_id": session.id, "seq": session.seq } })
            }
            None => {
                self.identified = now;
                let properties =
                    json!({ "os": "linux", "browser": "weir-loadtest", "device": "weir-loadtest" });
                json!({ "op": 2, "d": { "token": self.token, "intents": INTENTS, "properties": properties } })
            }
        };
        payload.to_string()
    }

    pub(super) fn heartbeat(&self) -> String {
        json!({ "op": 1, "d": self.session.as_ref().map(|session| session.seq) }).to_string()
    }

    /// Handles a text frame.
    ///
    /// # Errors
    /// [`Strange`]; what was seen is unchanged.
    pub(super) fn payload(&mut self, text: &str, now: Micros) -> Result<Step, Strange> {
        let strange = || Strange(text.chars().take(200).collect());
        let payload: Value = serde_json::from_str(text).map_err(|_| strange())?;
        let data = &payload["d"];
        match payload["op"].as_u64().ok_or_else(strange)? {
            0 => self.dispatch(&payload, now).ok_or_else(strange),
            1 => Ok(Step::Beat),
            7 => Ok(Step::Leave),
            9 if data == &Value::Bool(true) => Ok(Step::LeaveForLong),
            9 => {
                self.lose("INVALID_SESSION", now);
                Ok(Step::LeaveForLong)
            }
            10 => Ok(Step::Hello(data["heartbeat_interval"].as_u64().ok_or_else(strange)?)),
            11 => Ok(Step::Heard),
            _ => Err(strange()),
        }
    }

    /// Notes that the connection ended, with a close code if the gateway sent one. Returns false if a client
    /// library would not connect again.
    pub(super) fn closed(&mut self, code: Option<u16>, now: Micros) -> bool {
        match code {
            Some(code) if FATAL.contains(&code) => {
                self.bot.fatal.push(code);
                self.lose(&format!("close {code}"), now);
                return false;
            }
            Some(code) if SESSION_OVER.contains(&code) => self.lose(&format!("close {code}"), now),
            Some(_) | None => {}
        }
        true
    }

    fn lose(&mut self, why: &str, now: Micros) {
        // Without a session it was an Identify that was refused for now.
        if let Some(session) = self.session.take()
            && let Some(epoch) = self.bot.epochs.last_mut()
        {
            epoch.lost = Some((now, format!("{why} after s {}", session.seq)));
        }
    }

    fn dispatch(&mut self, payload: &Value, now: Micros) -> Option<Step> {
        let (s, data) = (payload["s"].as_u64()?, &payload["d"]);
        let event = payload["t"].as_str()?;
        if event == "READY" {
            let text = |key: &str| data[key].as_str().map(str::to_owned);
            self.session =
                Some(Session { id: text("session_id")?, url: text("resume_gateway_url")?, seq: s });
            let dispatches = vec![Dispatch { s, what: What::Other }];
            self.bot.epochs.push(Epoch { identified: self.identified, ready: now, lost: None, dispatches });
            return Some(Step::Read);
        }
        let what = what(event, data)?;
        if event == "RESUMED" {
            self.bot.resumed += 1;
        }
        if let What::Create { channel, id } = what {
            match self.newest.iter_mut().find(|(of, _)| *of == channel) {
                Some((_, newest)) => *newest = id.max(*newest),
                None => self.newest.push((channel, id)),
            }
        }
        let session = self.session.as_mut()?;
        session.seq = session.seq.max(s);
        self.bot.epochs.last_mut()?.dispatches.push(Dispatch { s, what });
        Some(Step::Go)
    }
}

fn what(event: &str, data: &Value) -> Option<What> {
    let message = || Some((rest::id(&data["channel_id"])?, rest::id(&data["id"])?));
    let change = |kind| message().map(|(channel, id)| What::Change { kind, channel, id });
    match event {
        "MESSAGE_CREATE" => message().map(|(channel, id)| What::Create { channel, id }),
        "MESSAGE_UPDATE" => change(ChangeKind::Edit),
        "MESSAGE_DELETE" => change(ChangeKind::Delete),
        "RESUMED" | "TYPING_START" | "PRESENCE_UPDATE" => Some(What::Ephemeral),
        _ => Some(What::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(conversation: &mut Conversation, now: Micros) -> Result<Step, Strange> {
        let data = json!({ "session_id": "abc", "resume_gateway_url": "ws://127.0.0.1:1" });
        conversation.payload(&json!({ "op": 0, "t": "READY", "s": 1, "d": data }).to_string(), now)
    }

    fn message(conversation: &mut Conversation, s: u64, id: &str) -> Result<Step, Strange> {
        let data = json!({ "id": id, "channel_id": "7", "content": "x" });
        conversation.payload(&json!({ "op": 0, "t": "MESSAGE_CREATE", "s": s, "d": data }).to_string(), 0)
    }

    fn begun() -> Conversation {
        let mut conversation = Conversation::new("a".into(), "secret".into());
        let opening = conversation.opening(5);
        assert!(opening.contains("\"op\":2") && opening.contains("secret"));
        assert_eq!(ready(&mut conversation, 9), Ok(Step::Read));
        conversation
    }

    fn op(text: &str) -> Value {
        serde_json::from_str::<Value>(text).expect("JSON")["op"].clone()
    }

    #[test]
    fn after_a_lost_socket_it_resumes_from_the_last_number() {
        let mut conversation = begun();
        assert_eq!(message(&mut conversation, 4, "70"), Ok(Step::Go));
        assert!(conversation.closed(None, 20) && conversation.closed(Some(4000), 20));
        let opening: Value = serde_json::from_str(&conversation.opening(30)).expect("JSON");
        assert_eq!(opening, json!({ "op": 6, "d": { "token": "secret", "session_id": "abc", "seq": 4 } }));
        assert_eq!(conversation.resume_url(), Some("ws://127.0.0.1:1"));
        let resumed = json!({ "op": 0, "t": "RESUMED", "s": 4, "d": {} }).to_string();
        assert_eq!(conversation.payload(&resumed, 40), Ok(Step::Go));
        let bot = conversation.seen();
        assert_eq!(
            (bot.resumed, bot.epochs.len(), conversation.newest(7), conversation.newest(8)),
            (1, 1, 70, 0)
        );
        let last = Dispatch { s: 4, what: What::Ephemeral };
        assert_eq!(bot.epochs[0].dispatches.last(), Some(&last));
    }

    #[test]
    fn after_invalid_session_it_identifies_and_a_new_epoch_begins() {
        let mut conversation = begun();
        assert_eq!(conversation.payload(r#"{"op":9,"d":true}"#, 15), Ok(Step::LeaveForLong));
        assert!(conversation.seen().epochs[0].lost.is_none());
        assert_eq!(conversation.payload(r#"{"op":9,"d":false}"#, 20), Ok(Step::LeaveForLong));
        assert_eq!(op(&conversation.opening(25)), 2);
        // It is refused once more without a session, so no epoch is lost.
        assert_eq!(conversation.payload(r#"{"op":9,"d":false}"#, 26), Ok(Step::LeaveForLong));
        assert_eq!(ready(&mut conversation, 30), Ok(Step::Read));
        let epochs = &conversation.seen().epochs;
        assert_eq!(epochs[0].lost, Some((20, "INVALID_SESSION after s 1".into())));
        assert_eq!((epochs.len(), epochs[1].identified, epochs[1].ready), (2, 25, 30));
    }

    #[test]
    fn close_codes_end_what_they_end() {
        for code in SESSION_OVER {
            let mut conversation = begun();
            assert!(conversation.closed(Some(code), 20));
            assert_eq!(op(&conversation.opening(21)), 2);
        }
        for code in FATAL {
            let mut conversation = begun();
            assert!(!conversation.closed(Some(code), 20));
            assert_eq!(conversation.seen().fatal, [code]);
        }
    }

    #[test]
    fn other_payloads_have_their_steps_and_strange_ones_are_errors() {
        let mut conversation = begun();
        let hello = r#"{"op":10,"d":{"heartbeat_interval":41250}}"#;
        assert_eq!(conversation.payload(hello, 0), Ok(Step::Hello(41_250)));
        assert_eq!(conversation.payload(r#"{"op":1,"d":null}"#, 0), Ok(Step::Beat));
        assert_eq!(conversation.payload(r#"{"op":11,"d":null}"#, 0), Ok(Step::Heard));
        assert_eq!(conversation.payload(r#"{"op":7,"d":null}"#, 0), Ok(Step::Leave));
        for strange in
            ["", "{}", r#"{"op":10}"#, r#"{"op":99}"#, r#"{"op":0,"t":"MESSAGE_CREATE","s":2,"d":{}}"#]
        {
            assert!(conversation.payload(strange, 0).is_err(), "{strange}");
        }
        assert_eq!(conversation.heartbeat(), r#"{"d":1,"op":1}"#);
    }
}
