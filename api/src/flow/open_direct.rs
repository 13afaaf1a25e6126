//! Opens direct messages, for Discord's route and for the short flow.

use weir_discord::error::ApiError;
use weir_proto::data::{Channel, OpenDirectRequest};

use crate::{
    answer::{error::Refused, found::FoundOr as _},
    data::Data,
    request::{arrival::Arrival, caller::Caller},
};

/// A channel of direct messages.
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    /// 0 if the channel has no message or the id is not known.
    pub(crate) last_message_id: u64,
}

/// Returns the channel of the caller and another user, and creates it if there is none. This is one data
/// call, and repeating it is safe.
///
/// # Errors
/// 50007 if the other user is the caller, 50033 if there is no such user, and the errors of the call.
pub(crate) async fn open(
    data: &Data,
    caller: &Caller,
    recipient_id: u64,
    arrival: Arrival,
) -> Result<Opened, Refused> {
    let user_id = caller.id.get();
    if recipient_id == user_id {
        return Err(ApiError::CannotMessageUser.into());
    }
    let request = OpenDirectRequest { user_id, recipient_id };
    let reply =
        data.open_direct(&request, &data.change(arrival)).await.found_or(ApiError::InvalidRecipients)?;
    let channel = reply.channel.ok_or(ApiError::Internal)?;
    Ok(Opened { channel, last_message_id: reply.last_message_id })
}
