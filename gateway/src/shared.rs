//! What every connection of a gateway uses.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weir_bus::Inbox;
use weir_runtime::{Strangers, WallClock};

use crate::{
    GatewayConfig,
    data::{calls::DataCalls, guild_loader::GuildLoader},
    fanout::Fanout,
    limits::{
        allowances::Allowances, identifies::Identifies, introductions::Introductions, memory::Memory,
        weight::ByteGauge,
    },
    metrics::Metrics,
    session::registry::SessionRegistry,
};

/// One gateway's parts.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) calls: Arc<DataCalls>,
    pub(crate) guild_loader: GuildLoader,
    /// Where records come from.
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) registry: SessionRegistry,
    pub(crate) metrics: Metrics,
    /// Identifies, and resumes of sessions of an earlier process, that are being worked on. Whoever waits for a client has none.
    pub(crate) admissions: Semaphore,
    /// How often tokens identify.
    pub(crate) identifies: Identifies,
    /// What may be asked about tokens that were not good before.
    pub(crate) strangers: Strangers,
    /// What users may make the gateway look up.
    pub(crate) allowances: Allowances,
    /// Bytes rendered for sessions that are being introduced.
    pub(crate) introductions: Introductions,
    /// What clients hold.
    pub(crate) memory: Arc<Memory>,
    /// Lists of members being read for GUILD_CREATE.
    pub(crate) member_list_reads: Semaphore,
    /// Cancelled when the gateway is to stop.
    pub(crate) stop: CancellationToken,
    /// Records that sessions read again from the log; weighed apart, so that a replay does not push records out of the ring.
    pub(crate) replayed: ByteGauge,
}
