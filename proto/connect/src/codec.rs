//! The two message codecs: protobuf's binary form and its JSON mapping.

use bytes::Bytes;
use http::HeaderValue;
use prost_reflect::MessageDescriptor;

use crate::error::ConnectError;
use crate::json;

/// Most characters of a library's error text that are repeated in ours.
const ERROR_TEXT_MAX: usize = 240;

/// The encoding of a message in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `application/proto`.
    Proto,
    /// `application/json`: protobuf's canonical JSON mapping. Each call is converted in memory twice, so it
    /// is meant for people and scripts; hot paths use [`Codec::Proto`].
    Json,
}

impl Codec {
    /// Both content types, as the `accept-post` header of a 415 lists them.
    pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("application/proto, application/json");

    /// The codec's content type.
    pub const fn content_type(self) -> HeaderValue {
        match self {
            Codec::Proto => HeaderValue::from_static("application/proto"),
            Codec::Json => HeaderValue::from_static("application/json"),
        }
    }

    /// The codec of a content type. Parameters such as `charset=utf-8` are ignored, and so is letter case.
    pub(crate) fn from_content_type(value: &HeaderValue) -> Option<Codec> {
        let value = value.as_bytes();
        let media_type = value.split(|byte| *byte == b';').next()?.trim_ascii();
        if media_type.eq_ignore_ascii_case(b"application/proto") {
            Some(Codec::Proto)
        } else if media_type.eq_ignore_ascii_case(b"application/json") {
            Some(Codec::Json)
        } else {
            None
        }
    }

    /// Writes a message of `shape` that is given in protobuf's binary form. For [`Codec::Proto`] the result
    /// is the same bytes, shared.
    ///
    /// # Errors
    /// `internal` if `proto` is not a message of `shape`. Only [`Codec::Json`] notices that.
    pub fn encode(self, proto: Bytes, shape: &MessageDescriptor) -> Result<Bytes, ConnectError> {
        match self {
            Codec::Proto => Ok(proto),
            Codec::Json => json::encode(proto, shape)
                .map_err(|error| ConnectError::internal(format!("reply has no JSON form: {error}"))),
        }
    }

    /// Reads a message of `shape`, which is `M`'s.
    ///
    /// # Errors
    /// `invalid_argument` with the place of the error if `body` is not an `M`.
    pub fn decode<M: prost::Message + Default>(
        self,
        body: Bytes,
        shape: &MessageDescriptor,
    ) -> Result<M, ConnectError> {
        match self {
            Codec::Proto => M::decode(body).map_err(|error| {
                let error = shorten(error.to_string());
                ConnectError::invalid_argument(format!("body is not this method's protobuf message: {error}"))
            }),
            Codec::Json => json::decode(&body, shape).map_err(|error| {
                let error = shorten(error);
                ConnectError::invalid_argument(format!("body is not this method's JSON message: {error}"))
            }),
        }
    }
}

/// Shortens a library's error text. It repeats the path to the error, which is as long as the caller likes.
fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ERROR_TEXT_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_with_parameters_and_capitals_are_known() {
        let known = [
            ("application/proto", Some(Codec::Proto)),
            ("Application/JSON", Some(Codec::Json)),
            ("application/json; charset=utf-8", Some(Codec::Json)),
            ("application/json ;charset=utf-8", Some(Codec::Json)),
            ("application/connect+proto", None),
            ("application/grpc", None),
            ("application/jsonp", None),
            ("", None),
        ];
        for (value, codec) in known {
            assert_eq!(Codec::from_content_type(&HeaderValue::from_static(value)), codec, "{value}");
        }
    }

    #[test]
    fn each_codec_recognises_its_own_content_type() {
        for codec in [Codec::Proto, Codec::Json] {
            assert_eq!(Codec::from_content_type(&codec.content_type()), Some(codec));
        }
    }
}
