//! Reads values as client libraries are known to write them: numbers, truth values and ids also as text, a
//! single value in place of a list, and a list with one element in place of a single value.
//!
//! A value that cannot be read counts as absent. The caller decides whether that matters; a session never
//! ends because a field has another type.

use serde_json::{Map, Value};

/// A whole number from 0, written in digits, as `5.0`, or as text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            // Languages with one type of number write whole ones with a fraction. Beyond 2^53 such a number
            // is not exact.
            const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
            let number = number.as_f64()?;
            (number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number)).then_some(number as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(list) => match list.as_slice() {
            [one] if !one.is_array() => number(one),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// A text, or the digits of a number.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// True for `true`, `1` and their texts.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "true" || text == "1",
        Value::Number(number) => number.as_u64() == Some(1),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The ids of a list, or a single id. Elements that are no ids are left out.
pub(crate) fn ids(value: &Value) -> Vec<u64> {
    match value {
        Value::Array(list) => list.iter().filter_map(number).collect(),
        one => number(one).into_iter().collect(),
    }
}

/// A field's value; `None` if it is absent or null.
pub(crate) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_in_digits_with_a_fraction_as_text_and_alone_in_a_list() {
        for value in [json!(7), json!(7.0), json!("7"), json!(" 7 "), json!([7]), json!(["7"])] {
            assert_eq!(number(&value), Some(7), "{value}");
        }
        assert_eq!(number(&json!("18446744073709551615")), Some(u64::MAX));
        for value in [
            json!(-1),
            json!(7.5),
            json!(1e300),
            json!("x"),
            json!([1, 2]),
            json!([[7]]),
            json!({}),
            json!(true),
        ] {
            assert_eq!(number(&value), None, "{value}");
        }
    }

    #[test]
    fn texts_truths_and_ids_are_read_in_every_form() {
        assert_eq!((text(&json!("a")), text(&json!(5))), (Some("a".to_owned()), Some("5".to_owned())));
        assert_eq!(text(&json!(["a"])), None);
        assert!([json!(true), json!("true"), json!(1), json!("1")].iter().all(truth));
        assert!(![json!(false), json!("yes"), json!(2), json!(null), json!([true])].iter().any(truth));
        assert_eq!(ids(&json!(["5", 6, "x", null])), [5, 6]);
        assert_eq!(ids(&json!("5")), [5]);
        assert!(ids(&json!({"a": 1})).is_empty());
    }
}
