//! Outgoing compression: one deflate stream for a connection, or one zlib document for a payload.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, Status, write::ZlibEncoder};

/// Output space added when the compressor has filled what it had.
const STEP: usize = 1_024;

/// The compressor failed: the stream's state cannot be trusted, so the connection must close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressor failed")]
pub(crate) struct CompressError;

/// `zlib-stream`: one context over the connection's life, flushed after each payload so that each message ends in `00 00 ff ff`.
///
/// It holds the deflate window and hash tables, measured at 200 to 310 KiB: the dearest part of a connection that asks for it.
pub(crate) struct ZlibStream {
    context: Compress,
}

impl ZlibStream {
    pub(crate) fn new() -> Self {
        Self { context: Compress::new(Compression::default(), true) }
    }

    /// The next message of the stream.
    pub(crate) fn message(&mut self, payload: &[u8]) -> Result<Vec<u8>, CompressError> {
        // JSON of this kind shrinks to about a third even without history; growing is rare.
        let mut out = Vec::with_capacity(payload.len() / 2 + STEP);
        let mut rest = payload;
        loop {
            let before = self.context.total_in();
            let status =
                self.context.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(|_| CompressError)?;
            // Bounded by `rest`, which is a slice.
            rest = &rest[(self.context.total_in() - before) as usize..];
            match status {
                // Room left and nothing to read means the flush is complete.
                Status::Ok | Status::BufError if rest.is_empty() && out.len() < out.capacity() => {
                    return Ok(out);
                }
                Status::Ok | Status::BufError => out.reserve(STEP),
                Status::StreamEnd => return Err(CompressError),
            }
        }
    }
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
        ) {
            let mut stream = ZlibStream::new();
            let mut context = Decompress::new(true);
            for payload in &payloads {
                let message = stream.message(payload).expect("compresses");
                prop_assert!(payload.is_empty() || message.ends_with(&[0, 0, 0xff, 0xff]));
                prop_assert_eq!(&inflate(&mut context, &message), payload);
            }
        }
    }

    #[test]
    fn a_document_stands_alone() {
        let payload = br#"{"op":10,"d":null}"#.repeat(50);
        let packed = document(&payload).expect("compresses");
        assert!(packed.len() < payload.len() / 4);
        assert_eq!(inflate(&mut Decompress::new(true), &packed), payload);
    }
}
