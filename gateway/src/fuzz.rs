//! Fuzz targets: payloads of clients and rows of sessions. No input may cause a panic, or a result that is
//! larger than the input.

use weir_bus::SessionRow;
use weir_fuzz::{CASES_DEFAULT, binary, run, text};

use crate::{
    session::{Kept, Restored},
    socket::payload::{ClientEvent, parse},
};

const PAYLOADS: [&str; 5] = [
    r#"{"op":1,"d":251}"#,
    r#"{"op":2,"d":{"token":"Bot a.b.c","intents":513,"properties":{"os":"linux"},"compress":false,"large_threshold":250,"shard":[0,1],"presence":{"status":"online"}}}"#,
    r#"{"op":6,"d":{"token":"a.b.c","session_id":"00ff","seq":1337}}"#,
    r#"{"op":8,"d":{"guild_id":"41771983444115456","query":"","limit":0,"user_ids":["7",8],"nonce":"n"}}"#,
    r#"{"op":"3","d":{"since":null,"activities":[],"status":"dnd","afk":false},"s":null,"t":null}"#,
];

#[test]
fn payloads() {
    run("gateway payload", CASES_DEFAULT, &text(PAYLOADS), |input| {
        // The WebSocket library refuses text that is not UTF-8.
        let Ok(input) = String::from_utf8(input) else { return };
        match parse(&input) {
            Ok(ClientEvent::Identify(identify)) => assert!(identify.token.len() <= input.len()),
            Ok(ClientEvent::Resume(resume)) => {
                assert!(resume.token.len() + resume.session_id.len() <= input.len());
            }
            Ok(ClientEvent::RequestMembers(request)) => {
                let ids = request.user_ids.unwrap_or_default();
                let words = request.query.unwrap_or_default().len() + request.nonce.unwrap_or_default().len();
                assert!(ids.len() + words <= input.len());
            }
            Ok(ClientEvent::Heartbeat | ClientEvent::Ignored) => {}
            Err(close) => assert!(close.reason.len() <= 123, "a close frame holds no more: {}", close.reason),
        }
    });
}

#[test]
fn kept_sessions() {
    let kept = Kept {
        version: 1,
        token_hash: vec![7; 32],
        user_id: 5,
        shard_id: 0,
        shard_count: 1,
        intents: 513,
        gateway_version: 10,
        head: 99,
        guild_ids: vec![1 << 60, 2 << 60],
        begun_at_ms: 1_767_225_600_000,
        large_threshold: 50,
    };
    let valid = prost::Message::encode_to_vec(&kept);
    let row = |state: Vec<u8>| SessionRow { id: "00ff".into(), state: state.into() };
    assert!(Restored::read(&row(valid.clone())).is_some());
    run("kept session", CASES_DEFAULT, &binary([valid]), |input| {
        let bytes = input.len();
        if let Some(restored) = Restored::read(&row(input)) {
            assert!(restored.initial_guilds.len() <= bytes / 8 && restored.shard.1.get() > 0);
        }
    });
}
