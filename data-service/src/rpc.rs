//! The Connect methods: decode, check the form, call a path, encode. No policy.

pub mod admin;
pub mod error;
pub mod error_metrics;
mod form;
mod founders;
pub mod guild;
pub mod import;
pub mod message;
pub mod not_ready;
mod overwrites;
pub(crate) mod owned;
pub mod user;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use weir_connect::{ConnectError, Context, KeptJson};
use weir_data_client::client::{ACCEPTED_AT, EXPLAIN, FRESHNESS};
use weir_protect::{LimitKind, Scope, Scopes};
use weir_store::Store;

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
        op::{ChangeError, Refused},
    },
};

/// Deadline of a call that sets none. Above the database's own timeout, so that it is the database's answer that ends a call.
const WITHIN_DEFAULT: Duration = Duration::from_secs(5);

/// What the methods work with.
#[derive(Clone)]
pub struct Paths {
    /// Reads.
    pub reads: Arc<ReadPath>,
    /// Changes.
    pub sequencer: Arc<Sequencer>,
    /// What is in memory.
    pub live: Arc<Live>,
    /// The right to change scopes.
    pub ownership: Arc<dyn Ownership>,
    /// The database, for rows that are read and written beside both paths (settings, changes).
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<Steady>,
    /// The way out.
    pub outbox: Arc<Outbox>,
    /// Limits.
    pub limits: Arc<LimitBook>,
    /// Counts.
    pub observer: Arc<Observer>,
    /// Pages as JSON.
    pub(crate) json: Arc<KeptJson>,
    /// Who founds guilds now.
    pub(crate) founders: Arc<founders::Founders>,
}

impl Paths {
    /// Every change with a revision up to this one was committed before now, and none that is committed later has such a revision, whoever
    /// owns the scope then; 0 if that is not known. Revisions of all scopes are those of one clock as long as one node owns all of them.
    pub(crate) fn settled_us(&self, scope_id: u64) -> u64 {
        // A node that has lost its lease without knowing it goes on only up to the time to which it might mint; its successor mints above.
        let Ok(tenure) = self.ownership.tenure(scope_id) else { return 0 };
        self.outbox.settled_us().min(tenure.mint_until_us.saturating_sub(1))
    }

    /// Charges a write to the limits of its channel (0 for none), its class and all.
    pub(crate) async fn charge_write(&self, channel_id: u64) -> Result<(), ChangeError> {
        self.charge_writes(channel_id, 1).await
    }

    /// Charges so many writes at once: all of them, or none if a limit has not room for all.
    pub(crate) async fn charge_writes(&self, channel_id: u64, writes: u32) -> Result<(), ChangeError> {
        let guild = self.reads.guild_of(channel_id);
        self.charge(channel_id, scopes(channel_id, &guild, CLASS_WRITES), writes)?;
        // By leave of the others: who is not known is not read for free.
        if matches!(guild, GuildOf::Unread)
            && let Ok(Some(channel)) = self.reads.channel_row(channel_id).await
            && channel.guild_id != 0
        {
            self.charge(channel_id, Scopes::new(&[Scope::Group(channel.guild_id)]), writes)?;
        }
        Ok(())
    }

    fn charge(&self, channel_id: u64, scopes: Scopes, writes: u32) -> Result<(), ChangeError> {
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

/// How long a call may take.
pub(crate) fn within(context: &Context) -> Duration {
    context.remaining().unwrap_or(WITHIN_DEFAULT)
}

/// The instant by which a change must have begun.
pub(crate) fn deadline(context: &Context) -> Instant {
    Instant::now() + within(context)
}

/// What a read's headers ask for.
pub(crate) fn options(context: &Context) -> ReadOptions {
    let freshness = context.headers.get(FRESHNESS).and_then(Freshness::decode);
    ReadOptions { within: within(context), freshness, explain: context.headers.contains_key(EXPLAIN) }
}

/// Microseconds at which the tier in front accepted the client's request; 0 if it did not say.
pub(crate) fn accepted_at(headers: &HeaderMap) -> u64 {
    headers
        .get(ACCEPTED_AT)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Headers of a read's reply: the token, and the explanation if it was asked for.
pub(crate) fn reply_headers(
    paths: &Paths,
    context: &Context,
    scope_id: u64,
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

/// The error of a read, with the explanation if it was asked for and the read was refused.
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
pub(crate) fn change_headers(scope_id: u64, rev: u64) -> HeaderMap {
    HeaderMap::from_iter([(FRESHNESS, Freshness { scope_id, rev }.encode())])
}

/// An id that is present.
pub(crate) fn required(name: &str, id: u64) -> Result<u64, ConnectError> {
    if id == 0 { Err(ConnectError::invalid_argument(format!("{name} is missing"))) } else { Ok(id) }
}
