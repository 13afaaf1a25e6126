//! The subcommands except `serve`, one file each. A command takes its arguments and a [`Context`], and ends
//! with a [`Done`](crate::output::Done) or a [`CommandError`]. It prints nothing on standard output itself.

pub(crate) mod bot;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod hot;
pub(crate) mod import;
pub(crate) mod limits;
pub(crate) mod schema;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::UtcOffset;
use weir_data_client::{CallOptions, DataError, Replied};
use weir_discord::validate::is_blank;

use crate::{
    config::{CommonArgs, Config},
    error::CommandError,
    reach::Target,
};

/// Time limit for one call of a command. A person waits for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What every command is given.
pub(crate) struct Context {
    /// The common flags.
    pub(crate) common: CommonArgs,
    /// The configuration.
    pub(crate) config: Config,
    /// The operator's offset from UTC.
    pub(crate) offset: UtcOffset,
}

impl Context {
    /// Says where to look for the service.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            config: &self.config,
            admin_given: self.common.admin.is_some(),
            token_file: self.common.admin_token_file.as_deref(),
        }
    }
}

/// Options of every call.
fn options() -> CallOptions {
    CallOptions::within(CALL_TIMEOUT)
}

/// Returns a call's message, or an error that names the request and the service's error.
fn answered<T>(act: impl Into<String>, reply: Result<Replied<T>, DataError>) -> Result<T, CommandError> {
    reply.map(|replied| replied.message).map_err(|source| CommandError::Data { act: act.into(), source })
}

/// Checks text that people will read later in a table or a log: its length in characters, and that it is one
/// line without control characters.
fn words(what: &str, text: &str, max: usize) -> Result<(), CommandError> {
    let problem = if text.chars().count() > max {
        format!("{what} has more than {max} characters")
    } else if text.chars().any(char::is_control) {
        format!("{what} has control characters: write one line of plain text")
    } else if !text.is_empty() && is_blank(text) {
        format!("nothing of {what} can be seen")
    } else {
        return Ok(());
    };
    Err(CommandError::Usage { problem })
}

/// The current time in milliseconds since 1970-01-01T00:00Z.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
