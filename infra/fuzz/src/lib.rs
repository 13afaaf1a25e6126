//! Fuzzing of decoders in ordinary tests, on stable Rust. Inputs are valid ones with pieces changed, inserted
//! or cut off, and occasionally pure noise.
//!
//! A target is a test in a module `fuzz` of the crate that has the decoder. It runs briefly with all other
//! tests. `WEIR_FUZZ_CASES`, the number of inputs for each target, makes it run longer: `cargo xtask long
//! fuzz` runs all targets this way and shows the counts.

#![allow(clippy::print_stdout, reason = "a target tells how many inputs it had")]

use std::cell::RefCell;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Inputs for each target without `WEIR_FUZZ_CASES`. They take about a second in a build without
/// optimisations.
pub const CASES_DEFAULT: u32 = 3_000;

/// Runs `check` on `WEIR_FUZZ_CASES` inputs, or on `default` of them.
///
/// # Panics
/// With the smallest input for which `check` panics.
pub fn run<S: Strategy>(target: &str, default: u32, inputs: &S, check: impl FnMut(S::Value)) {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    // proptest requires `Fn`.
    let check = RefCell::new(check);
    let outcome = runner.run(inputs, |input| {
        (check.borrow_mut())(input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
    println!("fuzz {target}: {cases} inputs");
}

/// Pieces of text formats, and text that breaks them.
const TEXT: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[",
    b":",
    b",",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e9",
    b"1.0",
    b"0.5",
    b"18446744073709551616",
    b"999999999999999999999999999999",
    b"\\ud83e",
    b"\\u0000",
    b"\0",
    b"\xff",
    b"\xf0\x9f\xa6\x80",
    b"=",
    b"&",
    b"%ff",
    b"%00",
    b"\n",
    b"\r\n",
    b" ",
    b".",
    b"/",
    b"@me",
];
/// Pieces of binary formats: lengths and numbers at their limits.
const BINARY: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x08",
    b"\x0a",
    b"\x12",
    b"\x0b",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Texts similar to `valid`.
pub fn text(valid: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    mutated(valid.into_iter().map(Into::into).collect(), TEXT)
}

/// Bytes similar to `valid`.
pub fn binary(valid: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    mutated(valid.into_iter().map(Into::into).collect(), BINARY)
}

fn mutated(valid: Vec<Vec<u8>>, pieces: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => Just(Vec::new()),
        3 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
    ];
    // The position, the number of bytes cut out, the bytes put in, and the number of edits.
    let edit =
        (any::<prop::sample::Index>(), 0_usize..4, piece, prop_oneof![9 => Just(1_usize), 1 => 2_usize..200]);
    let edited = (prop::sample::select(valid.clone()), proptest::collection::vec(edit, 0..6)).prop_map(
        |(mut bytes, edits)| {
            for (at, cut, piece, times) in edits {
                let at = at.index(bytes.len() + 1);
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, piece.repeat(times));
            }
            bytes
        },
    );
    // The beginning of one input and the end of another, as after a torn write.
    let torn =
        (prop::sample::select(valid.clone()), prop::sample::select(valid), any::<[prop::sample::Index; 2]>())
            .prop_map(|(head, tail, [to, from])| {
                let (to, from) = (to.index(head.len() + 1), from.index(tail.len() + 1));
                [&head[..to], &tail[from..]].concat()
            });
    prop_oneof![1 => proptest::collection::vec(any::<u8>(), 0..300), 6 => edited, 1 => torn]
}

/// A message with a value in each of its fields, and in those of its inner messages.
#[must_use]
pub fn filled(shape: &MessageDescriptor) -> DynamicMessage {
    fill(shape, 3)
}

fn fill(shape: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(shape.clone());
    for field in shape.fields() {
        let Some(value) = value(&field, depth) else { continue };
        let value = if field.is_list() { Value::List(vec![value.clone(), value]) } else { value };
        // Of a oneof the last field remains.
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, depth: u32) -> Option<Value> {
    Some(match field.kind() {
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(shape) => Value::Message(fill(&shape, depth - 1)),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Double => Value::F64(0.5),
        Kind::Float => Value::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(-5),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(-6),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(70),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(175_928_847_299_117_063),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("text \u{1f980}".to_owned()),
        Kind::Bytes => Value::Bytes(vec![0, 1, 0xff].into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_valid_ones_and_others() {
        let (mut valid, mut other) = (0, 0);
        run("inputs", 1_000, &text(["{\"a\":1}"]), |input| {
            if input == b"{\"a\":1}" { valid += 1 } else { other += 1 }
        });
        assert!(valid > 0 && other > valid);
    }

    #[test]
    #[should_panic(expected = "broken")]
    fn what_fails_is_told_with_its_target() {
        run("broken", 10, &binary([[0_u8; 4]]), |_| panic!("always"));
    }
}
