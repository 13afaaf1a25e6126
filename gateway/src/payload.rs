//! Payloads: what a client sends, parsed to one type, and what the gateway sends, written to text.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Close, CloseCode, roster::LargeThreshold};

/// Opcodes of the wire.
pub(crate) mod op {
    pub(crate) const DISPATCH: u8 = 0;
    pub(crate) const HEARTBEAT: u8 = 1;
    pub(crate) const IDENTIFY: u8 = 2;
    pub(crate) const PRESENCE_UPDATE: u8 = 3;
    pub(crate) const VOICE_STATE_UPDATE: u8 = 4;
    pub(crate) const RESUME: u8 = 6;
    pub(crate) const RECONNECT: u8 = 7;
    pub(crate) const REQUEST_GUILD_MEMBERS: u8 = 8;
    pub(crate) const INVALID_SESSION: u8 = 9;
    pub(crate) const HELLO: u8 = 10;
    pub(crate) const HEARTBEAT_ACK: u8 = 11;
    pub(crate) const REQUEST_SOUNDBOARD_SOUNDS: u8 = 31;
    pub(crate) const REQUEST_CHANNEL_INFO: u8 = 43;
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientEvent {
    /// Its last `s`, if it has one. Only asks for an answer; the number is not used.
    Heartbeat,
    Identify(Identify),
    Resume(Resume),
    RequestMembers(RequestMembers),
    /// Presence and voice: accepted and not acted on.
    Ignored,
}

/// Identify's `d`, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Identify {
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) compress: bool,
    #[serde(default)]
    pub(crate) large_threshold: LargeThreshold,
    #[serde(default)]
    pub(crate) shard: Option<[i64; 2]>,
    /// Absent for user accounts.
    #[serde(default)]
    pub(crate) intents: Option<u64>,
}

/// Resume's `d`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Resume {
    pub(crate) token: String,
    pub(crate) session_id: String,
    /// Absent or null from a client that saw nothing.
    #[serde(default)]
    pub(crate) seq: Option<u64>,
}

/// Request Guild Members' `d`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RequestMembers {
    #[serde(deserialize_with = "snowflake")]
    pub(crate) guild_id: u64,
    #[serde(default)]
    pub(crate) query: Option<String>,
    #[serde(default)]
    pub(crate) limit: u32,
    #[serde(default)]
    pub(crate) user_ids: OneOrMany,
    #[serde(default)]
    pub(crate) nonce: Option<String>,
}

/// `user_ids` may be one id or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OneOrMany(pub(crate) Vec<u64>);

/// An id as clients write it: a string or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum LooseId {
    Number(u64),
    Text(String),
}

impl LooseId {
    fn get<E: serde::de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Number(id) => Ok(id),
            Self::Text(text) => text.parse().map_err(|_| E::custom("an id is a decimal number")),
        }
    }
}

fn snowflake<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    LooseId::deserialize(deserializer)?.get()
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Ids {
            One(LooseId),
            Many(Vec<LooseId>),
        }
        match Option::<Ids>::deserialize(deserializer)? {
            None => Ok(Self::default()),
            Some(Ids::One(id)) => Ok(Self(vec![id.get()?])),
            Some(Ids::Many(ids)) => ids.into_iter().map(LooseId::get).collect::<Result<_, _>>().map(Self),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

/// Parses a payload.
///
/// # Errors
/// 4002 if it is not JSON of its opcode's shape, 4001 if clients do not send such an opcode.
pub(crate) fn parse(text: &str) -> Result<ClientEvent, Close> {
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|_| Close::new(CloseCode::Decode, "a payload is an object with op and d"))?;
    let unknown = || Close::new(CloseCode::UnknownOpcode, "clients do not send this opcode");
    match u8::try_from(envelope.op).map_err(|_| unknown())? {
        op::HEARTBEAT => Ok(ClientEvent::Heartbeat),
        op::IDENTIFY => data(&envelope, "identify").map(ClientEvent::Identify),
        op::RESUME => data(&envelope, "resume").map(ClientEvent::Resume),
        op::REQUEST_GUILD_MEMBERS => data(&envelope, "request for members").map(ClientEvent::RequestMembers),
        op::PRESENCE_UPDATE
        | op::VOICE_STATE_UPDATE
        | op::REQUEST_SOUNDBOARD_SOUNDS
        | op::REQUEST_CHANNEL_INFO => Ok(ClientEvent::Ignored),
        _ => Err(unknown()),
    }
}

