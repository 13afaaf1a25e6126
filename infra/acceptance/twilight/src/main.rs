//! Acceptance bot on unmodified twilight: the scenario of `infra/acceptance/README.md`.
//!
//! Takes `WEIR_API` (`http://127.0.0.1:PORT`), `WEIR_GATEWAY` (`ws://127.0.0.1:PORT`) and `WEIR_TOKEN` from
//! the environment. Prints one line for each step and, last, one JSON object `{ok, library, steps}`; exits 0
//! only when every step passed. twilight's model is the strictest of the three libraries: a missing or
//! mistyped key fails the whole event, so every step here is also a check of our JSON.

#![expect(clippy::print_stdout, reason = "the report on stdout is this program's result")]

mod events;
mod loopback;
mod relay;
mod scenario;
mod steps;

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{scenario::Target, steps::Steps};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut steps = Steps::default();
    if let Err(error) = run(&mut steps).await {
        steps.fail_run(&error);
    }
    println!("{}", steps.report());
    if steps.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(steps: &mut Steps) -> Result<()> {
    let target = Target {
        api: authority(&variable("WEIR_API")?, "http://")?,
        gateway: authority(&variable("WEIR_GATEWAY")?, "ws://")?,
        token: variable("WEIR_TOKEN")?,
    };
    scenario::run(&target, steps).await
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is not set"))
}

/// `HOST:PORT` of a base address, in the form of twilight's settings.
fn authority(url: &str, scheme: &str) -> Result<String> {
    let rest = url.strip_prefix(scheme).with_context(|| format!("{url} does not start with {scheme}"))?;
    Ok(rest.trim_end_matches('/').to_owned())
}
