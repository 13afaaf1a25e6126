//! The command line's flags that set keys of the configuration.

use std::path::PathBuf;

use clap::Args;

/// What every subcommand takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CommonArgs {
    /// Configuration file (default: weir.toml in the working directory, if it is there)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory (default: ./weir-data)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Store: embedded, or `cql://host[:port][,host…]/keyspace`
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Admin listener: where serve binds it, where the other commands look for a server (default: the one of
    /// the data directory)
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<String>,
    /// Token file of that server (default: admin.token in the data directory)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What `weir serve`, and `weir` alone, take beside it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// REST listener (default: 127.0.0.1:8080; port 0 chooses a free one)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) api: Option<String>,
    /// WebSocket listener (default: 127.0.0.1:8081)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) gateway: Option<String>,
    /// Connect listener of the data service (default: 127.0.0.1:8082)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) data_service: Option<String>,
    /// How events reach gateways: memory, or redis://host:port
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,
    /// Gateway address that clients are told, ws://… or wss://… (default: the bound one)
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Print the configuration in force, each value with its origin, and exit
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// A command line that clap accepts but that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} belongs to serve, not to this subcommand")]
pub(crate) struct Misplaced {
    /// The flag.
    pub(crate) flag: &'static str,
}

impl ServeArgs {
    /// Flags before the word `serve` count like flags after it; if both are given, those after it win.
    pub(crate) fn or(self, before: Self) -> Self {
        Self {
            api: self.api.or(before.api),
            gateway: self.gateway.or(before.gateway),
            data_service: self.data_service.or(before.data_service),
            bus: self.bus.or(before.bus),
            public_url: self.public_url.or(before.public_url),
            check_config: self.check_config || before.check_config,
        }
    }

    /// Checks that no flag is set.
    ///
    /// # Errors
    /// [`Misplaced`] if one is.
    pub(crate) fn none(&self) -> Result<(), Misplaced> {
        let given = [
            (self.api.is_some(), "--api"),
            (self.gateway.is_some(), "--gateway"),
            (self.data_service.is_some(), "--data-service"),
            (self.bus.is_some(), "--bus"),
            (self.public_url.is_some(), "--public-url"),
            (self.check_config, "--check-config"),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(Misplaced { flag }),
            None => Ok(()),
        }
    }
}
