//! What every method uses: the parts that it calls, and deadline, limits, headers and error of a call.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use weir_connect::{ConnectError, Context, KeptJson};
use weir_data_client::client::{ACCEPTED_AT, EXPLAIN, FRESHNESS};
use weir_protect::{LimitKind, Scope, Scopes};
use weir_proto::id::{ChannelId, ScopeId, SnowflakeError};
use weir_store::Store;

use super::{error, founders::Founders};
use crate::{
    admission::LimitBook,
    freshness::Freshness,
    key::CLASS_WRITES,
    live::Live,
    observe::Observer,
    outbox::Outbox,
    ownership::Ownership,
    read::{
        Failure, ReadOptions, ReadPath, Served,
        pipeline::{GuildOf, scopes},
    },
    steady::Steady,
    write::{
        Sequencer,
        error::{ChangeError, Refused},
    },
};

/// Deadline of a call that sets none. It is above the database's own timeout, so that the database's answer
/// ends a call.
const WITHIN_DEFAULT: Duration = Duration::from_secs(5);

/// Dependencies of the methods.
#[derive(Clone)]
pub struct Paths {
    /// Reads.
    pub reads: Arc<ReadPath>,
    /// Changes.
    pub sequencer: Arc<Sequencer>,
    /// State in memory.
    pub live: Arc<Live>,
    /// The right to change scopes.
    pub ownership: Arc<dyn Ownership>,
    /// The database, for rows that are read and written beside both paths (settings, changes).
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<Steady>,
    /// Publishes committed changes.
    pub outbox: Arc<Outbox>,
    /// Limits.
    pub limits: Arc<LimitBook>,
    /// Metrics.
    pub observer: Arc<Observer>,
    /// Pages as JSON.
    pub(crate) json: Arc<KeptJson>,
    /// Locks of owners whose guilds are being created.
    pub(crate) founders: Arc<Founders>,
}

impl Paths {
    /// Every change up to this revision was committed before now, and no later commit of any owner has such a
    /// revision; 0 if that is not known. Revisions of all scopes are those of one clock as long as one node
    /// owns all of them.
    pub(crate) fn settled_us(&self, scope_id: ScopeId) -> u64 {
        // A node that has lost its lease without knowing it mints only up to the lease's end; its successor
        // mints above.
        let Ok(tenure) = self.ownership.tenure(Some(scope_id)) else { return 0 };
        self.outbox.settled_us().min(tenure.mint_until_us.saturating_sub(1))
    }

    /// Charges a write to the limits of its channel, if it has one, of its class, and of all writes.
    pub(crate) async fn charge_write(&self, channel_id: Option<ChannelId>) -> Result<(), ChangeError> {
        self.charge_writes(channel_id, 1).await
    }

    /// Charges `writes` at once: all of them, or none if a limit has no room for all.
    pub(crate) async fn charge_writes(
        &self,
        channel_id: Option<ChannelId>,
        writes: u32,
    ) -> Result<(), ChangeError> {
        let guild = self.reads.guild_of(channel_id);
        self.charge(channel_id, scopes(channel_id, &guild, CLASS_WRITES), writes)?;
        // The other limits admit the write first, so that no row is read uncharged to find its guild.
        if matches!(guild, GuildOf::Unread)
            && let Some(id) = channel_id
            && let Ok(channel) = self.reads.channel_row(id).await
            && let GuildOf::Guild(guild_id) = GuildOf::row(channel.as_deref())
        {
            self.charge(channel_id, Scopes::new(&[Scope::Group(guild_id.get())]), writes)?;
        }
        Ok(())
    }

    fn charge(&self, channel_id: Option<ChannelId>, scopes: Scopes, writes: u32) -> Result<(), ChangeError> {
        let protect = &self.reads.protect;
        let now = protect.clock().now();
        let charged = protect.limits().charge_many(scopes.as_slice(), LimitKind::Writes, writes, now);
        charged.map(drop).map_err(|refusal| {
            self.observer.refused(channel_id, refusal.reason);
            let reason = error::reason_of(refusal.reason);
            let limit = refusal.limit.to_string();
            Refused::Limit { limit, reason, retry_after: refusal.retry_after }.into()
        })
    }
}

/// Time for a call.
pub(crate) fn within(context: &Context) -> Duration {
    context.remaining().unwrap_or(WITHIN_DEFAULT)
}

/// Instant by which a change must have begun.
pub(crate) fn deadline(context: &Context) -> Instant {
    Instant::now() + within(context)
}

/// Options that a read's headers request.
pub(crate) fn options(context: &Context) -> ReadOptions {
    let freshness = context.headers.get(FRESHNESS).and_then(Freshness::decode);
    ReadOptions { within: within(context), freshness, explain: context.headers.contains_key(EXPLAIN) }
}

/// Microseconds at which the tier in front accepted the client's request; 0 if the header is missing.
pub(crate) fn accepted_at(headers: &HeaderMap) -> u64 {
    headers
        .get(ACCEPTED_AT)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Headers of a read's reply: the token, and the explanation if it was requested.
pub(crate) fn reply_headers(
    paths: &Paths,
    context: &Context,
    scope_id: impl Into<ScopeId>,
    rev: u64,
    served: &Served,
) -> HeaderMap {
    let mut headers = change_headers(scope_id, rev);
    if context.headers.contains_key(EXPLAIN) {
        let owner = paths.ownership.node();
        if let Ok(value) = HeaderValue::from_str(&format!("{} rev={rev} owner={owner}", served.header())) {
            headers.insert(EXPLAIN, value);
        }
    }
    headers
}

/// The error of a read, with the explanation if it was requested and the read was refused.
pub(crate) fn refused(context: &Context, failure: Failure) -> ConnectError {
    let explained = failure
        .refusal()
        .filter(|_| context.headers.contains_key(EXPLAIN))
        .map(|refusal| format!("outcome=refused reason={} limit={}", refusal.reason.label(), refusal.limit));
    let mut error = error::of_read(failure);
    if let Some(value) = explained.and_then(|text| HeaderValue::from_str(&text).ok()) {
        error = error.with_header(EXPLAIN, value);
    }
    error
}

/// The header of a change's reply.
pub(crate) fn change_headers(scope_id: impl Into<ScopeId>, rev: u64) -> HeaderMap {
    let scope_id = scope_id.into().id();
    HeaderMap::from_iter([(FRESHNESS, Freshness { scope_id, rev }.encode())])
}

/// How many a request asks for: 0 is the default.
pub(crate) fn limit(asked: u32, default: usize, max: usize) -> Result<usize, ConnectError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(limit) if limit <= max => Ok(limit),
        Ok(_) | Err(_) => Err(ConnectError::invalid_argument(format!("limit must be 1 to {max}"))),
    }
}

/// An id that a request must name: 0 is none.
pub(crate) fn required<Id>(name: &str, id: u64) -> Result<Id, ConnectError>
where
    Id: TryFrom<u64, Error = SnowflakeError>,
{
    Id::try_from(id).map_err(|_| ConnectError::invalid_argument(format!("{name} is missing")))
}

/// An id that a request may name: 0 is none.
pub(crate) fn optional<Id>(id: u64) -> Option<Id>
where
    Id: TryFrom<u64, Error = SnowflakeError>,
{
    Id::try_from(id).ok()
}
