//! Path to typed handler: decodes the request, runs the handler, encodes the reply.
//!
//! A handler that already holds the encoded reply (a cached page) returns [`Body::EncodedProto`]; it is then
//! sent as the same shared bytes, without a copy or a second encoding.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::codec::Codec;
use crate::decoded;
use crate::dispatch::{Dispatch, UnaryRequest, UnaryResponse};
use crate::error::ConnectError;
use crate::kept_json::KeptJson;

/// Large replies that a router writes as JSON at once. One: a page of 200 KB takes some milliseconds of a
/// processor. So callers who ask for many occupy one processor at most, and the others serve protobuf.
const JSON_AT_ONCE: usize = 1;

/// Most bytes of a reply, as protobuf, that is written as JSON without waiting for a turn; that takes some
/// tens of microseconds.
const JSON_SMALL: usize = 8 << 10;

/// What a handler knows of a call, besides its message.
#[derive(Clone, Debug)]
pub struct Context {
    /// The request's metadata.
    pub headers: HeaderMap,
    /// The time at which the caller stops waiting; `None` if it set no deadline.
    pub deadline: Option<Instant>,
}

impl Context {
    /// The context of a call that arrives now with `timeout` left.
    pub fn new(headers: HeaderMap, timeout: Option<Duration>) -> Context {
        // A timeout beyond the clock's range counts as no deadline.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Context { headers, deadline }
    }

    /// Time left until the deadline: zero once it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// A reply's message: still typed, or already encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<Res> {
    /// Typed; encoded when the reply is sent.
    Message(Res),
    /// Protobuf's binary form of a `Res`, shared. For a JSON caller it is encoded anew.
    EncodedProto(Bytes),
}

/// What a handler answers.
#[derive(Clone, Debug)]
pub struct Reply<Res> {
    /// The message.
    pub body: Body<Res>,
    /// Metadata of the reply; a trailer's name starts with `trailer-`.
    pub headers: HeaderMap,
}

impl<Res> Reply<Res> {
    /// A reply with a typed message.
    pub fn message(message: Res) -> Reply<Res> {
        Reply { body: Body::Message(message), headers: HeaderMap::new() }
    }

    /// A reply that is already encoded as protobuf.
    pub fn encoded(bytes: Bytes) -> Reply<Res> {
        Reply { body: Body::EncodedProto(bytes), headers: HeaderMap::new() }
    }

    /// Adds a header; a trailer's name starts with `trailer-`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Reply<Res> {
        self.headers.append(name, value);
        self
    }
}

impl<Res> From<Res> for Reply<Res> {
    fn from(message: Res) -> Reply<Res> {
        Reply::message(message)
    }
}

struct Method {
    takes: MessageDescriptor,
    run: Box<dyn Fn(UnaryRequest) -> BoxFuture<'static, Result<UnaryResponse, ConnectError>> + Send + Sync>,
}

/// A table of methods by path.
pub struct Router {
    contract: DescriptorPool,
    methods: HashMap<&'static str, Method>,
    // The turn to write a large reply as JSON.
    json_turn: Arc<Semaphore>,
    kept_json: Option<Arc<KeptJson>>,
}

impl Router {
    /// A router without methods, for messages that `contract` describes. The JSON form of a message follows
    /// from its description.
    pub fn new(contract: DescriptorPool) -> Router {
        let json_turn = Arc::new(Semaphore::new(JSON_AT_ONCE));
        Router { contract, methods: HashMap::new(), json_turn, kept_json: None }
    }

    /// Methods that are added from now on keep the JSON of shared replies in `kept`.
    #[must_use]
    pub fn keep_json(mut self, kept: Arc<KeptJson>) -> Router {
        self.kept_json = Some(kept);
        self
    }

