//! Bot tokens: `base64url(user id).base64url(issued at).base64url(secret)`. Client libraries decode the first
//! two parts.
//!
//! A token is verified by looking up its SHA-256, never by comparing bytes. The store holds hashes only, and
//! the time of a look-up depends on a hash, from which the token cannot be found. Tokens are never printed:
//! the `Debug` of [`BotToken`] is redacted, and it has no `Display`.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use weir_proto::id::UserId;

/// Random bytes in a token's secret: 216 bits, 36 characters.
pub const SECRET_BYTES: usize = 27;

/// Longest token that is examined, in bytes; ours have 70 at most. It bounds the hashing that an
/// unauthenticated client can cause.
pub(crate) const TOKEN_BYTES_MAX: usize = 128;

/// Bytes of an encoded issue time. Five bytes, big-endian, are seven characters, which is past the six that
/// libraries demand, until the year 36812.
const ISSUED_BYTES: usize = 5;

/// A bot's credential. Show it once, to the user that it is issued to.
#[derive(Clone, PartialEq, Eq)]
pub struct BotToken(String);

/// SHA-256 of a whole token: what the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// Why text is not a bot token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts divided by dots, or too long.
    #[error("a token has three parts and at most {TOKEN_BYTES_MAX} bytes")]
    Shape,
    /// The first part is not an encoded user id.
    #[error("a token starts with its user's id")]
    UserId,
    /// The second or third part is not base64url, or too short.
    #[error("a token's issue time and secret are base64url")]
    Encoding,
}

impl BotToken {
    /// A new token for a user. `secret` must come from the operating system's random source; `issued_at` is
    /// in seconds since 1970-01-01T00:00Z.
    #[must_use]
    pub fn generate(user: UserId, issued_at: u64, secret: &[u8; SECRET_BYTES]) -> Self {
        let issued = issued_at.to_be_bytes();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let user = encode(user.to_string().as_bytes());
        Self(format!("{user}.{}.{}", encode(&issued[issued.len() - ISSUED_BYTES..]), encode(secret)))
    }

    /// The token in a text. The check is cheap, so that malformed tokens never reach the store.
    ///
    /// # Errors
    /// [`TokenError`] if the text does not have a token's form.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Shape);
        }
        let mut parts = text.split('.');
        let (Some(user), Some(issued), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Shape);
        };
        decode_user(user)?;
        for (part, least) in [(issued, ISSUED_BYTES), (secret, SECRET_BYTES)] {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding)?;
            if bytes.len() < least {
                return Err(TokenError::Encoding);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The user that the token names. That is only a claim; the store knows whose token it is.
    #[must_use]
    pub fn claimed_user(&self) -> Option<UserId> {
        self.0.split('.').next().and_then(|part| decode_user(part).ok())
    }

    /// The hash under which the store keeps it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The token itself. The name makes each use stand out in review: nothing that is logged or stored may
    /// call it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BotToken(redacted)")
    }
}

/// The token in the value of an `Authorization` header: `Bot x`, `Bearer x` or bare `x`. The scheme may be in
/// any case. Identify's `token` is parsed here too, because some libraries keep the prefix there.
///
/// # Errors
/// [`TokenError`] if there is no token in it.
pub fn parse_authorization(value: &str) -> Result<BotToken, TokenError> {
    let value = value.trim();
    let token = match value.split_once(' ') {
        Some((scheme, rest)) if is_scheme(scheme) => rest.trim_start(),
        Some(_) => return Err(TokenError::Shape),
        None => value,
    };
    BotToken::parse(token)
}

fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bot") || word.eq_ignore_ascii_case("bearer")
}

fn decode_user(part: &str) -> Result<UserId, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::UserId)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| TokenError::UserId)?;
    text.parse().map_err(|_| TokenError::UserId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(raw: u64) -> UserId {
        UserId::try_from(raw).expect("not 0")
    }

    proptest! {
        #[test]
        fn what_is_generated_parses_and_names_its_user(
            raw in 1..=u64::MAX, at in 0_u64..(1 << 40), secret in any::<[u8; SECRET_BYTES]>(),
        ) {
            let token = BotToken::generate(user(raw), at, &secret);
            let parsed = parse_authorization(&format!("Bot {}", token.reveal())).expect("ours");
            prop_assert_eq!(parsed.claimed_user(), Some(user(raw)));
            prop_assert_eq!(parsed.hash(), token.hash());
            prop_assert!(token.reveal().len() <= TOKEN_BYTES_MAX);
            let parts: Vec<_> = token.reveal().split('.').collect();
            prop_assert!(parts.len() == 3 && parts[1].len() >= 6);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = parse_authorization(&text);
        }
    }

    #[test]
    fn schemes_are_optional_and_case_does_not_matter() {
        let token = BotToken::generate(user(175_928_847_299_117_063), 1_700_000_000, &[7; SECRET_BYTES]);
        for prefix in ["", "Bot ", "bot ", "Bearer ", "BEARER  ", "  Bot "] {
            assert_eq!(
                parse_authorization(&format!("{prefix}{}", token.reveal())),
                Ok(token.clone()),
                "{prefix:?}"
            );
        }
        assert_eq!(parse_authorization(&format!("Basic {}", token.reveal())), Err(TokenError::Shape));
    }

    #[test]
    fn junk_is_refused_by_what_is_wrong() {
        let zero = URL_SAFE_NO_PAD.encode("0");
        let id = URL_SAFE_NO_PAD.encode("5");
        let secret = URL_SAFE_NO_PAD.encode([1; SECRET_BYTES]);
        for (text, error) in [
            (String::new(), TokenError::Shape),
            ("a.b".to_owned(), TokenError::Shape),
            ("a.b.c.d".to_owned(), TokenError::Shape),
            ("x".repeat(TOKEN_BYTES_MAX + 1), TokenError::Shape),
            (format!("{zero}.AAAAAAA.{secret}"), TokenError::UserId),
            (format!("!.AAAAAAA.{secret}"), TokenError::UserId),
            (format!("{id}.AAAA.{secret}"), TokenError::Encoding),
            (format!("{id}.AAAAAAA.AAAA"), TokenError::Encoding),
        ] {
            assert_eq!(BotToken::parse(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = BotToken::generate(user(1), 0, &[9; SECRET_BYTES]);
        let secret = token.reveal().rsplit('.').next().expect("three parts");
        assert!(!format!("{token:?} {:?}", Some(&token)).contains(secret));
    }

    #[test]
    fn another_secret_is_another_hash() {
        let (a, b) = ([1; SECRET_BYTES], [2; SECRET_BYTES]);
        assert_ne!(BotToken::generate(user(1), 0, &a).hash(), BotToken::generate(user(1), 0, &b).hash());
    }
}
