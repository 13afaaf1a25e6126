//! A client of the REST api that hides no failure. It has one HTTP/1.1 connection at a time, opens a new one
//! when it breaks, and sends each request once.
//!
//! Client libraries repeat requests by themselves. Here the caller repeats them, because it counts the
//! requests without an answer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// Longest time of one request. It is above every deadline of the service, so a later answer means that the
/// service hangs.
const CALL_MAX: Duration = Duration::from_secs(15);
/// Pause before a request is repeated. A server that is down refuses at once, and fifty clients must not use
/// up the processors that it needs.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest `Retry-After` that the client obeys.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// Most messages of a page; Discord's limit.
pub(crate) const PAGE_MAX: usize = 100;

/// A client with the token of one bot.
pub(crate) struct Rest {
    address: SocketAddr,
    authorization: HeaderValue,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer of the server, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The body as JSON; null if there is none.
    pub(crate) body: Value,
    retry_after: Option<Duration>,
}

/// There was no answer. The outcome of the request is unknown, except after [`NoAnswer::Connect`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {CALL_MAX:?}")]
    Late,
    #[error("the answer is not JSON")]
    NotJson(#[from] serde_json::Error),
}

/// How to proceed after a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The answer is 2xx.
    Done(Value),
    /// The request was certainly not carried out: repeat it after the pause.
    NotDone(Duration),
    /// The request may have been carried out: repeat it after the pause, if repeating is safe.
    Unknown(Duration),
    /// The answer is 4xx: repeating is pointless.
    Rejected { status: StatusCode, body: Value },
}

impl Rest {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Result<Self> {
        let authorization =
            HeaderValue::from_str(&format!("Bot {token}")).context("the token is no header")?;
        Ok(Self { address, authorization, connection: None })
    }

    /// A client with the same token and a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self { address: self.address, authorization: self.authorization.clone(), connection: None }
    }

    /// Sends one request, once. After an error the connection is dropped.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let outcome =
            timeout(CALL_MAX, self.exchange(method, path, body)).await.unwrap_or(Err(NoAnswer::Late));
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.connect().await?,
        };
        connection.ready().await?;
        let sent = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(sent))
            .expect("paths here are ASCII and the headers are valid");
        let response = connection.send_request(request).await?;
        let status = response.status();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        self.connection = Some(connection);
        Ok(Answer { status, body, retry_after: seconds.map(Duration::from_secs) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = TcpStream::connect(self.address).await.map_err(NoAnswer::Connect)?;
        stream.set_nodelay(true).map_err(NoAnswer::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with the sender or the socket. An error reaches the request that waits for its
        // answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Repeats a request until it succeeds; carrying it out twice must be harmless.
    ///
    /// # Errors
    /// If `patience` is over, or the server rejects it.
    pub(crate) async fn insist(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let outcome = self.call(method.clone(), path, body).await;
            let problem = format!("{outcome:?}");
            match Verdict::of(outcome) {
                Verdict::Done(body) => return Ok(body),
                Verdict::Rejected { status, body } => bail!("{method} {path}: {status} {body}"),
                Verdict::NotDone(_) | Verdict::Unknown(_) if Instant::now() >= deadline => {
                    bail!("{method} {path}: not done within {patience:?}; the last try: {problem}")
                }
                Verdict::NotDone(pause) | Verdict::Unknown(pause) => sleep(pause).await,
            }
        }
    }

    /// Returns a page of a channel, newest first.
    pub(crate) async fn page(
        &mut self,
        channel: u64,
        before: Option<u64>,
        patience: Duration,
    ) -> Result<Vec<Value>> {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let path = format!("/api/v10/channels/{channel}/messages?limit={PAGE_MAX}{before}");
        match self.insist(Method::GET, &path, None, patience).await? {
            Value::Array(page) => Ok(page),
            other => bail!("GET {path}: not an array but {other}"),
        }
    }
}

impl Verdict {
    pub(crate) fn of(outcome: Result<Answer, NoAnswer>) -> Self {
        match outcome {
            Ok(answer) if answer.status.is_success() => Self::Done(answer.body),
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => Self::NotDone(answer.pause()),
            Ok(answer) if answer.status.is_server_error() => Self::Unknown(answer.pause()),
            Ok(Answer { status, body, .. }) => Self::Rejected { status, body },
            Err(NoAnswer::Connect(_)) => Self::NotDone(PAUSE),
            Err(NoAnswer::Broken(_) | NoAnswer::Late | NoAnswer::NotJson(_)) => Self::Unknown(PAUSE),
        }
    }
}

impl Answer {
    fn pause(&self) -> Duration {
        self.retry_after.unwrap_or(PAUSE).clamp(PAUSE, RETRY_AFTER_MAX)
    }
}

/// An id in Discord's JSON: a string of digits.
pub(crate) fn id(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: StatusCode, retry_after: Option<Duration>) -> Result<Answer, NoAnswer> {
        Ok(Answer { status, body: Value::Null, retry_after })
    }

    #[test]
    fn only_a_refused_connection_and_a_limit_are_certainly_not_done() {
        let refused = || NoAnswer::Connect(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(Verdict::of(Err(refused())), Verdict::NotDone(_)));
        assert!(matches!(Verdict::of(Err(NoAnswer::Late)), Verdict::Unknown(_)));
        assert!(matches!(
            Verdict::of(answer(StatusCode::SERVICE_UNAVAILABLE, None)),
            Verdict::Unknown(PAUSE)
        ));
        assert!(matches!(Verdict::of(answer(StatusCode::NOT_FOUND, None)), Verdict::Rejected { .. }));
        assert!(matches!(Verdict::of(answer(StatusCode::NO_CONTENT, None)), Verdict::Done(Value::Null)));
        let hour = Some(Duration::from_secs(3_600));
        let Verdict::NotDone(pause) = Verdict::of(answer(StatusCode::TOO_MANY_REQUESTS, hour)) else {
            panic!("a limit");
        };
        assert_eq!(pause, RETRY_AFTER_MAX);
    }

    #[test]
    fn ids_are_strings() {
        assert_eq!(id(&serde_json::json!("12")), Some(12));
        assert_eq!((id(&serde_json::json!(12)), id(&Value::Null)), (None, None));
    }
}
