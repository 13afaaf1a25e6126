//! One request and its reply on a connection.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::error::{ClientError, Lost, classify};
use super::request::RequestBody;
use super::slot::Sender;
use crate::codec::Codec;
use crate::dispatch::UnaryResponse;
use crate::error::ConnectError;

/// Sends `request` and receives the whole reply.
///
/// # Cancel safety
/// Dropping the future resets the stream and leaves the connection usable.
pub(super) async fn run(
    mut sender: Sender,
    request: Request<RequestBody>,
    reply_bytes_max: usize,
) -> Result<UnaryResponse, ClientError> {
    let response = match sender.http2.try_send_request(request).await {
        Ok(response) => response,
        Err(mut refused) => {
            let returned = refused.take_message().is_some();
            return Err(classify(refused.into_error(), returned));
        }
    };
    sender.proven();
    let (head, body) = response.into_parts();
    let body = receive(body, reply_bytes_max).await?;
    answer(head, body)
}

async fn receive(body: Incoming, max: usize) -> Result<Bytes, Lost> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            // The reply had begun, so the request was processed, for whatever reason the stream ended.
            Ok(error) => Err(Lost::Connection(*error)),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>(), "Limited has no other error: {other}");
                Err(Lost::ReplyTooLarge { max })
            }
        },
    }
}

/// Interprets the reply: a message, a Connect error, or what the status of another HTTP server implies.
fn answer(head: http::response::Parts, body: Bytes) -> Result<UnaryResponse, ClientError> {
    let codec = head.headers.get(header::CONTENT_TYPE).and_then(Codec::from_content_type);
    match (head.status, codec) {
        (StatusCode::OK, Some(Codec::Proto)) => Ok(UnaryResponse { headers: head.headers, body }),
        (StatusCode::OK, Some(Codec::Json) | None) => {
            Err(Lost::NotConnect { content_type: content_type(&head) }.into())
        }
        (status, Some(Codec::Json)) => {
            let mut error = ConnectError::from_json(status.as_u16(), &body);
            error.set_headers(head.headers);
            Err(error.into())
        }
        (status, Some(Codec::Proto) | None) => Err(ConnectError::from_json(status.as_u16(), b"").into()),
    }
}

fn content_type(head: &http::response::Parts) -> String {
    let value = head.headers.get(header::CONTENT_TYPE);
    value.map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
