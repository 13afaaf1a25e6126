//! Freshness tokens: "at least this state", opaque to callers.
//!
//! A token names a channel or guild and one of its revisions. A read with a token gets only state that is at
//! least that new.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use weir_proto::id::Snowflake;

/// Version of the format; a token of another version is ignored, which makes no read stale: the owner's reads
/// are never older.
const VERSION: u8 = 1;

/// A decoded token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The channel or guild; a token does not say which of the two.
    pub scope_id: Snowflake,
    /// The read must show at least this revision.
    pub rev: u64,
}

impl Freshness {
    /// The header's value; 23 bytes.
    #[must_use]
    pub fn encode(self) -> HeaderValue {
        let mut raw = [VERSION; 17];
        raw[1..9].copy_from_slice(&self.scope_id.get().to_be_bytes());
        raw[9..].copy_from_slice(&self.rev.to_be_bytes());
        HeaderValue::from_str(&BASE64_URL_SAFE_NO_PAD.encode(raw)).expect("base64 is visible ASCII")
    }

    /// Reads a header's value; `None` if it is no token of this version.
    #[must_use]
    pub fn decode(value: &HeaderValue) -> Option<Self> {
        let raw = BASE64_URL_SAFE_NO_PAD.decode(value.as_bytes()).ok()?;
        let raw: [u8; 17] = raw.try_into().ok()?;
        let number = |at: usize| raw[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let scope_id = Snowflake::try_from(number(1)).ok()?;
        (raw[0] == VERSION).then(|| Self { scope_id, rev: number(9) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_survives_the_round_trip(scope_id in 1_u64.., rev in any::<u64>()) {
            let token = Freshness { scope_id: Snowflake::try_from(scope_id).expect("not 0"), rev };
            prop_assert_eq!(Freshness::decode(&token.encode()), Some(token));
        }

        #[test]
        fn junk_is_no_token_and_no_panic(text in "[ -~]{0,130}") {
            if let Ok(value) = HeaderValue::from_str(&text) {
                let _ = Freshness::decode(&value);
            }
        }
    }

    #[test]
    fn another_version_is_ignored() {
        let mut raw = [1_u8; 17];
        raw[0] = 2;
        let value = HeaderValue::from_str(&BASE64_URL_SAFE_NO_PAD.encode(raw)).expect("ASCII");
        assert_eq!(Freshness::decode(&value), None);
    }
}
