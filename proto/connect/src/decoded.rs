//! How many bytes of memory a body's message takes once it is decoded.
//!
//! Problem: an empty message inside another takes two bytes on the wire and hundreds in memory, so a body
//! within its bound can become a hundred times as large. Guarantee: the estimate here is never below what
//! decoding allocates, within an allocator's rounding, and it costs one pass without an allocation. The
//! endpoint holds these bytes on the caller's account before it decodes anything.
//!
//! Small bodies are not examined: the largest of them ([`EXAMINED_ABOVE`]) becomes 8 MiB at worst, for as
//! long as its decoding takes.

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{Kind, MessageDescriptor};

use crate::codec::Codec;

/// Bodies up to this many bytes are not examined. Nearly all calls are smaller, so they pay nothing.
pub(crate) const EXAMINED_ABOVE: usize = 64 << 10;

/// Bytes of a decoded message beside its text: twice the largest of the contract's structs (about 250),
/// because a growing vector has room for twice its elements.
const MESSAGE: usize = 512;
/// Bytes of a text or another part that has an allocation of its own.
const TEXT: usize = 48;
/// Bytes of a number in a list, doubled for the same reason.
const NUMBER: usize = 16;
/// Bytes of an element of a JSON text: its `serde_json::Value`, its dynamic form, and [`MESSAGE`], because it
/// may be a message.
const ELEMENT: usize = 768;
/// Depth at which prost gives up: deeper bodies are not decoded.
const DEPTH_MAX: usize = 100;

/// Bytes that `body` takes once it is decoded as a message of `shape`, beside the body itself. A malformed
/// body counts as far as it could be read, because its decoding ends there too.
pub(crate) fn bytes(codec: Codec, body: &[u8], shape: &MessageDescriptor) -> usize {
    match codec {
        Codec::Proto => message(body, shape, DEPTH_MAX),
        // Every other element follows one of these characters, or is text.
        Codec::Json => {
            let elements = body.iter().filter(|byte| matches!(byte, b',' | b'{' | b'[')).count();
            elements.saturating_mul(ELEMENT).saturating_add(2 * body.len())
        }
    }
}

fn message(mut body: &[u8], shape: &MessageDescriptor, depth: usize) -> usize {
    let mut total = MESSAGE;
    while !body.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut body) else { break };
        let field = shape.get_field(number);
        let fixed = match wire_type {
            WireType::Varint => {
                if decode_varint(&mut body).is_err() {
                    break;
                }
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let Ok(length) = decode_varint(&mut body) else { break };
                let Some((part, rest)) =
                    usize::try_from(length).ok().and_then(|length| body.split_at_checked(length))
                else {
                    break;
                };
                body = rest;
                total = total.saturating_add(match field.as_ref().map(|field| field.kind()) {
                    // Unknown fields are not kept.
                    None => 0,
                    Some(Kind::Message(inner)) if depth > 0 => message(part, &inner, depth - 1),
                    Some(Kind::String | Kind::Bytes) => TEXT + part.len(),
                    // A packed list of numbers has at least one byte for each number.
                    Some(_) => part.len().saturating_mul(NUMBER),
                });
                continue;
            }
            // Groups are not part of proto3.
            WireType::StartGroup | WireType::EndGroup => break,
        };
        let Some(rest) = body.get(fixed..) else { break };
        body = rest;
        if field.is_some_and(|field| field.is_list()) {
            total = total.saturating_add(NUMBER);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    fn kinds() -> MessageDescriptor {
        let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proto");
        let files = protox::compile(["test.proto"], [proto]).unwrap();
        DescriptorPool::from_file_descriptor_set(files).unwrap().get_message_by_name("test.v1.Kinds").unwrap()
    }

    fn read(json: &str) -> Vec<u8> {
        let mut text = serde_json::Deserializer::from_str(json);
        DynamicMessage::deserialize(kinds(), &mut text).unwrap().encode_to_vec()
    }

    #[test]
    fn messages_texts_and_numbers_count_and_nothing_else_does() {
        let of = |json: &str| bytes(Codec::Proto, &read(json), &kinds());
        assert_eq!(of("{}"), MESSAGE);
        assert_eq!(of(r#"{"i64": "1", "real": 1.5, "truth": true}"#), MESSAGE);
        assert_eq!(of(r#"{"someText": "abc"}"#), MESSAGE + TEXT + 3);
        assert_eq!(of(r#"{"ids": ["1", "2"]}"#), MESSAGE + 2 * NUMBER);
        assert_eq!(of(r#"{"inners": [{}, {"inner": {}}]}"#), 4 * MESSAGE);
    }

    #[test]
    fn two_bytes_on_the_wire_are_what_they_become() {
        let empty = [0x62_u8, 0].repeat(10_000);
        assert!(bytes(Codec::Proto, &empty, &kinds()) >= 10_000 * MESSAGE);
        let json = format!("{{\"inners\":[{}{{}}]}}", "{},".repeat(9_999));
        assert!(bytes(Codec::Json, json.as_bytes(), &kinds()) >= 10_000 * ELEMENT);
    }

    #[test]
    fn what_is_cut_off_or_nested_without_end_is_counted_as_far_as_it_goes() {
        let whole = read(r#"{"inners": [{"someText": "abcdef"}], "ids": ["1"]}"#);
        let all = bytes(Codec::Proto, &whole, &kinds());
        for length in 0..whole.len() {
            assert!((MESSAGE..=all).contains(&bytes(Codec::Proto, &whole[..length], &kinds())), "{length}");
        }
        let mut deep = Vec::new();
        for _ in 0..1_000 {
            let mut outer = vec![0x52];
            prost::encoding::encode_varint(deep.len() as u64, &mut outer);
            outer.extend_from_slice(&deep);
            deep = outer;
        }
        assert!(bytes(Codec::Proto, &deep, &kinds()) < 10 * 1_000 * NUMBER * 100);
    }
}
