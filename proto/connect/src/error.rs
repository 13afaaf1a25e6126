//! Connect's sixteen error codes and the error value that crosses the wire.
//!
//! The code table (code, wire name, HTTP status) is the protocol's. No other file knows which status belongs
//! to a code.

mod wire;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal;)*) => {
        /// The kind of an error, in the protocol's closed vocabulary. There are no user-defined codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the gRPC numbers.
            pub const ALL: [Code; [$($status),*].len()] = [$(Code::$name),*];

            /// The name in error JSON; also the metric label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $word),* }
            }

            /// The HTTP status that carries this code.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$name => $status),* }
            }
        }
    };
}

codes! {
    /// The caller gave up.
    Canceled = "canceled", 499;
    /// The origin is unclear. An HTTP status without a mapping becomes this too.
    Unknown = "unknown", 500;
    /// The request is invalid whatever the state of the system.
    InvalidArgument = "invalid_argument", 400;
    /// The deadline passed before the call finished.
    DeadlineExceeded = "deadline_exceeded", 504;
    /// The thing that was asked for does not exist.
    NotFound = "not_found", 404;
    /// The thing that was to be created exists already.
    AlreadyExists = "already_exists", 409;
    /// The caller is known and may not do this.
    PermissionDenied = "permission_denied", 403;
    /// A quota or limit of this caller or channel is used up.
    ResourceExhausted = "resource_exhausted", 429;
    /// The caller must change the state of the system before trying again.
    FailedPrecondition = "failed_precondition", 400;
    /// A conflict; try again at a higher level.
    Aborted = "aborted", 409;
    /// Past the valid range.
    OutOfRange = "out_of_range", 400;
    /// Not implemented, not supported or not enabled.
    Unimplemented = "unimplemented", 501;
    /// A broken invariant of the server.
    Internal = "internal", 500;
    /// Temporarily not available. The caller may back off and repeat an idempotent call.
    Unavailable = "unavailable", 503;
    /// Unrecoverable loss or corruption.
    DataLoss = "data_loss", 500;
    /// Valid credentials are missing.
    Unauthenticated = "unauthenticated", 401;
}

impl Code {
    /// The code of a wire name. Names are case-sensitive.
    pub fn from_wire(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The code to assume when a reply that is not 200 carries no readable Connect error, as from a proxy.
    ///
    /// This is the protocol's own table and not the inverse of [`Code::http_status`]: a proxy's 404 means "no
    /// such method here", its 429 and 504 mean "try later".
    pub(crate) const fn infer(http_status: u16) -> Code {
        match http_status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A typed protobuf message attached to an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Fully qualified message name without a URL prefix, such as `weir.data.v1.Refusal`.
    pub type_name: String,
    /// The message in protobuf's binary form.
    pub value: Bytes,
}

/// The failure of one call, as it crosses the wire.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ConnectError {
    /// The kind of the error.
    pub code: Code,
    /// Text for people: lower case, no full stop, no secrets; may be empty.
    pub message: String,
    /// Typed details, most specific first.
    pub details: Vec<Detail>,
    // Boxed because most errors have none, and a HeaderMap takes 96 bytes of every Result.
    headers: Option<Box<HeaderMap>>,
}

/// Makes one constructor for each code that servers raise, so that call sites read as the failure they
/// report.
macro_rules! constructors {
    ($($name:ident => $code:ident),+ $(,)?) => {$(
        #[doc = concat!("An error with [`Code::", stringify!($code), "`].")]
        pub fn $name(message: impl Into<String>) -> ConnectError {
            ConnectError::new(Code::$code, message)
        }
    )+};
}

impl ConnectError {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> ConnectError {
        ConnectError { code, message: message.into(), details: Vec::new(), headers: None }
    }

    constructors! {
        canceled => Canceled,
        unknown => Unknown,
        invalid_argument => InvalidArgument,
        deadline_exceeded => DeadlineExceeded,
        not_found => NotFound,
        already_exists => AlreadyExists,
        permission_denied => PermissionDenied,
        resource_exhausted => ResourceExhausted,
        failed_precondition => FailedPrecondition,
        aborted => Aborted,
        out_of_range => OutOfRange,
        unimplemented => Unimplemented,
        internal => Internal,
        unavailable => Unavailable,
        data_loss => DataLoss,
        unauthenticated => Unauthenticated,
    }

    /// Attaches `message` as a detail named `type_name` (fully qualified, such as `weir.data.v1.Refusal`).
    #[must_use]
    pub fn with_detail(
        mut self,
        type_name: impl Into<String>,
        message: &impl prost::Message,
    ) -> ConnectError {
        let value = message.encode_to_vec().into();
        self.details.push(Detail { type_name: type_name.into(), value });
        self
    }

    /// The first detail named `type_name`, decoded. `None` if there is none or its bytes are not an `M`.
    pub fn detail<M: prost::Message + Default>(&self, type_name: &str) -> Option<M> {
        let detail = self.details.iter().find(|detail| detail.type_name == type_name)?;
        M::decode(detail.value.clone()).ok()
    }

    /// Adds a header to the error's reply; a trailer's name starts with `trailer-`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> ConnectError {
        self.headers.get_or_insert_default().append(name, value);
        self
    }

    /// The header `name` of the error's reply.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers.as_ref()?.get(name)
    }

    /// Takes the headers, to put them on a reply.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        self.headers.take().map_or_else(HeaderMap::new, |headers| *headers)
    }

    /// Keeps the headers that an error arrived with.
    pub(crate) fn set_headers(&mut self, headers: HeaderMap) {
        self.headers = (!headers.is_empty()).then(|| Box::new(headers));
    }
}

#[cfg(test)]
mod tests;
