//! [`DataClient`]: one method for each RPC.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, sleep_until};
use weir_connect::{codec::Codec, dispatch::UnaryRequest};
use weir_proto::{admin, data, page::ViewedPage};

use crate::{DataError, Transport, TransportError};

/// Opaque freshness token, in requests and replies.
pub const FRESHNESS: HeaderName = HeaderName::from_static("weir-freshness");
/// A request with the value `1` asks for the reply header of the same name, which says how a read was served.
pub const EXPLAIN: HeaderName = HeaderName::from_static("weir-explain");
/// Microseconds since 1970-01-01T00:00Z at which the api or gateway accepted its client's request; for
/// delivery latency.
pub const ACCEPTED_AT: HeaderName = HeaderName::from_static("weir-accepted-at-us");

/// Deadline of a call that sets none. It is above a database timeout (2 s) and a restart of the service's
/// listener. A guess, to be measured.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// First pause before a call that was never sent is tried again. It doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// Longest such pause: a service that restarts within a second is found again soon after.
const PAUSE_MAX: Duration = Duration::from_millis(320);

/// How a call is made.
#[derive(Debug, Clone)]
pub struct CallOptions {
    /// Time for the whole call, retries included.
    pub timeout: Duration,
    /// A token from an earlier reply: the read shows at least that state.
    pub freshness: Option<HeaderValue>,
    /// Whether to ask how the read was served.
    pub explain: bool,
    /// When the client's request was accepted, microseconds since 1970-01-01T00:00Z.
    pub accepted_at_us: Option<u64>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { timeout: TIMEOUT_DEFAULT, freshness: None, explain: false, accepted_at_us: None }
    }
}

impl CallOptions {
    /// Options with a timeout.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.freshness {
            headers.insert(FRESHNESS, token.clone());
        }
        if self.explain {
            headers.insert(EXPLAIN, HeaderValue::from_static("1"));
        }
        if let Some(at) = self.accepted_at_us {
            headers.insert(ACCEPTED_AT, HeaderValue::from(at));
        }
        headers
    }
}

/// A reply with its headers.
#[derive(Debug, Clone)]
pub struct Replied<T> {
    /// The message.
    pub message: T,
    /// The token to send with later reads.
    pub freshness: Option<HeaderValue>,
    /// How the read was served, if that was asked.
    pub explain: Option<HeaderValue>,
}

/// The typed client. Cheap to clone.
#[derive(Clone)]
pub struct DataClient {
    transport: Arc<dyn Transport>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read,
    Write,
}

impl DataClient {
    /// Makes a client whose calls travel over `transport`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    async fn call<Q: prost::Message, A: prost::Message + Default>(
        &self,
        path: &'static str,
        effect: Effect,
        request: &Q,
        options: &CallOptions,
    ) -> Result<Replied<A>, DataError> {
        let deadline = Instant::now() + options.timeout;
        let body = Bytes::from(request.encode_to_vec());
        let mut pause = PAUSE_FIRST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DataError::DeadlineExceeded);
            }
            let call = UnaryRequest {
                path: path.into(),
                codec: Codec::Proto,
                headers: options.headers(),
                timeout: Some(left),
                body: body.clone(),
            };
            match self.transport.unary(call).await {
                Ok(reply) => {
                    let message = A::decode(reply.body)
                        .map_err(|error| DataError::Failed { reason: format!("{path}: {error}") })?;
                    let freshness = reply.headers.get(FRESHNESS).cloned();
                    let explain = reply.headers.get(EXPLAIN).cloned();
                    return Ok(Replied { message, freshness, explain });
                }
                // A call that was never sent is safe to repeat, writes too. Reads may also be repeated when
                // their fate is not known.
                Err(error) if Self::may_repeat(&error, effect) && Instant::now() + pause < deadline => {
                    sleep_until(Instant::now() + pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(DataError::from_transport(error, effect == Effect::Write)),
            }
        }
    }

    fn may_repeat(error: &TransportError, effect: Effect) -> bool {
        match error {
            TransportError::NotSent { .. } => true,
            TransportError::Unknown { .. } => effect == Effect::Read,
            TransportError::Answered(_) => false,
        }
    }
}

macro_rules! methods {
    ($package:ident, $service:literal: $($effect:ident $method:ident $rpc:literal $request:ident -> $reply:ident;)*) => {
        impl DataClient {
            $(
                #[doc = concat!("Calls `", $service, "/", $rpc, "`; see the .proto file.")]
                ///
                /// # Errors
                /// [`DataError`]
                pub async fn $method(
                    &self,
                    request: &$package::$request,
                    options: &CallOptions,
                ) -> Result<Replied<$package::$reply>, DataError> {
                    self.call(concat!("/", $service, "/", $rpc), Effect::$effect, request, options).await
                }
            )*
        }
    };
}

