//! The protocol's header names and the deadline that one of them carries.
//!
//! Names that start with `connect-` belong to the protocol. A unary reply's trailers travel as headers whose
//! name starts with `trailer-`; this crate leaves the prefix in place, so a trailer is read by its prefixed
//! name.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ConnectError;

/// `connect-timeout-ms`: how long the caller waits, in milliseconds from when it sent the request.
pub const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// `connect-protocol-version`: optional in requests. If it is there, it must be `1`.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");

/// `accept-post`: a 415 carries it, with the content types that would have been accepted.
pub(crate) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Most digits that the protocol allows in a timeout: 9 999 999 999 ms, about 115 days.
const TIMEOUT_DIGITS_MAX: usize = 10;

/// The largest timeout that has no more digits.
const TIMEOUT_MS_MAX: u64 = 9_999_999_999;

/// Reads the caller's timeout; `None` if there is no such header.
///
/// Zero is accepted and means "already expired": a caller that computes its remaining time may legitimately
/// arrive at it.
///
/// # Errors
/// `invalid_argument` unless the value is one to ten ASCII digits.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ConnectError> {
    let Some(value) = headers.get(&TIMEOUT) else { return Ok(None) };
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ConnectError::invalid_argument(
            "connect-timeout-ms must be a whole number of milliseconds in at most 10 digits",
        ));
    }
    let ms = digits.iter().fold(0_u64, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    Ok(Some(Duration::from_millis(ms)))
}

/// The header value for `timeout`. It is rounded down, so that the server never outlives its caller by more
/// than a millisecond. It is at least 1, because a server would refuse a call with zero unread, and at most
/// what ten digits hold.
pub(crate) fn timeout_value(timeout: Duration) -> HeaderValue {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    HeaderValue::from(ms.clamp(1, TIMEOUT_MS_MAX))
}

/// Checks the optional protocol version.
///
/// # Errors
/// `invalid_argument` if the header is there and is not `1`.
pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), ConnectError> {
    match headers.get(&PROTOCOL_VERSION) {
        Some(version) if version.as_bytes() != b"1" => {
            Err(ConnectError::invalid_argument("connect-protocol-version must be \"1\""))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str) -> Result<Option<Duration>, ConnectError> {
        let value = HeaderValue::from_str(value).unwrap();
        timeout(&HeaderMap::from_iter([(TIMEOUT, value)]))
    }

    #[test]
    fn absent_timeout_is_none() {
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn refuses_what_is_not_ten_digits() {
        for bad in ["", "-1", "+5", "1.5", "5s", " 5", "0x10", "10000000000", "00000000001"] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.code, crate::Code::InvalidArgument, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn timeout_round_trips_to_the_millisecond(ms in 1..=TIMEOUT_MS_MAX, ns in 0..1_000_000_u32) {
            let sent = Duration::from_millis(ms) + Duration::from_nanos(u64::from(ns));
            let value = timeout_value(sent);
            prop_assert!(value.len() <= TIMEOUT_DIGITS_MAX);
            prop_assert_eq!(parse(value.to_str().unwrap()), Ok(Some(Duration::from_millis(ms))));
        }

        #[test]
        fn any_duration_makes_a_valid_header(seconds in any::<u64>(), ns in 0..1_000_000_000_u32) {
            let value = timeout_value(Duration::new(seconds, ns));
            prop_assert!(parse(value.to_str().unwrap()).unwrap().unwrap() >= Duration::from_millis(1));
        }

        #[test]
        fn reading_never_panics(value in "[ -~]{0,14}") {
            let _ = parse(&value);
        }
    }
}
