//! What a client asks for in the URL it connects to: `?v=10&encoding=json&compress=zlib-stream`.

use crate::{Close, CloseCode};

/// Gateway versions that are served; both get the same payloads.
const VERSIONS: [u8; 2] = [9, 10];
/// Version of a client that names none.
const VERSION_DEFAULT: u8 = 10;

/// Transport compression, agreed before the first payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TransportCompression {
    /// Text frames.
    #[default]
    None,
    /// One deflate stream over the connection's life, flushed after each payload.
    ZlibStream,
}

/// A connection's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandshakeParams {
    /// 9 or 10; READY repeats it.
    pub(crate) version: u8,
    pub(crate) compression: TransportCompression,
}

/// Why a URL's parameters cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParamsError {
    /// The client is told by a close code once the socket is open, which is how client libraries learn of it.
    #[error(transparent)]
    Close(#[from] Close),
    /// The client is told by HTTP 400 before the upgrade: there is no close code for this, and a client that
    /// went on would read frames that it cannot decode.
    #[error("compress={name} is not served; use compress=zlib-stream or none")]
    Compression {
        /// What was asked for.
        name: String,
    },
}

/// Reads a URL's query. Unknown keys are ignored, and if a key comes twice the last one counts.
pub(crate) fn parse(query: Option<&str>) -> Result<HandshakeParams, ParamsError> {
    let (mut version, mut encoding, mut compress) = (None, None, None);
    for (key, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "v" => version = Some(value),
            "encoding" => encoding = Some(value),
            "compress" => compress = Some(value),
            _ => {}
        }
    }
    // The compression is checked first: refusing it needs no socket.
    let compression = match compress {
        None | Some("") => TransportCompression::None,
        Some("zlib-stream") => TransportCompression::ZlibStream,
        Some(other) => return Err(ParamsError::Compression { name: other.chars().take(32).collect() }),
    };
    let version = match version {
        None => VERSION_DEFAULT,
        Some(text) => {
            text.parse().ok().filter(|version| VERSIONS.contains(version)).ok_or_else(|| {
                Close::new(CloseCode::InvalidVersion, "gateway versions 9 and 10 are served")
            })?
        }
    };
    match encoding {
        None | Some("json") => Ok(HandshakeParams { version, compression }),
        Some(_) => Err(Close::new(CloseCode::InvalidVersion, "the only encoding is json").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_have_defaults_and_known_ones_are_read() {
        let plain = HandshakeParams { version: 10, compression: TransportCompression::None };
        assert_eq!(parse(None), Ok(plain));
        assert_eq!(parse(Some("")), Ok(plain));
        assert_eq!(parse(Some("v=10&encoding=json&x=y")), Ok(plain));
        let zlib = HandshakeParams { version: 9, compression: TransportCompression::ZlibStream };
        assert_eq!(parse(Some("compress=zlib-stream&v=9")), Ok(zlib));
    }

    #[test]
    fn what_is_not_served_is_said_in_the_way_the_client_hears() {
        for query in ["v=8", "v=x", "v=", "encoding=etf"] {
            let error = parse(Some(query)).expect_err("not served");
            assert!(
                matches!(&error, ParamsError::Close(close) if close.code == CloseCode::InvalidVersion),
                "{query}: {error:?}"
            );
        }
        assert_eq!(
            parse(Some("v=10&compress=zstd-stream")),
            Err(ParamsError::Compression { name: "zstd-stream".into() })
        );
    }
}
