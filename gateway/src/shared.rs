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
    metrics::GatewayMetrics,
    session::registry::SessionRegistry,
};

/// The parts of one gateway.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) calls: Arc<DataCalls>,
    pub(crate) guild_loader: GuildLoader,
    /// Source of records; a resume reads them again.
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) registry: SessionRegistry,
    pub(crate) metrics: GatewayMetrics,
    /// Permits for identifies, and for resumes of sessions of an earlier process, that are under way. A task
    /// that waits for its client holds none.
    pub(crate) admissions: Semaphore,
    /// How often each token identifies.
    pub(crate) identifies: Identifies,
    /// How many unknown tokens each address may have looked up.
    pub(crate) strangers: Strangers,
    /// What each user may make the gateway look up.
    pub(crate) allowances: Allowances,
    /// Room for what is rendered for sessions that begin.
    pub(crate) introductions: Introductions,
    /// What clients make the gateway hold.
    pub(crate) memory: Arc<Memory>,
    /// Permits for lists of members that are read for GUILD_CREATE.
    pub(crate) member_list_reads: Semaphore,
    /// Cancelled when the gateway is to stop.
    pub(crate) stop: CancellationToken,
    /// Bytes of records that sessions read again from the log. They are counted apart from the ring, so that
    /// a replay pushes no records out of it.
    pub(crate) replayed: ByteGauge,
}
