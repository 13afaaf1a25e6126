//! `POST /channels/{channel_id}/messages`

use axum::{Extension, extract::State, response::Response};
use weir_discord::validate::{CreateMessageForm, parse_body};

use crate::{
    answer::error::Refused,
    data::Data,
    flow::posting::{self, Nonce},
    permission::access::ChannelAccess,
    request::{arrival::Arrival, body::Payload, caller::Caller, path::PathIds},
};

/// Appends a message.
pub(crate) async fn create_message(
    State(data): State<Data>,
    Extension(arrival): Extension<Arrival>,
    caller: Caller,
    ids: PathIds,
    Payload(body): Payload,
) -> Result<Response, Refused> {
    let channel_id = ids.channel()?;
    let form = CreateMessageForm::parse(&parse_body(&body)?)?;
    let access = ChannelAccess::find_with(&data, &caller, channel_id, posting::needs(&form.content)).await?;
    let nonce = if form.enforce_nonce { Nonce::Enforced } else { Nonce::Echoed };
    posting::post(&data, &access, form, nonce, arrival).await
}
