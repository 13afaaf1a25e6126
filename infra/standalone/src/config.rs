//! The configuration of `weir`: one section for each tier, and the settings of the process as a whole.

mod flags;

use std::{net::SocketAddr, time::Duration};

use weir_api::ApiConfig;
use weir_data_service::{backend::BackendConfig, node::DataServiceConfig};
use weir_gateway::{GatewayConfig, settings};
use weir_runtime::{
    Effective, Environment, Problems, Reader, config::Source, launch, memory, telemetry::TelemetryConfig,
};

pub(crate) use flags::{CommonArgs, Misplaced, ServeArgs};

/// Longest time from a stop request until the process ends, without the store's last sync. It is below the 30
/// s that supervisors usually wait before they kill.
const DRAIN: Duration = Duration::from_secs(20);
/// Log filter of subcommands, unless the operator set one. A subcommand is run for its own output.
const FILTER_OF_COMMANDS: &str = "warn";

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The addresses of the listeners.
    pub(crate) listen: Listen,
    /// Store, bus and data directory.
    pub(crate) backend: BackendConfig,
    /// The data service.
    pub(crate) data: DataServiceConfig,
    /// The gateway. Its `public_url` is filled in once the listener is bound.
    pub(crate) gateway: GatewayConfig,
    /// The gateway address that clients are given, if it is not the bound one.
    pub(crate) public_url: Option<String>,
    /// The api. Its `gateway_url` is filled in once the gateway is bound.
    pub(crate) api: ApiConfig,
    /// Log output of the server.
    pub(crate) log: TelemetryConfig,
    /// Log output of the other subcommands.
    pub(crate) log_of_commands: TelemetryConfig,
    /// Time from a stop request until remaining work is cut off.
    pub(crate) drain: Duration,
    /// The bound on memory in bytes, if it is lower than what the process may use.
    pub(crate) memory_max: Option<u64>,
}

/// Addresses to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    /// REST.
    pub(crate) api: SocketAddr,
    /// WebSocket.
    pub(crate) gateway: SocketAddr,
    /// Connect.
    pub(crate) data_service: SocketAddr,
    /// Metrics, health, operators' methods.
    pub(crate) admin: SocketAddr,
}

impl Config {
    /// Merges defaults, file, environment and flags. If `serving`, the listeners will be bound, so no two may
    /// have the same address; otherwise `--admin` only says where to look for a server.
    ///
    /// # Errors
    /// All problems of all sources.
    pub(crate) fn load(
        common: &CommonArgs,
        serve: &ServeArgs,
        serving: bool,
        environment: &dyn Environment,
    ) -> Result<(Self, Effective), Problems> {
        let flags = [
            ("listen.api", "--api", serve.api.clone()),
            ("listen.gateway", "--gateway", serve.gateway.clone()),
            ("listen.data_service", "--data-service", serve.data_service.clone()),
            ("listen.admin", "--admin", common.admin.clone()),
            ("store.directory", "--data", common.data.clone()),
            ("store.url", "--store", common.store.clone()),
            ("bus.url", "--bus", serve.bus.clone()),
            ("gateway.public_url", "--public-url", serve.public_url.clone()),
        ];
        Self::read(launch::layers(common.config.as_deref(), environment, flags).into_reader(), serving)
    }

    fn read(mut reader: Reader, serving: bool) -> Result<(Self, Effective), Problems> {
        let listen = Listen {
            api: reader.addr("listen.api", local(8_080)),
            gateway: reader.addr("listen.gateway", local(8_081)),
            data_service: reader.addr("listen.data_service", local(8_082)),
            admin: reader.addr("listen.admin", local(8_083)),
        };
        reader.require(
            "listen.admin",
            !serving || listen.are_distinct(),
            "two listeners have the same address",
            "give each a port of its own, or port 0",
        );
        let second = Duration::from_secs(1);
        let drain = reader.duration("stop.drain", DRAIN, second..=second * 600);
        let log = TelemetryConfig::read(&mut reader);
        let public_url = settings::public_url(&mut reader);
        let api = ApiConfig::read(&mut reader, public_url.clone().unwrap_or_default(), listen.are_loopback());
        let mut config = Self {
            listen,
            backend: BackendConfig::read(&mut reader),
            data: DataServiceConfig::read(&mut reader),
            gateway: GatewayConfig::read(&mut reader),
            public_url,
            api,
            log_of_commands: log.clone(),
            log,
            drain,
            memory_max: memory::read(&mut reader),
        };
        reader.require(
            "stop.drain",
            config.gateway.write_timeout <= drain,
            "it must not be shorter than gateway.write_timeout, or slow clients are cut before they are told to reconnect",
            "raise stop.drain or lower gateway.write_timeout",
        );
        config.gateway.drain_timeout = drain;
        let effective = reader.finish()?;
        if matches!(effective.source("log.filter"), None | Some(Source::Default)) {
            config.log_of_commands.filter = FILTER_OF_COMMANDS.to_owned();
        }
        Ok((config, effective))
    }
}

impl Listen {
    /// True if only programs on this machine can reach the listeners.
    fn are_loopback(&self) -> bool {
        [self.api, self.gateway, self.data_service, self.admin].iter().all(|addr| addr.ip().is_loopback())
    }

    fn are_distinct(&self) -> bool {
        let mut fixed: Vec<_> = [self.api, self.gateway, self.data_service, self.admin]
            .into_iter()
            .filter(|addr| addr.port() != 0)
            .collect();
        let count = fixed.len();
        fixed.sort();
        fixed.dedup();
        fixed.len() == count
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests;
