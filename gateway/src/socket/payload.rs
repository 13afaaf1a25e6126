//! Payloads: those that a client sends, parsed to one type, and those that the gateway sends, written to
//! text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

use super::{
    large_threshold::LargeThreshold,
    loose::{self, field},
};
use crate::{Close, CloseCode};

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
    /// A heartbeat, perhaps with the last `s`, which is not used. It only asks for an answer.
    Heartbeat,
    Identify(Identify),
    Resume(Resume),
    RequestMembers(RequestMembers),
    /// Presence, voice, and requests that ask for nothing: they are accepted and have no effect.
    Ignored,
}

/// The fields of Identify's `d` that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identify {
    pub(crate) token: String,
    pub(crate) compress: bool,
    pub(crate) large_threshold: LargeThreshold,
    /// Id and count as they were written; -1 stands for a part that is no number, and is out of range.
    pub(crate) shard: Option<[i64; 2]>,
    /// Absent for user accounts.
    pub(crate) intents: Option<u64>,
}

/// Resume's `d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) token: String,
    pub(crate) session_id: String,
    /// `None` if it is absent or null, from a client that saw nothing. Anything that is no number becomes the
    /// greatest number, from which no session can resume.
    pub(crate) seq: Option<u64>,
}

/// Request Guild Members' `d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestMembers {
    /// Some libraries send a list; as at Discord, only its first guild is answered for.
    pub(crate) guild_id: u64,
    pub(crate) query: Option<String>,
    pub(crate) limit: u32,
    /// `None` unless members are asked for by id. Ids that cannot be read are left out, and do not make this
    /// a request for all members.
    pub(crate) user_ids: Option<Vec<u64>>,
    /// `None` unless it is text: an invalid nonce is ignored.
    pub(crate) nonce: Option<String>,
}

impl Identify {
    /// Reads the fields; `None` without a token.
    fn read(d: &Map<String, Value>) -> Option<Self> {
        let part =
            |value: &Value| loose::number(value).and_then(|part| i64::try_from(part).ok()).unwrap_or(-1);
        Some(Self {
            token: field(d, "token").and_then(Value::as_str)?.to_owned(),
            compress: field(d, "compress").is_some_and(loose::truth),
            large_threshold: field(d, "large_threshold")
                .and_then(loose::number)
                .map_or_else(LargeThreshold::default, |asked| {
                    LargeThreshold::new(u32::try_from(asked).unwrap_or(u32::MAX))
                }),
            shard: field(d, "shard").map(|shard| match shard.as_array().map(Vec::as_slice) {
                Some([id, count]) => [part(id), part(count)],
                Some(_) | None => [-1, -1],
            }),
            intents: field(d, "intents").map(|intents| loose::number(intents).unwrap_or(u64::MAX)),
        })
    }
}

impl Resume {
    /// Reads the fields; `None` without a token or a session.
    fn read(d: &Map<String, Value>) -> Option<Self> {
        Some(Self {
            token: field(d, "token").and_then(Value::as_str)?.to_owned(),
            session_id: field(d, "session_id").and_then(loose::text)?,
            seq: field(d, "seq").map(|seq| loose::number(seq).unwrap_or(u64::MAX)),
        })
    }
}

