//! The frame of every tier's `main`: layers of configuration in, an exit code out.

use std::error::Error;
use std::future::Future;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Effective, Environment, Problems, RawConfig};
use crate::process::Exit;
use crate::telemetry::{self, TelemetryConfig};

/// The file that is read if it is there and no other is named.
pub const CONFIG_FILE: &str = "weir.toml";

/// Time that the runtime's threads get at the end. What a thread still does then (a read of the database, say) nobody waits for.
pub const LAST_THREADS: Duration = Duration::from_secs(2);

/// A flag that was or was not given: its key, its name, its value.
pub type Flag<'a> = (&'a str, &'a str, Option<String>);

/// The layers of a process in the order of their precedence: `file`, or [`CONFIG_FILE`] if it is there; the environment; the flags.
pub fn layers<'a>(
    file: Option<&Path>,
    environment: &dyn Environment,
    flags: impl IntoIterator<Item = Flag<'a>>,
) -> RawConfig {
    let mut raw = RawConfig::default();
    match file {
        Some(path) => raw.read_file(path, true),
        None => raw.read_file(Path::new(CONFIG_FILE), false),
    }
    raw.environment(environment);
    for (key, flag, value) in flags {
        if let Some(value) = value {
            raw.flag(key, flag, value);
        }
    }
    raw
}

/// Ends the configuration and runs the process: prints what is wrong, or with `check_config` what is in force, or sets up the log output
/// and runs `work` on a runtime of as many threads as there are cores. What goes wrong is told after the name of the `program`; `exit` says
/// how it ends then.
pub fn launch<W, E>(
    program: &str,
    effective: Result<Effective, Problems>,
    check_config: bool,
    log: &TelemetryConfig,
    work: W,
    exit: impl FnOnce(&E) -> Exit,
) -> ExitCode
where
    W: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // A closed standard output or error leaves nowhere to say so; the exit code still tells.
    let say = |text: &str| drop(writeln!(stderr(), "{program}: {text}"));
    let effective = match effective {
        Ok(effective) => effective,
        Err(problems) => {
            say(&problems.to_string());
            return Exit::Usage.into();
        }
    };
    if check_config {
        let printed = write!(stdout(), "{effective}");
        return if printed.is_ok() { Exit::Ok } else { Exit::Failed }.into();
    }
    if let Err(error) = telemetry::install(log) {
        say(&chain(&error));
        return Exit::Failed.into();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("the runtime cannot be started: {error}"));
            return Exit::Failed.into();
        }
    };
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_THREADS);
    match outcome {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let exit = exit(&error);
            let error: Box<dyn Error + Send + Sync> = error.into();
            say(&chain(&*error));
            exit.into()
        }
    }
}

/// An error and its causes in one line, each once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Repeating(#[source] Inner);

    #[test]
    fn a_chain_names_each_cause_once() {
        assert_eq!(chain(&Outer(Inner)), "outer: inner");
        assert_eq!(chain(&Repeating(Inner)), "outer: inner");
    }

    #[test]
    fn flags_that_were_given_win_and_others_leave_the_key_alone() {
        let environment = MapEnvironment::from([("WEIR_A__X", "1"), ("WEIR_A__Y", "2")]);
        let flags = [("a.x", "--x", Some("3".to_owned())), ("a.y", "--y", None)];
        let mut reader = layers(None, &environment, flags).into_reader();
        assert_eq!((reader.u64("a.x", 0, 0..=9), reader.u64("a.y", 0, 0..=9)), (3, 2));
        assert!(reader.finish().is_ok());
    }
}