fn data<'a, T: Deserialize<'a>>(envelope: &Envelope<'a>, what: &str) -> Result<T, Close> {
    let raw = envelope.d.map_or("null", RawValue::get);
    // The parser's message could quote a token, so it is not passed on.
    serde_json::from_str(raw)
        .map_err(|_| Close::new(CloseCode::Decode, format!("the d of this {what} is malformed")))
}

/// `op` with an empty or scalar `d`; all four keys are always there.
pub(crate) fn control(op: u8, d: &str) -> String {
    format!(r#"{{"op":{op},"d":{d},"s":null,"t":null}}"#)
}

/// Hello with the interval in milliseconds.
pub(crate) fn hello(interval: std::time::Duration) -> String {
    control(op::HELLO, &format!(r#"{{"heartbeat_interval":{},"_trace":[]}}"#, interval.as_millis()))
}

/// A dispatch: the shared `d` in this session's envelope.
pub(crate) fn dispatch(name: &str, s: u64, d: &str) -> String {
    let mut text = String::with_capacity(d.len() + name.len() + 48);
    // `t` before `d`: a client that reads as it goes knows the event before its data.
    text.push_str(r#"{"op":0,"s":"#);
    text.push_str(&s.to_string());
    text.push_str(r#","t":""#);
    text.push_str(name);
    text.push_str(r#"","d":"#);
    text.push_str(d);
    text.push('}');
    debug_assert_eq!(op::DISPATCH, 0, "the literal above is the dispatch opcode");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_payload_is_read() {
        assert_eq!(parse(r#"{"op":1,"d":null}"#), Ok(ClientEvent::Heartbeat));
        assert_eq!(parse(r#"{"op":1,"d":251,"s":null,"t":null}"#), Ok(ClientEvent::Heartbeat));
        let identify = r#"{"op":2,"d":{"token":"t","properties":{"$os":"x"},"intents":513,"shard":[0,1],"compress":true}}"#;
        let expected = Identify {
            token: "t".into(),
            compress: true,
            large_threshold: LargeThreshold::default(),
            shard: Some([0, 1]),
            intents: Some(513),
        };
        assert_eq!(parse(identify), Ok(ClientEvent::Identify(expected)));
        let resume = Resume { token: "t".into(), session_id: "x".into(), seq: Some(7) };
        assert_eq!(
            parse(r#"{"d":{"token":"t","session_id":"x","seq":7},"op":6}"#),
            Ok(ClientEvent::Resume(resume))
        );
        assert_eq!(parse(r#"{"op":3,"d":{"status":"idle"}}"#), Ok(ClientEvent::Ignored));
    }

    #[test]
    fn member_requests_take_ids_in_every_form() {
        for (user_ids, expected) in
            [("\"5\"", vec![5]), ("5", vec![5]), ("[\"5\",6]", vec![5, 6]), ("null", vec![]), ("[]", vec![])]
        {
            let text = format!(r#"{{"op":8,"d":{{"guild_id":"9","user_ids":{user_ids}}}}}"#);
            let Ok(ClientEvent::RequestMembers(request)) = parse(&text) else { panic!("{text}") };
            assert_eq!((request.guild_id, request.user_ids.0), (9, expected));
        }
    }

    #[test]
    fn malformed_payloads_and_foreign_opcodes_have_their_codes() {
        for text in [
            "",
            "[]",
            "{",
            "{}",
            r#"{"op":"1"}"#,
            r#"{"op":-1}"#,
            r#"{"op":2}"#,
            r#"{"op":6,"d":{"seq":-1}}"#,
        ] {
            assert_eq!(parse(text).map_err(|close| close.code), Err(CloseCode::Decode), "{text}");
        }
        for op in [0, 5, 7, 9, 10, 11, 99, 300] {
            let text = format!(r#"{{"op":{op},"d":null}}"#);
            assert_eq!(parse(&text).map_err(|close| close.code), Err(CloseCode::UnknownOpcode), "{op}");
        }
    }

    #[test]
    fn what_is_sent_is_json_with_four_keys() {
        for text in [
            hello(std::time::Duration::from_millis(41_250)),
            control(op::INVALID_SESSION, "false"),
            control(op::RECONNECT, "null"),
            control(op::HEARTBEAT_ACK, "null"),
            dispatch("RESUMED", 7, "{}"),
        ] {
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let keys: Vec<_> = ["op", "d", "s", "t"].iter().filter(|key| value.get(key).is_some()).collect();
            assert_eq!(keys.len(), 4, "{text}");
        }
        assert_eq!(dispatch("X", 7, "{}"), r#"{"op":0,"s":7,"t":"X","d":{}}"#);
    }
}