impl RequestMembers {
    /// Reads the fields; `None` without a guild, as then there is nothing to answer.
    fn read(d: &Map<String, Value>) -> Option<Self> {
        Some(Self {
            guild_id: field(d, "guild_id").map(loose::ids)?.first().copied()?,
            query: field(d, "query").and_then(loose::text),
            limit: field(d, "limit")
                .and_then(loose::number)
                .map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            user_ids: field(d, "user_ids")
                .filter(|ids| ids.as_array().is_none_or(|ids| !ids.is_empty()))
                .map(loose::ids),
            nonce: field(d, "nonce").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// An object's fields, unparsed.
type Raw<'a> = BTreeMap<String, &'a RawValue>;

/// The fields of an object; empty for anything else. A field that is JSON but cannot be represented is left
/// out alone, such as half of a surrogate pair (texts that were cut end with one) or a number without bounds.
fn fields(object: &RawValue) -> Map<String, Value> {
    let raw = serde_json::from_str::<Raw<'_>>(object.get()).unwrap_or_default();
    raw.into_iter().filter_map(|(name, raw)| Some((name, serde_json::from_str(raw.get()).ok()?))).collect()
}

/// Parses a payload. Fields are read as liberally as [`loose`] does, and unknown fields are ignored.
///
/// # Errors
/// 4002 if it is not a JSON object with an opcode, or identifies or resumes without a token; 4001 if clients
/// do not send such an opcode.
pub(crate) fn parse(text: &str) -> Result<ClientEvent, Close> {
    let malformed = |what: &str| Close::new(CloseCode::Decode, what.to_owned());
    // The parser's message could quote a token, so it is not passed on.
    let envelope = serde_json::from_str::<Raw<'_>>(text)
        .map_err(|_| malformed("a payload is an object with op and d"))?;
    let op = envelope.get("op").and_then(|op| serde_json::from_str(op.get()).ok());
    let op = op.as_ref().and_then(loose::number).ok_or_else(|| malformed("op is a number"))?;
    let unknown = || Close::new(CloseCode::UnknownOpcode, "clients do not send this opcode");
    let d = &envelope.get("d").map(|d| fields(d)).unwrap_or_default();
    match u8::try_from(op).map_err(|_| unknown())? {
        op::HEARTBEAT => Ok(ClientEvent::Heartbeat),
        op::IDENTIFY => Identify::read(d)
            .map(ClientEvent::Identify)
            .ok_or_else(|| malformed("identify has a token in its d")),
        op::RESUME => Resume::read(d)
            .map(ClientEvent::Resume)
            .ok_or_else(|| malformed("resume has a token and a session_id in its d")),
        op::REQUEST_GUILD_MEMBERS => {
            Ok(RequestMembers::read(d).map_or(ClientEvent::Ignored, ClientEvent::RequestMembers))
        }
        op::PRESENCE_UPDATE
        | op::VOICE_STATE_UPDATE
        | op::REQUEST_SOUNDBOARD_SOUNDS
        | op::REQUEST_CHANNEL_INFO => Ok(ClientEvent::Ignored),
        _ => Err(unknown()),
    }
}

/// A payload with `op` and an empty or scalar `d`; all four keys are always there.
pub(crate) fn control(op: u8, d: &str) -> String {
    format!(r#"{{"op":{op},"d":{d},"s":null,"t":null}}"#)
}

/// Hello, with the interval in milliseconds.
pub(crate) fn hello(interval: std::time::Duration) -> String {
    control(op::HELLO, &format!(r#"{{"heartbeat_interval":{},"_trace":[]}}"#, interval.as_millis()))
}

/// A dispatch: the shared `d` in this session's envelope.
pub(crate) fn dispatch(name: &str, s: u64, d: &str) -> String {
    let mut text = String::with_capacity(d.len() + name.len() + 48);
    // `t` comes before `d`, so that a client that reads in order knows the event before its data.
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
        for (user_ids, expected) in [
            ("\"5\"", Some(vec![5])),
            ("5", Some(vec![5])),
            ("[\"5\",6]", Some(vec![5, 6])),
            ("[\"x\"]", Some(vec![])),
            ("null", None),
            ("[]", None),
        ] {
            let text = format!(r#"{{"op":8,"d":{{"guild_id":"9","user_ids":{user_ids}}}}}"#);
            let Ok(ClientEvent::RequestMembers(request)) = parse(&text) else { panic!("{text}") };
            assert_eq!((request.guild_id, request.user_ids), (9, expected));
        }
    }

    /// Requests that libraries are known to send, and fields that merely have another type.
    #[test]
    fn member_requests_of_every_library_are_read() {
        let request = |d: &str| match parse(&format!(r#"{{"op":8,"d":{d}}}"#)) {
            Ok(ClientEvent::RequestMembers(request)) => request,
            other => panic!("{d}: {other:?}"),
        };
        let read = request(r#"{"guild_id":["9"],"query":"","limit":"1","presences":256,"nonce":5}"#);
        let expected =
            RequestMembers { guild_id: 9, query: Some(String::new()), limit: 1, user_ids: None, nonce: None };
        assert_eq!(read, expected);
        assert_eq!(request(r#"{"guild_id":9,"limit":-1,"nonce":"n","query":7}"#).query.as_deref(), Some("7"));
        assert_eq!(request(r#"{"guild_id":"9","user_ids":["5",null,"x"]}"#).user_ids, Some(vec![5]));
        for nothing in ["{}", "null", "[]", r#"{"guild_id":[]}"#, r#"{"guild_id":"x"}"#] {
            let text = format!(r#"{{"op":8,"d":{nothing}}}"#);
            assert_eq!(parse(&text), Ok(ClientEvent::Ignored), "{text}");
        }
    }

    #[test]
    fn identify_and_resume_take_numbers_as_text() {
        let identify = r#"{"op":"2","d":{"token":"t","compress":"true","large_threshold":"100","shard":["0","2"],"intents":"513"}}"#;
        let Ok(ClientEvent::Identify(read)) = parse(identify) else { panic!("{identify}") };
        assert_eq!((read.compress, read.large_threshold.get()), (true, 100));
        assert_eq!((read.shard, read.intents), (Some([0, 2]), Some(513)));
        let odd = r#"{"op":2,"d":{"token":"t","compress":[],"large_threshold":{},"shard":[1],"intents":-1}}"#;
        let Ok(ClientEvent::Identify(read)) = parse(odd) else { panic!("{odd}") };
        assert_eq!((read.compress, read.large_threshold), (false, LargeThreshold::default()));
        // Both are out of range, and are refused by codes of their own.
        assert_eq!((read.shard, read.intents), (Some([-1, -1]), Some(u64::MAX)));
        let resume = r#"{"op":6,"d":{"token":"t","session_id":12,"seq":"7"}}"#;
        let Ok(ClientEvent::Resume(read)) = parse(resume) else { panic!("{resume}") };
        assert_eq!((read.session_id.as_str(), read.seq), ("12", Some(7)));
    }

    /// Such as a status cut in the middle of an emoji, or a number that no type holds.
    #[test]
    fn what_cannot_be_held_is_left_out_by_itself() {
        for bad in [r#""\ud83d""#, "1e999", r#"{"name":"\udc00"}"#, "[[1e999]]"] {
            for op in [op::HEARTBEAT, op::PRESENCE_UPDATE, op::VOICE_STATE_UPDATE] {
                for d in [bad.to_owned(), format!(r#"{{"activities":[{bad}]}}"#)] {
                    let text = format!(r#"{{"op":{op},"d":{d}}}"#);
                    assert!(
                        matches!(parse(&text), Ok(ClientEvent::Heartbeat | ClientEvent::Ignored)),
                        "{text}"
                    );
                }
            }
            let plain = r#"{"op":2,"d":{"token":"t","intents":1}}"#;
            let text = format!(
                r#"{{"op":2,"s":{bad},"d":{{"token":"t","intents":1,"presence":{bad},"shard":null}}}}"#
            );
            assert_eq!(parse(&text), parse(plain), "{text}");
            let text =
                format!(r#"{{"op":8,"d":{{"guild_id":"9","nonce":{bad},"limit":{bad},"user_ids":["5"]}}}}"#);
            assert!(matches!(parse(&text), Ok(ClientEvent::RequestMembers(_))), "{text}");
        }
    }

    #[test]
    fn malformed_payloads_and_foreign_opcodes_have_their_codes() {
        for text in [
            "",
            "[]",
            "{",
            "{}",
            r#"{"op":"x"}"#,
            r#"{"op":-1}"#,
            r#"{"op":2}"#,
            r#"{"op":2,"d":{"token":5}}"#,
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
