//! Pages of messages, from the query to Discord's objects.

use bytes::Bytes;
use prost::Message as _;
use weir_discord::{
    error::ApiError,
    object::{ContentAccess, MessageObject, MessageParts, NonceEcho, Referenced, to_json},
    validate::{Anchor, HistoryQuery},
};
use weir_proto::{
    data::{
        GetMessageRequest, ListMessagesRequest, ListMessagesResponse, Message, OwnReactions, ViewPageRequest,
    },
    id::{ChannelId, UserId},
};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    cache::users::{UsersById, named},
    data::Data,
    permission::access::ChannelAccess,
    request::caller::Caller,
};

/// A page of a channel that the caller sees. Its rows are read only if somebody needs them.
pub(crate) struct ViewedPage {
    pub(crate) access: ChannelAccess,
    request: ListMessagesRequest,
    /// An encoded `ListMessagesResponse`.
    encoded: Bytes,
    /// What the viewer reacted to the page's messages with.
    own: Vec<OwnReactions>,
}

impl ViewedPage {
    /// Reads a page and the caller's view of the channel with one data call.
    ///
    /// # Errors
    /// 10003 if there is no such channel, 50001 if the caller does not see it.
    pub(crate) async fn read(
        data: &Data,
        caller: &Caller,
        channel_id: ChannelId,
        query: HistoryQuery,
    ) -> Result<Self, Refused> {
        let mut request = ListMessagesRequest {
            channel_id: channel_id.get(),
            limit: query.limit,
            ..ListMessagesRequest::default()
        };
        match query.anchor {
            Anchor::Newest => {}
            Anchor::Before(id) => request.before = Some(id),
            Anchor::After(id) => request.after = Some(id),
            Anchor::Around(id) => request.around = Some(id),
        }
        let call = ViewPageRequest { page: Some(request), viewer_id: caller.id.get() };
        let viewed = data.view_page(&call, &data.call()).await.found_or(ApiError::UnknownChannel)?;
        let access = ChannelAccess::judge(viewed.context.ok_or(ApiError::Internal)?, caller)?;
        Ok(Self { access, request, encoded: viewed.page.ok_or(ApiError::Internal)?, own: viewed.own })
    }

    /// The page as JSON, rendered unless it was lately. All viewers share it who reacted to none of its
    /// messages.
    ///
    /// # Errors
    /// Those of the call for its users.
    pub(crate) async fn json(&self, data: &Data) -> Result<Bytes, Refused> {
        if !self.own.is_empty() {
            return Ok(Bytes::from(to_json(&self.rows(data).await?.objects())));
        }
        if let Some(json) = data.pages().get(&self.request, &self.encoded) {
            return Ok(json);
        }
        let mut json = to_json(&self.rows(data).await?.objects());
        // It grew by doubling, and is kept.
        json.shrink_to_fit();
        let json = Bytes::from(json);
        data.pages().insert(&self.request, &self.encoded, json.clone());
        Ok(json)
    }

    /// The page's rows and the users that they name, with one data call if users are not cached.
    ///
    /// # Errors
    /// Those of the call.
    pub(crate) async fn rows(&self, data: &Data) -> Result<Page, Refused> {
        let rows =
            ListMessagesResponse::decode(self.encoded.clone()).map_err(|_| ApiError::Internal)?.messages;
        let page = Page::of(data, self.access.channel.guild_id, rows).await?;
        Ok(Page { own: Some(self.own.clone()), ..page })
    }
}

/// Rows of one channel, in the order in which they are shown, and the users that the rows name.
pub(crate) struct Page {
    guild_id: u64,
    pub(crate) rows: Vec<Message>,
    users: UsersById,
    /// `None` if it was not asked for.
    own: Option<Vec<OwnReactions>>,
}

impl Page {
    /// The page of these rows, with one data call if users are not cached. It shows no reactions.
    ///
    /// # Errors
    /// Those of the call.
    pub(crate) async fn of(data: &Data, guild_id: u64, rows: Vec<Message>) -> Result<Self, Refused> {
        let users = data.users(named(&rows)).await?;
        Ok(Self { guild_id, rows, users, own: None })
    }

    /// The page's messages as Discord's objects. If a message replies to another one, that one is shown if it
    /// is on the same page. It is left out otherwise, which clients understand as "not fetched": one read for
    /// each reply would make a page of replies a hundred reads.
    pub(crate) fn objects(&self) -> Vec<MessageObject<'_>> {
        self.rows.iter().map(|row| self.object(row)).collect()
    }

    fn object<'a>(&'a self, row: &'a Message) -> MessageObject<'a> {
        // In history the newest row is first, so ids fall, and a message stands behind the replies to it.
        // Pins have another order: there it may not be found, and is not taken for another one.
        let referenced = match self.rows.binary_search_by(|other| row.reply_to.cmp(&other.id)) {
            Ok(index) => Referenced::Found(&self.rows[index]),
            Err(_) => Referenced::NotFetched,
        };
        MessageObject::new(&MessageParts {
            row,
            users: &self.users,
            guild_id: self.guild_id,
            referenced,
            nonce: NonceEcho::Omit,
            access: ContentAccess::Full,
            own: self.own.as_deref(),
        })
    }
}

/// Reads one message of a channel.
///
/// # Errors
/// 10008 if it is not there.
pub(crate) async fn message(data: &Data, channel_id: u64, message_id: u64) -> Result<Message, Refused> {
    Ok(viewed_message(data, channel_id, message_id, None).await?.0)
}

/// Reads one message, and what `viewer` reacted to it with.
///
/// # Errors
/// As [`message`].
pub(crate) async fn viewed_message(
    data: &Data,
    channel_id: u64,
    message_id: u64,
    viewer: Option<UserId>,
) -> Result<(Message, Option<OwnReactions>), Refused> {
    let request = GetMessageRequest { channel_id, message_id, viewer_id: viewer.map_or(0, |id| id.get()) };
    let found = data.get_message(&request, &data.call()).await.found_or(ApiError::UnknownMessage)?;
    Ok((found.message.ok_or(ApiError::Internal)?, found.own))
}

/// Reads the message that `row` replies to. `None` if it replies to none, or if that message was deleted.
///
/// # Errors
/// Those of the call.
pub(crate) async fn replied_to(data: &Data, row: &Message) -> Result<Option<Message>, Refused> {
    if row.reply_to == 0 {
        return Ok(None);
    }
    match message(data, row.channel_id, row.reply_to).await {
        Ok(message) => Ok(Some(message)),
        Err(refused) if refused.is(&ApiError::UnknownMessage) => Ok(None),
        Err(refused) => Err(refused),
    }
}
