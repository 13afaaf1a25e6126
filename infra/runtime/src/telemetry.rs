//! Log output: text for people, JSON for pipelines. It is always on standard error, so that standard output
//! is left to the command.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::Reader;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for each event, coloured on a terminal.
    Text,
    /// One JSON object for each event, with its fields beside `timestamp`, `level` and `message`.
    Json,
}

/// Default filter. Our own crates log what operators need at `info`; the libraries below log only warnings
/// and errors.
const FILTER_DEFAULT: &str = "info,hyper=warn,h2=warn,scylla=warn,fjall=warn,lsm_tree=warn";

/// Which events are logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// How lines are written.
    pub format: LogFormat,
    /// Which events are written, in tracing's directive syntax, such as `info,weir_data_service=debug`.
    pub filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> TelemetryConfig {
        TelemetryConfig { format: LogFormat::Text, filter: FILTER_DEFAULT.to_owned() }
    }
}

impl TelemetryConfig {
    /// Reads `log.format` (`text` or `json`) and `log.filter`.
    pub fn read(reader: &mut Reader) -> TelemetryConfig {
        let format = reader.choice(
            "log.format",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            LogFormat::Text,
        );
        let filter = reader.string("log.filter", FILTER_DEFAULT);
        let valid = EnvFilter::try_new(&filter).is_ok();
        reader.require(
            "log.filter",
            valid,
            "it must be a list of level or target=level",
            "write for example \"info\" or \"info,weir_data_service=debug\"",
        );
        TelemetryConfig { format, filter }
    }
}

/// Why log output could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not a list of directives.
    #[error("log filter is invalid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process already has a subscriber.
    #[error("log output is already set up")]
    AlreadyInstalled(#[from] TryInitError),
}

/// Sets up the log output of the process.
///
/// # Errors
/// [`TelemetryError`], if the filter is invalid or a subscriber exists already.
pub fn install(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    match config.format {
        LogFormat::Text => fmt()
            .with_env_filter(filter)
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .finish()
            .try_init()?,
        LogFormat::Json => {
            fmt()
                .with_env_filter(filter)
                .with_writer(stderr)
                .json()
                .flatten_event(true)
                .finish()
                .try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    #[test]
    fn the_default_filter_is_valid() {
        assert!(EnvFilter::try_new(FILTER_DEFAULT).is_ok());
        let mut reader = RawConfig::default().into_reader();
        assert_eq!(TelemetryConfig::read(&mut reader), TelemetryConfig::default());
        assert!(reader.finish().is_ok());
    }

    #[test]
    fn a_broken_filter_is_a_configuration_problem() {
        let mut raw = RawConfig::default();
        raw.flag("log.filter", "--log", "weir=shout");
        let mut reader = raw.into_reader();
        TelemetryConfig::read(&mut reader);
        let problems = reader.finish().expect_err("shout is no level").to_string();
        assert!(problems.contains("log.filter = \"weir=shout\" (flag --log)"), "{problems}");
    }
}
