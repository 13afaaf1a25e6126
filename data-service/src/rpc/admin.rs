//! `weir.admin.v1`: limits and inspection. Mounted behind the operators' token.

use weir_connect::{ConnectError, Context, Reply, Router, error::Code};
use weir_proto::{
    admin::{
        ExplainChannelRequest, ExplainChannelResponse, HotChannel, ListHotChannelsRequest,
        ListHotChannelsResponse, ListLimitChangesRequest, ListLimitChangesResponse, ListLimitsRequest,
        ListLimitsResponse, SetLimitRequest, SetLimitResponse, UnsetLimitRequest, UnsetLimitResponse,
    },
    id::{ChannelId, MessageId, ScopeId},
};
use weir_store::WriteError;

use super::call::{Paths, required};
use crate::{admission::LimitError, rpc::error};

/// Hot channels in one reply: both the maximum and the default.
const HOT_MAX: u32 = 1_000;
const HOT_DEFAULT: u32 = 20;
/// Changes in one reply of the history.
const CHANGES_DEFAULT: u32 = 50;

/// The services' methods.
pub(super) fn router(paths: &Paths) -> Router {
    let router = methods! { Router::new(weir_proto::contract()), paths, "weir.admin.v1.LimitService":
        "ListLimits" => list,
        "SetLimit" => set,
        "UnsetLimit" => unset,
        "ListLimitChanges" => history,
    };
    methods! { router, paths, "weir.admin.v1.SightService":
        "ListHotChannels" => hot,
        "ExplainChannel" => explain,
    }
}

fn of_limit(error: LimitError) -> ConnectError {
    match error {
        LimitError::Invalid { problem } => ConnectError::invalid_argument(problem),
        LimitError::Store(error @ WriteError::Unknown { .. }) => {
            ConnectError::new(Code::Unknown, error.to_string())
        }
        LimitError::Store(error) => ConnectError::unavailable(error.to_string()),
        LimitError::Read(error) => ConnectError::unavailable(error.to_string()),
    }
}

async fn list(
    paths: Paths,
    _: Context,
    _: ListLimitsRequest,
) -> Result<Reply<ListLimitsResponse>, ConnectError> {
    Ok(ListLimitsResponse { limits: paths.limits.list() }.into())
}

async fn set(
    paths: Paths,
    _: Context,
    request: SetLimitRequest,
) -> Result<Reply<SetLimitResponse>, ConnectError> {
    let limit = request.limit.ok_or_else(|| ConnectError::invalid_argument("limit is missing"))?;
    let limit = paths.limits.set(limit).await.map_err(of_limit)?;
    tracing::info!(scope = limit.scope, rate = limit.rate, who = limit.set_by, "limit set");
    Ok(SetLimitResponse { limit: Some(limit) }.into())
}

async fn unset(
    paths: Paths,
    _: Context,
    request: UnsetLimitRequest,
) -> Result<Reply<UnsetLimitResponse>, ConnectError> {
    let existed = paths.limits.unset(&request.scope, request.kind(), &request.who).await.map_err(of_limit)?;
    tracing::info!(scope = request.scope, who = request.who, existed, "limit unset");
    Ok(UnsetLimitResponse { existed }.into())
}

async fn history(
    paths: Paths,
    _: Context,
    request: ListLimitChangesRequest,
) -> Result<Reply<ListLimitChangesResponse>, ConnectError> {
    let limit = if request.limit == 0 { CHANGES_DEFAULT } else { request.limit };
    let changes = paths.limits.history(limit as usize, &request.scope).await.map_err(of_limit)?;
    Ok(ListLimitChangesResponse { changes }.into())
}

async fn hot(
    paths: Paths,
    _: Context,
    request: ListHotChannelsRequest,
) -> Result<Reply<ListHotChannelsResponse>, ConnectError> {
    let limit = if request.limit == 0 { HOT_DEFAULT } else { request.limit.min(HOT_MAX) };
    let (hottest, window) = paths.observer.hottest(limit as usize);
    let window_s = window.as_secs_f64();
    // The counts are of at most ten seconds, far below 2^52, so a double holds them.
    let rate = |count: u64| count as f64 / window_s;
    let channels = hottest.into_iter().map(|hot| HotChannel {
        channel_id: hot.channel_id.get(),
        requests_per_s: rate(hot.requests),
        database_reads_per_s: rate(hot.database_reads),
        writes_per_s: rate(hot.writes),
        refused_per_s: rate(hot.refused),
    });
    Ok(ListHotChannelsResponse { channels: channels.collect(), window_s }.into())
}

async fn explain(
    paths: Paths,
    _: Context,
    request: ExplainChannelRequest,
) -> Result<Reply<ExplainChannelResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let (outcome, gates) = match paths.reads.explain(channel_id).await {
        Ok(served) => (served.outcome.label().to_owned(), served.steps.unwrap_or_default()),
        Err(failure) => ("refused".to_owned(), vec![error::of_read(failure).message]),
    };
    let buckets = paths.reads.buckets_of(channel_id).await.map_err(error::of_read)?;
    let buckets = buckets.iter().map(|bucket| bucket.0).collect();
    let sight = paths.live.sight(channel_id);
    let owner = match paths.ownership.tenure(Some(ScopeId::Channel(channel_id))) {
        Ok(_) => paths.ownership.node().to_owned(),
        Err(error) => format!("not this node: {error}"),
    };
    let reply = ExplainChannelResponse {
        channel_id: channel_id.get(),
        outcome,
        gates,
        last_message_id: sight.last_message_id.map_or(0, MessageId::get),
        last_rev: sight.last_rev,
        tail_warm: sight.tail_warm,
        tail_rows: u32::try_from(sight.tail_rows).unwrap_or(u32::MAX),
        unresolved_write: sight.unresolved,
        queued_writes: u32::try_from(paths.sequencer.waiting(ScopeId::Channel(channel_id)))
            .unwrap_or(u32::MAX),
        owner,
        limits: paths.limits.of_channel(channel_id),
        buckets,
    };
    Ok(reply.into())
}
