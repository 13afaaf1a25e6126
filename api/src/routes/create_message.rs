//! `POST /channels/{channel_id}/messages`

use axum::response::Response;
use weir_discord::validate::{CreateMessageForm, parse_body};

use crate::{
    answer::error::Refused,
    flow::send_message::{self, Nonce},
    permission::access::ChannelAccess,
    request::{body::Payload, input::Input},
};

/// Creates a message.
pub(crate) async fn create_message(
    Input { data, caller, ids, arrival }: Input,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let form = CreateMessageForm::parse(&parse_body(&body)?)?;
    let access =
        ChannelAccess::find_with(&data, &caller, channel_id, send_message::needs(&form.content)).await?;
    let nonce = if form.enforce_nonce { Nonce::Enforced } else { Nonce::Echoed };
    send_message::send(&data, &access, form, nonce, arrival).await
}
