//! A page with the context of its viewer, on its way without its rows being decoded.

use bytes::Bytes;

use crate::data::{GetChannelContextResponse, OwnReactions, ViewPageResponse};

/// A [`ViewPageResponse`] whose page stays encoded. On the wire the two are the same, because protobuf writes
/// a nested message as its bytes. So a service writes a page that it has encoded for many callers, and a
/// caller that has seen the same bytes before need not read them again.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ViewedPage {
    /// What the check of the viewer's permissions needs.
    #[prost(message, optional, tag = "1")]
    pub context: Option<GetChannelContextResponse>,
    /// An encoded `ListMessagesResponse`; empty for a page without rows.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub page: Option<Bytes>,
    /// What the viewer reacted to messages of the page with, ascending by message.
    #[prost(message, repeated, tag = "3")]
    pub own: Vec<OwnReactions>,
}

impl prost::Name for ViewedPage {
    const NAME: &'static str = <ViewPageResponse as prost::Name>::NAME;
    const PACKAGE: &'static str = <ViewPageResponse as prost::Name>::PACKAGE;

    fn full_name() -> String {
        ViewPageResponse::full_name()
    }

    fn type_url() -> String {
        ViewPageResponse::type_url()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::data::{Channel, ListMessagesResponse, Message};

    #[test]
    fn it_is_the_contracts_reply_byte_by_byte() {
        let channel = Channel { id: 7, name: "general".into(), ..Channel::default() };
        let context = GetChannelContextResponse { channel: Some(channel), ..Default::default() };
        let message = Message { id: 9, content: "hello".into(), ..Message::default() };
        let page = ListMessagesResponse { messages: vec![message] };
        let own = vec![OwnReactions { message_id: 9, slots: vec![3], ..OwnReactions::default() }];
        let encoded = Some(page.encode_to_vec().into());
        let viewed = ViewedPage { context: Some(context.clone()), page: encoded, own: own.clone() };
        let reply = ViewPageResponse { context: Some(context), page: Some(page), own };
        assert_eq!(viewed.encode_to_vec(), reply.encode_to_vec());
        assert_eq!(ViewedPage::decode(&*reply.encode_to_vec()).unwrap(), viewed);
        // A page without rows is there all the same.
        let empty = ViewPageResponse { page: Some(ListMessagesResponse::default()), ..reply };
        let viewed = ViewedPage { page: Some(Bytes::new()), ..viewed };
        assert_eq!(viewed.encode_to_vec(), empty.encode_to_vec());
        assert_eq!(ViewedPage::decode(&*empty.encode_to_vec()).unwrap(), viewed);
    }
}
