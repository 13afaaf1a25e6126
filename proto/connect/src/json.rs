//! Protobuf's JSON mapping of messages whose shape is known by descriptor. `prost-reflect` reads and writes
//! it.
//!
//! Before the library sees a body, one pass checks it against the descriptors. That pass does two things that
//! the library does not: it reads an integer in each form that the mapping allows (`10`, `10.0`, `1e1`, and
//! each of them in quotes), and it says in plain words which field is wrong and what was expected there.
//!
//! Where the mapping leaves a choice, this does as Connect's other servers do. Unknown fields and unknown
//! names of enum values are skipped, so that a newer caller is understood. Of two fields with one name the
//! last counts.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Number, Value};

/// Above this, two integers may share one `f64`, so a number with a fraction or an exponent no longer names
/// one integer.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a message of `shape`.
///
/// # Errors
/// Text for the caller: what is wrong, and where.
pub(crate) fn decode<M: Message + Default>(body: &[u8], shape: &MessageDescriptor) -> Result<M, String> {
    let mut body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    message(&mut body, shape).map_err(|misfit| misfit.to_string())?;
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(body, &mut track);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let read = DynamicMessage::deserialize_with_options(shape.clone(), tracked, &options);
    let read = read.map_err(|error| format!("{}: {error}", track.path()))?;
    read.transcode_to().map_err(|error| error.to_string())
}

/// Writes a message of `shape` that is given in protobuf's binary form.
///
/// # Errors
/// Text for the log: `proto` is not a message of `shape`.
pub(crate) fn encode(proto: Bytes, shape: &MessageDescriptor) -> Result<Bytes, String> {
    let message = DynamicMessage::decode(shape.clone(), proto).map_err(|error| error.to_string())?;
    serde_json::to_vec(&message).map(Bytes::from).map_err(|error| error.to_string())
}

/// A value that its field cannot take.
struct FieldError {
    place: String,
    expected: Cow<'static, str>,
}

impl FieldError {
    fn new(expected: impl Into<Cow<'static, str>>) -> FieldError {
        FieldError { place: String::new(), expected: expected.into() }
    }

    fn within(self, outer: &str) -> FieldError {
        let point = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        FieldError { place: format!("{outer}{point}{}", self.place), ..self }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.place.is_empty() { "it" } else { &self.place };
        write!(f, "{place} must be {}", self.expected)
    }
}

// The recursion is as deep as the body is nested, which serde_json bounds at 128.
fn message(value: &mut Value, shape: &MessageDescriptor) -> Result<(), FieldError> {
    let Value::Object(fields) = value else { return Err(FieldError::new("an object")) };
    for (name, value) in fields {
        let known = shape.get_field_by_json_name(name).or_else(|| shape.get_field_by_name(name));
        let Some(known) = known.filter(|_| !value.is_null()) else { continue };
        field(value, &known).map_err(|misfit| misfit.within(name))?;
    }
    Ok(())
}

fn field(value: &mut Value, field: &FieldDescriptor) -> Result<(), FieldError> {
    let kind = field.kind();
    if field.is_map() {
        // The library reads well-known types, which have a JSON form of their own. The contract uses none.
        return Ok(());
    }
    if !field.is_list() {
        return single(value, &kind);
    }
    let Value::Array(items) = value else { return Err(FieldError::new("a list")) };
    for (index, item) in items.iter_mut().enumerate() {
        single(item, &kind).map_err(|misfit| misfit.within(&format!("[{index}]")))?;
    }
    Ok(())
}

fn single(value: &mut Value, kind: &Kind) -> Result<(), FieldError> {
    let (fits, expected) = match kind {
        Kind::Message(shape) if shape.full_name().starts_with("google.protobuf.") => return Ok(()),
        Kind::Message(shape) => return message(value, shape),
        Kind::Enum(names) if value.is_number() => {
            let name = names.name().to_owned();
            return integer(value, i32::MIN.into(), i32::MAX.into())
                .map_err(|_| FieldError::new(format!("a name or number of {name}")));
        }
        Kind::Enum(names) if !value.is_string() => {
            return Err(FieldError::new(format!("a name or number of {}", names.name())));
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            return integer(value, i32::MIN.into(), i32::MAX.into());
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            return integer(value, i64::MIN.into(), i64::MAX.into());
        }
        Kind::Uint32 | Kind::Fixed32 => return integer(value, 0, u32::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => return integer(value, 0, u64::MAX.into()),
        Kind::Double | Kind::Float => (value.is_number() || value.is_string(), "a number"),
        Kind::Bool => (value.is_boolean(), "true or false"),
        Kind::String | Kind::Enum(_) => (value.is_string(), "a string"),
        Kind::Bytes => (value.is_string(), "a string in base64"),
    };
    if fits { Ok(()) } else { Err(FieldError::new(expected)) }
}

/// Replaces `value` by the integer that it means.
fn integer(value: &mut Value, min: i128, max: i128) -> Result<(), FieldError> {
    let meant = match value {
        Value::Number(number) => whole(number),
        // A string holds a number as JSON writes it, without surrounding space.
        Value::String(text) if !text.contains(|letter: char| letter.is_whitespace()) => {
            serde_json::from_str(text).ok().as_ref().and_then(whole)
        }
        _ => None,
    };
    let fits = meant.filter(|meant| (min..=max).contains(meant)).and_then(Number::from_i128);
    *value =
        Value::Number(fits.ok_or_else(|| FieldError::new(format!("a whole number from {min} to {max}")))?);
    Ok(())
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i128().or_else(|| {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i128)
    })
}
