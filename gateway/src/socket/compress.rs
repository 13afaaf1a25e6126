//! Outgoing compression: one deflate stream for a connection, or one zlib document for a payload.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, Status, write::ZlibEncoder};
use weir_connect::budget::{Account, Hold};

use crate::limits::memory::CODEC_BYTES;

/// Output space added when the compressor has filled what it had.
const STEP: usize = 1_024;

/// The compressor failed. The state of the stream cannot be trusted, so the connection must close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressor failed")]
pub(crate) struct CompressError;

/// First bytes of a zlib stream: deflate with a window of 32 KiB, made at the default level. A stream that is
/// never ended has no checksum.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x9c];
/// The empty stored block of a sync flush, from a byte boundary on.
const FLUSHED: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// `zlib-stream`: one deflate stream over the connection's life, flushed after each payload so that each
/// message ends in `00 00 ff ff`.
///
/// A compressor holds the deflate window and hash tables, measured at 200 to 310 KiB: it is the most
/// expensive part of a connection that asks for it. So there is no compressor until the client has a session.
/// What is sent before, Hello and answers of a few bytes, goes as stored blocks, which need no state. The
/// compressor then continues the same stream and refers to nothing before itself. If there is no room for a
/// compressor, a session is served by stored blocks, too.
pub(crate) struct ZlibStream {
    context: Option<Box<Compress>>,
    /// The bytes that the compressor counts for.
    held: Option<Hold>,
    /// True once the stream's header was written.
    begun: bool,
}

impl ZlibStream {
    pub(crate) fn new() -> Self {
        Self { context: None, held: None, begun: false }
    }

    /// Creates the compressor, unless there is one. If `account` has no room for it, the stream goes on with
    /// stored blocks: that costs bytes on the wire instead of memory.
    pub(crate) fn begin_compressing(&mut self, account: &Account) {
        if self.context.is_none()
            && let Ok(held) = account.hold(CODEC_BYTES)
        {
            self.context = Some(Box::new(Compress::new(Compression::default(), false)));
            self.held = Some(held);
        }
    }

    /// The next message of the stream.
    pub(crate) fn message(&mut self, payload: &[u8]) -> Result<Vec<u8>, CompressError> {
        // JSON of this kind shrinks to about a third even without history; growing is rare.
        let mut out = Vec::with_capacity(payload.len() / 2 + STEP);
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&ZLIB_HEADER);
        }
        match &mut self.context {
            Some(context) => deflate(context, payload, &mut out)?,
            None => store(payload, &mut out),
        }
        Ok(out)
    }
}

/// Appends a payload and a flush, compressed.
fn deflate(context: &mut Compress, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let mut rest = payload;
    loop {
        let before = context.total_in();
        let status = context.compress_vec(rest, out, FlushCompress::Sync).map_err(|_| CompressError)?;
        // This is at most the length of `rest`, a slice.
        rest = &rest[(context.total_in() - before) as usize..];
        match status {
            // If output space is left and no input, the flush is complete.
            Status::Ok | Status::BufError if rest.is_empty() && out.len() < out.capacity() => return Ok(()),
            Status::Ok | Status::BufError => out.reserve(STEP),
            Status::StreamEnd => return Err(CompressError),
        }
    }
}

/// Appends a payload and a flush as stored blocks (RFC 1951, 3.2.4). They begin at a byte boundary, because
/// every message ends at one.
fn store(payload: &[u8], out: &mut Vec<u8>) {
    for block in payload.chunks(usize::from(u16::MAX)) {
        // It fits: a chunk has at most `u16::MAX` bytes.
        let length = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&FLUSHED);
}

/// Identify's `compress`: a payload as a zlib document of its own.
pub(crate) fn document(payload: &[u8]) -> Result<Vec<u8>, CompressError> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(payload.len() / 2 + STEP), Compression::fast());
    encoder.write_all(payload).map_err(|_| CompressError)?;
    encoder.finish().map_err(|_| CompressError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use weir_connect::{Budget, budget::Bounds};

    fn account(bytes: usize) -> Account {
        Budget::default()
            .part("codecs", Bounds { total: bytes, peer: bytes, token: bytes })
            .account(Ipv4Addr::LOCALHOST.into())
    }

    fn inflate(context: &mut Decompress, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(4_096);
        let mut rest = message;
        loop {
            let before = context.total_in();
            context.decompress_vec(rest, &mut out, FlushDecompress::Sync).expect("a valid stream");
            rest = &rest[(context.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(4_096);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_context_decodes_every_message_and_each_ends_in_the_flush_marker(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6_000), 1..12),
            session_from in 0..12_usize,
            room in prop_oneof![Just(0), Just(CODEC_BYTES)],
        ) {
            let mut stream = ZlibStream::new();
            let mut context = Decompress::new(true);
            for (i, payload) in payloads.iter().enumerate() {
                if i >= session_from {
                    stream.begin_compressing(&account(room));
                }
                let message = stream.message(payload).expect("compresses");
                prop_assert!(payload.is_empty() || message.ends_with(&[0, 0, 0xff, 0xff]));
                prop_assert_eq!(&inflate(&mut context, &message), payload);
            }
        }
    }

    #[test]
    fn before_a_session_a_stream_has_no_compressor_and_after_it_compresses() {
        let mut stream = ZlibStream::new();
        let mut context = Decompress::new(true);
        let long = b"{\"op\":11,\"d\":null}".repeat(4_000);
        let stored = stream.message(&long).expect("stored");
        assert!(stream.context.is_none() && stored.len() > long.len());
        assert_eq!(inflate(&mut context, &stored), long);
        stream.begin_compressing(&account(CODEC_BYTES - 1));
        assert!(stream.context.is_none());
        stream.begin_compressing(&account(CODEC_BYTES));
        let packed = stream.message(&long).expect("compresses");
        assert!(packed.len() < long.len() / 10, "{}", packed.len());
        assert_eq!(inflate(&mut context, &packed), long);
    }

    #[test]
    fn a_document_stands_alone() {
        let payload = br#"{"op":10,"d":null}"#.repeat(50);
        let packed = document(&payload).expect("compresses");
        assert!(packed.len() < payload.len() / 4);
        assert_eq!(inflate(&mut Decompress::new(true), &packed), payload);
    }
}
