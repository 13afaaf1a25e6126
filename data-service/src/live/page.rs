//! A page of messages as it is sent.

use std::sync::Arc;

use bytes::Bytes;
use weir_proto::data::Message;

/// A page as it is sent; cheap to clone.
#[derive(Debug, Clone)]
pub struct EncodedPage {
    /// An encoded `ListMessagesResponse`.
    pub bytes: Bytes,
    /// Its messages that users reacted to; `None` if there are none.
    pub reacted: Option<Arc<[u64]>>,
}

/// Encodes rows as a `ListMessagesResponse` without collecting them first.
pub(crate) fn encode_page<'a>(rows: impl Iterator<Item = &'a Message>) -> EncodedPage {
    let (mut out, mut reacted) = (Vec::new(), Vec::new());
    for row in rows {
        if !row.reactions.is_empty() {
            reacted.push(row.id);
        }
        // Field 1 of ListMessagesResponse: `repeated Message messages`.
        prost::encoding::message::encode(1, row, &mut out);
    }
    // It grew by doubling, and is kept.
    out.shrink_to_fit();
    EncodedPage { bytes: Bytes::from(out), reacted: (!reacted.is_empty()).then(|| reacted.into()) }
}
