//! Forms as bodies, `application/x-www-form-urlencoded` and `multipart/form-data`, turned into the JSON that
//! they stand for.
//!
//! A form has only text. So every value becomes a JSON string, and a field that comes more than once becomes
//! a list of strings. Whether a text stands for a number, an id or a truth value is known where the field is
//! read, in [`weir_discord::validate::Fields`]. Fields cannot hold an object, so the field `payload_json`
//! holds the whole body as JSON.

use axum::{
    extract::{Form, FromRequest as _, Multipart, Request, multipart::Field},
    response::IntoResponse,
};
use bytes::Bytes;
use serde_json::{Map, Value, map::Entry};
use weir_discord::error::Leaf;

use crate::answer::error::Refused;

/// The field that holds the whole body as JSON.
const PAYLOAD_JSON: &str = "payload_json";

/// The JSON of a URL-encoded form, which is in memory and bounded. Bytes that are not UTF-8 become U+FFFD, as
/// the URL standard says.
pub(crate) async fn url_encoded(request: Request) -> Result<Bytes, Refused> {
    let Form(pairs) = Form::<Vec<(String, String)>>::from_request(request, &()).await.map_err(malformed)?;
    let mut fields = Fields::default();
    for (name, text) in pairs {
        fields.put(name, text);
    }
    fields.into_json()
}

/// The JSON of a multipart form, which is in memory and bounded. Files are refused rather than dropped
/// silently.
pub(crate) async fn multipart(request: Request) -> Result<Bytes, Refused> {
    let mut form = Multipart::from_request(request, &()).await.map_err(malformed)?;
    let mut fields = Fields::default();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        if is_file(&field) {
            return Err(Refused::field("files", Leaf::Unsupported));
        }
        // No endpoint asks for a field without a name.
        let Some(name) = field.name().map(str::to_owned) else { continue };
        let bytes = field.bytes().await.map_err(malformed)?;
        match String::from_utf8(bytes.into()) {
            Ok(text) => fields.put(name, text),
            Err(_) => return Err(Refused::field(&name, Leaf::NotAString)),
        }
    }
    fields.into_json()
}

/// The body is not what its `Content-Type` says.
fn malformed(_: impl IntoResponse) -> Refused {
    Refused::field("Content-Type", Leaf::BadContentType)
}

fn is_file(field: &Field<'_>) -> bool {
    field.file_name().is_some()
        || field.name().is_some_and(|name| name == "file" || name.starts_with("files["))
}

/// A form's fields. Their number is bounded by the body's bound in bytes.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: String, text: String) {
        let text = Value::String(text);
        match self.0.entry(name) {
            Entry::Vacant(place) => {
                place.insert(text);
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                Value::Array(list) => list.push(text),
                only => *only = Value::Array(vec![only.take(), text]),
            },
        }
    }

    /// Returns the text of `payload_json` if there is one, and ignores the other fields then, as unknown keys
    /// of JSON are ignored.
    fn into_json(mut self) -> Result<Bytes, Refused> {
        match self.0.remove(PAYLOAD_JSON) {
            None => Ok(Value::Object(self.0).to_string().into()),
            Some(Value::String(json)) => Ok(json.into()),
            Some(_) => Err(Refused::field(PAYLOAD_JSON, Leaf::NotAString)),
        }
    }
}
