//! The JSON form of an error: strict in what it writes, lenient in what it reads.
//!
//! A client that cannot read an error must still learn its code. So reading never fails: for a missing or
//! malformed code, the one that the HTTP status implies is taken.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Code, ConnectError, Detail};

#[derive(Serialize)]
struct Sent<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<SentDetail<'a>>,
}

#[derive(Serialize)]
struct SentDetail<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    value: String,
}

#[derive(Deserialize)]
struct Received {
    code: String,
    #[serde(default)]
    message: Option<String>,
    // Details are read one by one, because an unreadable one must not hide the code.
    #[serde(default)]
    details: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct ReceivedDetail {
    #[serde(rename = "type")]
    type_name: String,
    value: String,
}

impl ReceivedDetail {
    fn decode(self) -> Option<Detail> {
        let value = STANDARD_PAD_INDIFFERENT.decode(self.value).ok()?;
        // Some implementations send protobuf's Any URL where the protocol asks for the bare name.
        let type_name = match self.type_name.rsplit_once('/') {
            Some((_, name)) => name.to_owned(),
            None => self.type_name,
        };
        Some(Detail { type_name, value: value.into() })
    }
}

impl ConnectError {
    /// The error as the JSON object of a reply's body. The optional `debug` form of details is not sent.
    pub fn to_json(&self) -> Bytes {
        let details = self
            .details
            .iter()
            .map(|detail| SentDetail {
                type_name: &detail.type_name,
                value: STANDARD_NO_PAD.encode(&detail.value),
            })
            .collect();
        let sent = Sent { code: self.code.as_str(), message: &self.message, details };
        // Strings and a vector of strings cannot fail to serialize.
        serde_json::to_vec(&sent).unwrap_or_default().into()
    }

    /// Reads an error's body; `http_status` supplies the code when the body is absent, not JSON or without a
    /// known code.
    pub fn from_json(http_status: u16, body: &[u8]) -> ConnectError {
        let inferred = || {
            ConnectError::new(
                Code::infer(http_status),
                format!("HTTP status {http_status} without a Connect error"),
            )
        };
        let Ok(received) = serde_json::from_slice::<Received>(body) else { return inferred() };
        let Some(code) = Code::from_wire(&received.code) else { return inferred() };
        let details = received
            .details
            .unwrap_or_default()
            .into_iter()
            .filter_map(|detail| serde_json::from_value::<ReceivedDetail>(detail).ok()?.decode())
            .collect();
        ConnectError { code, message: received.message.unwrap_or_default(), details, headers: None }
    }
}