methods! { data, "weir.data.v1.MessageService":
    Read list_messages "ListMessages" ListMessagesRequest -> ListMessagesResponse;
    Read get_message "GetMessage" GetMessageRequest -> GetMessageResponse;
    Write create_message "CreateMessage" CreateMessageRequest -> CreateMessageResponse;
    Write edit_message "EditMessage" EditMessageRequest -> EditMessageResponse;
    Write delete_message "DeleteMessage" DeleteMessageRequest -> DeleteMessageResponse;
    Write delete_messages "DeleteMessages" DeleteMessagesRequest -> DeleteMessagesResponse;
    Write set_pinned "SetPinned" SetPinnedRequest -> SetPinnedResponse;
    Read list_pins "ListPins" ListPinsRequest -> ListPinsResponse;
    Write add_reaction "AddReaction" AddReactionRequest -> ChangeReactionsResponse;
    Write remove_reaction "RemoveReaction" RemoveReactionRequest -> ChangeReactionsResponse;
    Write clear_reactions "ClearReactions" ClearReactionsRequest -> ChangeReactionsResponse;
    Read list_reactions "ListReactions" ListReactionsRequest -> ListReactionsResponse;
    Read list_changes "ListChanges" ListChangesRequest -> ListChangesResponse;
    Write typing "Typing" TypingRequest -> TypingResponse;
}
methods! { data, "weir.data.v1.UserService":
    Write create_user "CreateUser" CreateUserRequest -> CreateUserResponse;
    Read get_users "GetUsers" GetUsersRequest -> GetUsersResponse;
    Read resolve_token "ResolveToken" ResolveTokenRequest -> ResolveTokenResponse;
    Write open_direct "OpenDirect" OpenDirectRequest -> OpenDirectResponse;
}
methods! { data, "weir.data.v1.GuildService":
    Write create_guild "CreateGuild" CreateGuildRequest -> CreateGuildResponse;
    Read get_guild "GetGuild" GetGuildRequest -> GetGuildResponse;
    Write delete_guild "DeleteGuild" DeleteGuildRequest -> DeleteGuildResponse;
    Read list_user_guilds "ListUserGuilds" ListUserGuildsRequest -> ListUserGuildsResponse;
    Write put_channel "PutChannel" PutChannelRequest -> PutChannelResponse;
    Write delete_channel "DeleteChannel" DeleteChannelRequest -> DeleteChannelResponse;
    Write put_role "PutRole" PutRoleRequest -> PutRoleResponse;
    Write delete_role "DeleteRole" DeleteRoleRequest -> DeleteRoleResponse;
    Write put_member "PutMember" PutMemberRequest -> PutMemberResponse;
    Write update_member "UpdateMember" UpdateMemberRequest -> UpdateMemberResponse;
    Write delete_member "DeleteMember" DeleteMemberRequest -> DeleteMemberResponse;
    Read list_members "ListMembers" ListMembersRequest -> ListMembersResponse;
    Read get_member "GetMember" GetMemberRequest -> GetMemberResponse;
    Read get_channel_context "GetChannelContext" GetChannelContextRequest -> GetChannelContextResponse;
}

impl DataClient {
    /// Calls `weir.data.v1.GuildService/ViewPage`, and leaves the page's rows encoded; see the .proto file.
    ///
    /// # Errors
    /// [`DataError`]
    pub async fn view_page(
        &self,
        request: &data::ViewPageRequest,
        options: &CallOptions,
    ) -> Result<Replied<ViewedPage>, DataError> {
        self.call("/weir.data.v1.GuildService/ViewPage", Effect::Read, request, options).await
    }
}

methods! { admin, "weir.admin.v1.LimitService":
    Read list_limits "ListLimits" ListLimitsRequest -> ListLimitsResponse;
    Write set_limit "SetLimit" SetLimitRequest -> SetLimitResponse;
    Write unset_limit "UnsetLimit" UnsetLimitRequest -> UnsetLimitResponse;
    Read list_limit_changes "ListLimitChanges" ListLimitChangesRequest -> ListLimitChangesResponse;
}
methods! { admin, "weir.admin.v1.SightService":
    Read list_hot_channels "ListHotChannels" ListHotChannelsRequest -> ListHotChannelsResponse;
    Read explain_channel "ExplainChannel" ExplainChannelRequest -> ExplainChannelResponse;
}
methods! { admin, "weir.admin.v1.ImportService":
    Write begin_import "BeginImport" BeginImportRequest -> BeginImportResponse;
    Write write_import "WriteImport" WriteImportRequest -> WriteImportResponse;
    Write finish_import "FinishImport" FinishImportRequest -> FinishImportResponse;
}