    /// Adds the method `path`, such as `/weir.data.v1.MessageService/ListMessages`.
    ///
    /// A panic of the handler becomes `internal` without its text, which goes to the log only.
    ///
    /// # Panics
    /// If `path` is not of that form or exists already, or the contract lacks a message. The table is written
    /// by hand, so each of these is a mistake in the program.
    #[must_use]
    pub fn unary<Req, Res, F, Fut>(mut self, path: &'static str, handler: F) -> Router
    where
        Req: prost::Name + Default + 'static,
        Res: prost::Name + 'static,
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<Res>, ConnectError>> + Send + 'static,
    {
        assert!(is_method_path(path), "{path:?} is not /package.Service/Method");
        let typed = Typed {
            path,
            takes: shape::<Req>(&self.contract),
            gives: shape::<Res>(&self.contract),
            json_turn: Arc::clone(&self.json_turn),
            kept_json: self.kept_json.clone(),
            handler,
        };
        let typed = Arc::new(typed);
        let method =
            Method { takes: typed.takes.clone(), run: Box::new(move |request| run(&typed, request)) };
        assert!(self.methods.insert(path, method).is_none(), "{path} is registered twice");
        self
    }

    /// Adds all methods of `other`.
    ///
    /// # Panics
    /// If a path is in both.
    #[must_use]
    pub fn merge(mut self, other: Router) -> Router {
        for (path, method) in other.methods {
            assert!(self.methods.insert(path, method).is_none(), "{path} is registered twice");
        }
        self
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}

impl Dispatch for Router {
    fn serves(&self, path: &str) -> bool {
        self.methods.contains_key(path)
    }

    fn decoded_bytes(&self, path: &str, codec: Codec, body: &[u8]) -> usize {
        self.methods.get(path).map_or(0, |method| decoded::bytes(codec, body, &method.takes))
    }

    // Written as `async_trait` would expand it, because the method's future is boxed already.
    fn call<'a, 'b>(&'a self, request: UnaryRequest) -> BoxFuture<'b, Result<UnaryResponse, ConnectError>>
    where
        'a: 'b,
        Self: 'b,
    {
        match self.methods.get(&*request.path) {
            Some(method) => (method.run)(request),
            None => {
                let error = ConnectError::unimplemented(format!("no method {}", request.path));
                std::future::ready(Err(error)).boxed()
            }
        }
    }
}

/// True for `/service/method` with both parts non-empty.
fn is_method_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("")
        && parts.next().is_some_and(|service| !service.is_empty())
        && parts.next().is_some_and(|method| !method.is_empty())
        && parts.next().is_none()
}

/// A method with the shapes of its request and reply.
struct Typed<F> {
    path: &'static str,
    takes: MessageDescriptor,
    gives: MessageDescriptor,
    json_turn: Arc<Semaphore>,
    kept_json: Option<Arc<KeptJson>>,
    handler: F,
}

fn shape<M: prost::Name>(contract: &DescriptorPool) -> MessageDescriptor {
    let name = M::full_name();
    contract.get_message_by_name(&name).unwrap_or_else(|| panic!("the contract has no message {name}"))
}

// Decodes before the future is made, so that the future holds the message alone and not the bytes it was read
// from.
fn run<Req, Res, F, Fut>(
    typed: &Arc<Typed<F>>,
    request: UnaryRequest,
) -> BoxFuture<'static, Result<UnaryResponse, ConnectError>>
where
    Req: prost::Name + Default + 'static,
    Res: prost::Name + 'static,
    F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply<Res>, ConnectError>> + Send + 'static,
{
    let UnaryRequest { codec, headers, timeout, body, .. } = request;
    let message = match codec.decode::<Req>(body, &typed.takes) {
        Ok(message) => message,
        Err(error) => return std::future::ready(Err(error)).boxed(),
    };
    let context = Context::new(headers, timeout);
    let typed = Arc::clone(typed);
    async move {
        // Nothing of the handler's is used again after a panic, so no broken invariant can be observed.
        let outcome =
            AssertUnwindSafe(async { (typed.handler)(context, message).await }).catch_unwind().await;
        let reply = outcome.unwrap_or_else(|panic| Err(panicked(typed.path, panic.as_ref())))?;
        let (proto, shared) = match reply.body {
            Body::Message(message) => (Bytes::from(message.encode_to_vec()), false),
            Body::EncodedProto(bytes) => (bytes, true),
        };
        let kept = typed.kept_json.as_ref().filter(|_| shared && codec == Codec::Json);
        if let Some(json) = kept.and_then(|kept| kept.get(&proto)) {
            return Ok(UnaryResponse { headers: reply.headers, body: json });
        }
        let turn = if codec == Codec::Json && proto.len() > JSON_SMALL {
            // The semaphore is never closed.
            typed.json_turn.acquire().await.ok()
        } else {
            None
        };
        // Somebody may have written it during the wait.
        if let Some(json) = kept.filter(|_| turn.is_some()).and_then(|kept| kept.get(&proto)) {
            return Ok(UnaryResponse { headers: reply.headers, body: json });
        }
        let body = codec.encode(proto.clone(), &typed.gives)?;
        if let Some(kept) = kept {
            kept.insert(proto, body.clone());
        }
        Ok(UnaryResponse { headers: reply.headers, body })
    }
    .boxed()
}

fn panicked(path: &'static str, panic: &(dyn Any + Send)) -> ConnectError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(not text)");
    tracing::error!(method = path, panic = text, "handler panicked");
    ConnectError::internal("the handler failed")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// The well-known message of that name, which is in every descriptor pool.
    #[derive(Clone, PartialEq, prost::Message)]
    struct SourceContext {
        #[prost(string, tag = "1")]
        file_name: String,
    }

    impl prost::Name for SourceContext {
        const NAME: &'static str = "SourceContext";
        const PACKAGE: &'static str = "google.protobuf";
    }

    #[test]
    fn method_paths_have_two_parts() {
        assert!(is_method_path("/weir.data.v1.MessageService/ListMessages"));
        for bad in ["", "/", "a/b", "/a", "/a/", "//b", "/a/b/", "/a/b/c"] {
            assert!(!is_method_path(bad), "{bad}");
        }
    }

    /// Whether a reply of this many bytes is sent while another large one is written as JSON.
    async fn is_sent_beside_a_large_one(bytes: usize, codec: Codec) -> bool {
        let handler = move |_, _: SourceContext| async move {
            Ok(Reply::message(SourceContext { file_name: "x".repeat(bytes) }))
        };
        let router = Router::new(DescriptorPool::global()).unary("/test.v1.Test/Give", handler);
        let turn = router.json_turn.clone().acquire_owned().await.unwrap();
        let request = || UnaryRequest {
            path: "/test.v1.Test/Give".into(),
            codec,
            headers: HeaderMap::new(),
            timeout: None,
            body: Bytes::from_static(if codec == Codec::Json { b"{}" } else { b"" }),
        };
        let sent = router.call(request()).now_or_never().map(Result::unwrap).is_some();
        drop(turn);
        let alone = router.call(request()).now_or_never().expect("alone it comes at once").unwrap();
        assert!(alone.body.len() >= bytes);
        sent
    }

    #[tokio::test]
    async fn a_large_reply_as_json_waits_for_itsturn_and_no_other_does() {
        assert!(!is_sent_beside_a_large_one(2 * JSON_SMALL, Codec::Json).await);
        assert!(is_sent_beside_a_large_one(JSON_SMALL / 2, Codec::Json).await);
        assert!(is_sent_beside_a_large_one(2 * JSON_SMALL, Codec::Proto).await);
    }

    #[tokio::test]
    async fn a_shared_reply_is_written_as_json_once() {
        let page = Bytes::from(SourceContext { file_name: "x".repeat(100) }.encode_to_vec());
        let handler = move |_, _: SourceContext| {
            let page = page.clone();
            async move { Ok(Reply::<SourceContext>::encoded(page)) }
        };
        let kept = Arc::new(KeptJson::new(1 << 20));
        let router = Router::new(DescriptorPool::global()).keep_json(Arc::clone(&kept));
        let router = router.unary("/test.v1.Test/Give", handler);
        let ask = async |codec, body: &'static [u8]| {
            let request = UnaryRequest {
                path: "/test.v1.Test/Give".into(),
                codec,
                headers: HeaderMap::new(),
                timeout: None,
                body: Bytes::from_static(body),
            };
            router.call(request).await.unwrap().body
        };
        let (first, second) = (ask(Codec::Json, b"{}").await, ask(Codec::Json, b"{}").await);
        assert!(first.starts_with(br#"{"fileName":"x"#), "{first:?}");
        assert_eq!((first.as_ptr(), &first), (second.as_ptr(), &second), "the same bytes again");
        assert_ne!(ask(Codec::Proto, b"").await, first, "protobuf stays protobuf");
    }

    #[tokio::test(start_paused = true)]
    async fn remaining_counts_down_to_zero_and_stays() {
        let context = Context::new(HeaderMap::new(), Some(Duration::from_secs(2)));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(context.remaining(), Some(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(context.remaining(), Some(Duration::ZERO));
        assert_eq!(Context::new(HeaderMap::new(), None).remaining(), None);
        assert_eq!(Context::new(HeaderMap::new(), Some(Duration::MAX)).deadline, None);
    }
}
