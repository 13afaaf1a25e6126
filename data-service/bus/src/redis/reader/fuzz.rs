//! Replies of Redis, from bytes to records. No reply may cause a panic, or a record that is larger than the
//! reply.

use deadpool_redis::redis::{FromRedisValue, parse_redis_value};
use weir_fuzz::{CASES_DEFAULT, binary, run, text};

use super::{Content, Streams, entry, run_of};

const REPLY: &[u8] = b"*1\r\n*2\r\n$7\r\ninbox:a\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nr\r\n$4\r\n\x08\x01\x18\x02\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\ne\r\n$2\r\n\x08\x01\r\n";
const NOTHING: &[u8] = b"*-1\r\n";

fn records(reply: &[u8]) -> Vec<(u64, Content)> {
    let Ok(value) = parse_redis_value(reply) else { return Vec::new() };
    let Ok(streams) = Streams::from_redis_value(value) else { return Vec::new() };
    let entries = streams.unwrap_or_default().into_iter().flat_map(|(_, entries)| entries);
    entries.filter_map(|(id, fields)| entry(&id, fields)).collect()
}

#[test]
fn replies_with_records() {
    let valid = records(REPLY);
    assert_eq!(valid.len(), 2);
    assert_eq!(valid[0], (1, Content::Record(b"\x08\x01\x18\x02".as_slice().into())));
    run("redis reply", CASES_DEFAULT, &binary([REPLY, NOTHING]), |input| {
        let bytes: usize = records(&input)
            .iter()
            .map(|(_, taken)| match taken {
                Content::Record(record) | Content::Ephemeral(record) => record.len(),
                Content::Unknown => 0,
            })
            .sum();
        assert!(bytes <= input.len());
    });
}

#[test]
fn facts_of_a_server() {
    run(
        "redis info",
        CASES_DEFAULT,
        &text(["# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n"]),
        |input| {
            let Ok(input) = String::from_utf8(input) else { return };
            let run = run_of(&input);
            assert!(!run.contains('\n') && input.contains(run));
        },
    );
}
