//! Reads the fields of a JSON body one by one. Each error is noted with its path, and reading goes on.
//!
//! A number or a truth value may also be given as its text, and a lone id stands for a list of one: a form
//! has only text, and repeats a field to give a list. JSON may do the same, where ids and permissions are
//! text anyway.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{blank::is_blank, query::truth};
use crate::error::{ApiError, FormErrors, Leaf, Path};

/// The fields of a request's body. An empty body counts as `{}`: several routes allow it, and the others
/// report what is missing.
///
/// # Errors
/// [`ApiError::InvalidJson`] if it is not JSON, a form error if it is not an object. The caller bounds its
/// length.
pub fn parse_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(FormErrors::one(Path::ROOT, Leaf::NotAnObject).into()),
        Err(_) => Err(ApiError::InvalidJson),
    }
}

/// Reads a body's fields with `read`.
///
/// # Errors
/// All errors that `read` noted.
pub fn parse_fields<'a, T>(
    body: &'a Map<String, Value>,
    read: impl FnOnce(&mut Fields<'a, '_>) -> T,
) -> Result<T, FormErrors> {
    let mut errors = FormErrors::new();
    let value = read(&mut Fields::new(body, Path::ROOT, &mut errors));
    errors.into_result(value)
}

/// The id in a JSON value: a decimal string, or an integer as some clients send it.
#[must_use]
pub fn snowflake(value: &Value) -> Option<u64> {
    let id = match value {
        // This is the parser of ids in paths, so that both refuse the same signs, zeroes and lengths.
        Value::String(text) => text.parse::<weir_proto::id::Snowflake>().ok()?.get(),
        Value::Number(number) => number.as_u64()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (id != 0).then_some(id)
}

/// An integer, in digits or as their text. The type is wide enough to distinguish a value beyond a field's
/// range from one that is no number.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The fields of one JSON object, `'a`, and the errors noted so far, `'e`. A reader returns `None` if a field
/// is absent, null or wrong; a wrong one is noted.
#[derive(Debug)]
pub struct Fields<'a, 'e> {
    map: &'a Map<String, Value>,
    path: Path<'e>,
    errors: &'e mut FormErrors,
}

impl<'a, 'e> Fields<'a, 'e> {
    /// The fields of `map`, whose place is `path`.
    pub fn new(map: &'a Map<String, Value>, path: Path<'e>, errors: &'e mut FormErrors) -> Self {
        Self { map, path, errors }
    }

    /// Notes an error of a field.
    pub fn fail(&mut self, key: &str, leaf: Leaf) {
        self.errors.add(self.path.key(key), leaf);
    }

    /// Notes an error of the object itself.
    pub(crate) fn fail_here(&mut self, leaf: Leaf) {
        self.errors.add(self.path, leaf);
    }

    /// Errors noted so far, in this object and all others of the body.
    #[must_use]
    pub(crate) fn errors_noted(&self) -> usize {
        self.errors.len()
    }

    /// The field, if it is there and not null.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// True if the field is there and null, which in a change means "clear it".
    #[must_use]
    pub fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// Notes the field as missing if it is absent or null.
    pub fn require(&mut self, key: &str) {
        if self.value(key).is_none() {
            self.fail(key, Leaf::Required);
        }
    }

    /// Text of a length in `range`, in code points, without U+0000, at which many clients end a text.
    pub fn text(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<&'a str> {
        let Value::String(text) = self.value(key)? else {
            self.fail(key, Leaf::NotAString);
            return None;
        };
        let (min, max) = (*range.start(), *range.end());
        if !range.contains(&text.chars().count()) {
            self.fail(key, if min == 0 { Leaf::MaxLength { max } } else { Leaf::BadLength { min, max } });
            return None;
        }
        if text.contains('\0') {
            self.fail(key, Leaf::BadText);
            return None;
        }
        Some(text)
    }

    /// A name: text with a visible character, unless it is empty.
    pub fn name(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<&'a str> {
        let name = self.text(key, range)?;
        if !name.is_empty() && is_blank(name) {
            self.fail(key, Leaf::BadText);
            return None;
        }
        Some(name)
    }

    /// A truth value.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let read = match self.value(key)? {
            Value::Bool(read) => Some(*read),
            Value::String(text) => truth(text),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if read.is_none() {
            self.fail(key, Leaf::NotABoolean);
        }
        read
    }

    /// An integer in `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let Some(number) = whole(self.value(key)?) else {
            self.fail(key, Leaf::NotAnInteger);
            return None;
        };
        if number < i128::from(*range.start()) {
            self.fail(key, Leaf::Min(i64::from(*range.start())));
            return None;
        }
        match u32::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                self.fail(key, Leaf::Max(i64::from(*range.end())));
                None
            }
        }
    }

    /// Any unsigned integer, such as flags.
    pub fn bits(&mut self, key: &str) -> Option<u64> {
        let bits = whole(self.value(key)?).and_then(|number| u64::try_from(number).ok());
        if bits.is_none() {
            self.fail(key, Leaf::NotAnInteger);
        }
        bits
    }

    /// An id.
    pub fn id(&mut self, key: &str) -> Option<u64> {
        let id = snowflake(self.value(key)?);
        if id.is_none() {
            self.fail(key, Leaf::NotASnowflake);
        }
        id
    }

    /// Permissions: a decimal string, or an integer as old clients send it. Bits without a meaning are left
    /// out: if they were stored, they would become permissions on the day when they get one.
    pub fn permissions(&mut self, key: &str) -> Option<crate::permission::Permissions> {
        let permissions = match self.value(key)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64().map(crate::permission::Permissions),
        };
        if permissions.is_none() {
            self.fail(key, Leaf::NotAnInteger);
        }
        permissions.map(|permissions| permissions & crate::permission::Permissions::ALL)
    }

    /// A list of at most `max` elements.
    pub fn list(&mut self, key: &str, max: usize) -> Option<&'a [Value]> {
        let Value::Array(list) = self.value(key)? else {
            self.fail(key, Leaf::NotAList);
            return None;
        };
        if list.len() > max {
            self.fail(key, Leaf::BadLength { min: 0, max });
            return None;
        }
        Some(list)
    }

    /// A list of at most `max` ids, or a lone one, because a form gives a list by repeating the field.
    /// Repetitions are kept.
    pub fn ids(&mut self, key: &str, max: usize) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        if value.is_string() {
            let lone = snowflake(value);
            if lone.is_none() {
                self.errors.add(self.path.key(key).index(0), Leaf::NotASnowflake);
            }
            return Some(lone.into_iter().collect());
        }
        let list = self.list(key, max)?;
        let mut ids = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match snowflake(value) {
                Some(id) => ids.push(id),
                None => self.errors.add(self.path.key(key).index(index), Leaf::NotASnowflake),
            }
        }
        Some(ids)
    }

    /// The object at a field, read with `read`.
    pub fn object<T>(&mut self, key: &str, read: impl FnOnce(&mut Fields<'a, '_>) -> T) -> Option<T> {
        let Value::Object(map) = self.value(key)? else {
            self.fail(key, Leaf::NotAnObject);
            return None;
        };
        Some(read(&mut Fields { map, path: self.path.key(key), errors: self.errors }))
    }

    /// A list of at most `max` objects, each read with `read`. Elements that are not objects are noted and
    /// left out.
    pub fn objects<T>(
        &mut self,
        key: &str,
        max: usize,
        mut read: impl FnMut(&mut Fields<'a, '_>) -> T,
    ) -> Option<Vec<T>> {
        let list = self.list(key, max)?;
        let here = self.path.key(key);
        let mut values = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match value {
                Value::Object(map) => {
                    values.push(read(&mut Fields { map, path: here.index(index), errors: self.errors }));
                }
                _ => self.errors.add(here.index(index), Leaf::NotAnObject),
            }
        }
        Some(values)
    }

    /// Notes a field of a feature that Weir does not have, if it asks for anything.
    pub fn refuse_unsupported(&mut self, key: &str) {
        let asks = match self.value(key) {
            None => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        if asks {
            self.fail(key, Leaf::Unsupported);
        }
    }
}
