//! The frame of every tier's `main`: it takes the layers of configuration and gives an exit code.

use std::error::Error;
use std::future::Future;
use std::io::{self, Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Effective, Environment, Problems, RawConfig};
use crate::process::Exit;
use crate::telemetry::{self, TelemetryConfig};

/// The file that is read, if it exists, when no other is named.
pub const CONFIG_FILE: &str = "weir.toml";

/// Time that the runtime's threads have to end. Work that a thread still does after it, such as a read of the
/// database, is abandoned.
pub const LAST_THREADS: Duration = Duration::from_secs(2);

/// A flag: its key, its name, and its value if it was given.
pub type Flag<'a> = (&'a str, &'a str, Option<String>);

/// The layers of a process in the order of their precedence: `file`, or [`CONFIG_FILE`] if that exists; the
/// environment; the flags.
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

/// Output that the command line asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedOutput {
    /// `--check-config`: print the configuration in force, and exit.
    pub check_config: bool,
    /// `--json`: one JSON object on the last line of standard output, also for an error.
    pub json: bool,
}

/// Reports an invalid command line: `said` on standard error and, if the line has `--json` anywhere, its
/// first line as the JSON object with which every other error ends. Gives the exit code.
pub fn wrong_usage(said: &str) -> ExitCode {
    // If the streams are closed there is nowhere left to report; the exit code still does.
    let _ = writeln!(stderr(), "{}", said.trim_end());
    if std::env::args_os().any(|argument| argument == "--json") {
        let _ = writeln!(stdout(), "{}", usage_object(said));
    }
    Exit::Usage.into()
}

/// The command line, understood; or the exit code, once it was told what is wrong with it. Help and version
/// end the process.
///
/// # Errors
/// [`wrong_usage`]'s exit code.
pub fn command_line<F: clap::Parser>() -> Result<F, ExitCode> {
    F::try_parse().map_err(|error| {
        if error.use_stderr() { wrong_usage(&error.render().to_string()) } else { error.exit() }
    })
}

fn usage_object(said: &str) -> serde_json::Value {
    let first = said.lines().next().unwrap_or_default();
    let error = first.strip_prefix("error: ").unwrap_or(first);
    serde_json::json!({ "error": error, "exit": Exit::Usage.code() })
}

/// Prints on standard output where a process listens, which is true from now on: name and address of each
/// listener. It is one line of text, or with `json` one object with a member for each.
///
/// # Errors
/// If standard output is closed.
pub fn tell_listeners(program: &str, json: bool, bound: &[(&str, SocketAddr)]) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", listeners(program, json, bound))?;
    out.flush()
}

fn listeners(program: &str, json: bool, bound: &[(&str, SocketAddr)]) -> String {
    if json {
        let members = bound.iter().map(|(name, address)| ((*name).to_owned(), address.to_string().into()));
        return serde_json::Value::Object(members.collect()).to_string();
    }
    let parts: Vec<_> = bound.iter().map(|(name, address)| format!("{name} {address}")).collect();
    format!("{program} serves: {}", parts.join(", "))
}

/// Finishes the configuration and runs the process. Prints the problems of the configuration, or the
/// configuration in force if that was asked. Otherwise sets up the log output and runs `work` on a runtime of
/// as many threads as there are cores. An error is reported after the name of the `program`, and `exit` gives
/// its exit code.
pub fn launch<W, E>(
    program: &str,
    effective: Result<Effective, Problems>,
    asked: AskedOutput,
    log: &TelemetryConfig,
    work: W,
    exit: impl FnOnce(&E) -> Exit,
) -> ExitCode
where
    W: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // If standard output or error is closed there is nowhere to report; the exit code still does.
    let say = |text: &str, exit: Exit| {
        drop(writeln!(stderr(), "{program}: {text}"));
        if asked.json {
            drop(writeln!(stdout(), "{}", serde_json::json!({ "error": text, "exit": exit.code() })));
        }
        exit.into()
    };
    let effective = match effective {
        Ok(effective) => effective,
        Err(problems) => {
            return say(&problems.to_string(), Exit::Usage);
        }
    };
    if asked.check_config {
        let printed = match asked.json {
            true => writeln!(stdout(), "{}", effective.to_json()),
            false => write!(stdout(), "{effective}"),
        };
        return if printed.is_ok() { Exit::Ok } else { Exit::Failed }.into();
    }
    if let Err(error) = telemetry::install(log) {
        return say(&chain(&error), Exit::Failed);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return say(&format!("the runtime cannot be started: {error}"), Exit::Failed);
        }
    };
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_THREADS);
    match outcome {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let exit = exit(&error);
            let error: Box<dyn Error + Send + Sync> = error.into();
            say(&chain(&*error), exit)
        }
    }
}

/// An error and its causes in one line, each of them once.
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
    fn listeners_are_printed_in_a_line_or_as_one_object() {
        let bound = [("api", ([127, 0, 0, 1], 80).into()), ("admin", ([0, 0, 0, 0], 81).into())];
        assert_eq!(listeners("api", false, &bound), "api serves: api 127.0.0.1:80, admin 0.0.0.0:81");
        let object: serde_json::Value = serde_json::from_str(&listeners("api", true, &bound)).expect("json");
        assert_eq!(object, serde_json::json!({ "api": "127.0.0.1:80", "admin": "0.0.0.0:81" }));
    }

    #[test]
    fn a_wrong_command_line_is_reported_as_an_object_too() {
        let object = usage_object("error: unexpected argument '--x' found\n\nUsage: weir [OPTIONS]\n");
        assert_eq!(object, serde_json::json!({ "error": "unexpected argument '--x' found", "exit": 2 }));
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
