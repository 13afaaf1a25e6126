//! The processes that are killed: `weir` alone, or the three tiers in processes of their own on Cassandra and
//! Redis.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::Value;
use weir_testkit::{Process, Program, Ready, free_addresses};

use crate::process;

/// Longest run of an operator's command.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// Interval of the clients' heartbeats. It is short, so that a connection that died silently is found within
/// the test.
const HEARTBEAT: &str = "5s";

/// Which processes are under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Every tier in one process, on the embedded store unless another is named; only on that one do its
    /// sessions survive it.
    Weir,
    /// `data-service`, `api` and `gateway`. The gateway's sessions end with it.
    Tiers,
}

/// The processes under test and where they listen.
pub(super) struct Target {
    pub(super) processes: Vec<Process>,
    /// True if sessions live in the embedded store and therefore survive the process.
    sessions_survive: bool,
    pub(super) api: SocketAddr,
    pub(super) gateway: SocketAddr,
    admin: SocketAddr,
    weir: PathBuf,
    data: PathBuf,
}

/// The binaries and the servers that they use.
pub(super) struct Plan<'a> {
    pub(super) kind: Kind,
    pub(super) profile: Option<&'a str>,
    /// The store's URL; `None` for the embedded store.
    pub(super) store: Option<&'a str>,
    /// The bus's URL; `None` for the bus in memory.
    pub(super) bus: Option<&'a str>,
    /// Directory for data and logs.
    pub(super) directory: &'a Path,
}

impl Target {
    /// Starts all processes and waits until they are ready.
    pub(super) async fn start(plan: &Plan<'_>, random: &mut Rng) -> Result<Self> {
        let [api, gateway, data_service, admin, api_admin, gateway_admin] = free_addresses(random)?;
        let weir = process::binary("weir", plan.profile)?;
        let data = plan.directory.join("data");
        if let Some(store) = plan.store {
            apply_schema(&weir, store).await?;
        }
        let program = |name: &'static str, admin, arguments: &[(&str, OsString)]| -> Result<Program> {
            let flags = arguments.iter().flat_map(|(flag, value)| [OsString::from(flag), value.clone()]);
            let mut command = Command::new(process::binary(name, plan.profile)?);
            command.args(flags).envs(environment(name));
            let log = Some(plan.directory.join(format!("{name}.log")));
            Ok(Program { name, command, ready: Ready::Admin(admin), log })
        };
        let at = |address: SocketAddr| OsString::from(address.to_string());
        let store: OsString = plan.store.unwrap_or("embedded").into();
        let bus: OsString = plan.bus.unwrap_or("memory").into();
        let directory = data.clone().into_os_string();
        let programs = match plan.kind {
            Kind::Weir => vec![program(
                "weir",
                admin,
                &[
                    ("--api", at(api)),
                    ("--gateway", at(gateway)),
                    ("--data-service", at(data_service)),
                    ("--admin", at(admin)),
                    ("--data", directory),
                    ("--store", store),
                    ("--bus", bus),
                ],
            )?],
            Kind::Tiers => vec![
                program(
                    "data-service",
                    admin,
                    &[
                        ("--data-service", at(data_service)),
                        ("--admin", at(admin)),
                        ("--data", directory),
                        ("--store", store),
                        ("--bus", bus.clone()),
                    ],
                )?,
                program(
                    "api",
                    api_admin,
                    &[
                        ("--api", at(api)),
                        ("--admin", at(api_admin)),
                        ("--data-service", at(data_service)),
                        ("--public-url", format!("ws://{gateway}").into()),
                    ],
                )?,
                program(
                    "gateway",
                    gateway_admin,
                    &[
                        ("--gateway", at(gateway)),
                        ("--admin", at(gateway_admin)),
                        ("--data-service", at(data_service)),
                        ("--bus", bus),
                    ],
                )?,
            ],
        };
        let sessions_survive = plan.kind == Kind::Weir && plan.store.is_none() && plan.bus.is_none();
        let mut target = Self { processes: Vec::new(), sessions_survive, api, gateway, admin, weir, data };
        for program in programs {
            let mut process = Process::start(program)?;
            // They start one after the other, because the first creates the keyspace that the others rely on.
            process.ready()?;
            target.processes.push(process);
        }
        Ok(target)
    }

    /// Waits until all are ready. Returns the time that the process with this index took.
    pub(super) fn ready(&mut self, index: usize) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for (number, process) in self.processes.iter_mut().enumerate() {
            let ready = process.ready()?;
            if number == index {
                took = ready;
            }
        }
        Ok(took)
    }

    /// Creates a bot, in a guild if one is named. Returns its token.
    pub(super) async fn create_bot(&self, name: &str, guild: Option<u64>) -> Result<String> {
        create_bot(&self.weir, &self.data, self.admin, name, guild).await
    }

    /// True if a kill of this process ends sessions.
    pub(super) fn holds_sessions(&self, index: usize) -> bool {
        let name = self.processes.get(index).map(Process::name);
        !self.sessions_survive && matches!(name, Some("gateway" | "weir"))
    }
}

/// The variables of a binary, which refuses those of other binaries.
pub(crate) fn environment(name: &str) -> Vec<(&'static str, String)> {
    // Discord's rate limits are off, because they would make the writers wait instead of write.
    let unlimited = ("WEIR_API__RATE_LIMITS", "off".to_owned());
    // Its limits on identifies are off too, because a bot that lost its session would stand still for five
    // seconds.
    let identifies = ("WEIR_GATEWAY__IDENTIFY_LIMITS", "off".to_owned());
    let heartbeat = ("WEIR_GATEWAY__HEARTBEAT_INTERVAL", HEARTBEAT.to_owned());
    // There is one node, so the keyspace of a test needs one copy.
    let one_copy = ("WEIR_CQL__REPLICATION", "1".to_owned());
    match name {
        "api" => vec![unlimited],
        "gateway" => vec![heartbeat, identifies],
        "data-service" => vec![one_copy],
        _ => vec![unlimited, heartbeat, identifies, one_copy],
    }
}

/// Runs `weir schema apply`, which creates the keyspace of a `cql://` store.
pub(crate) async fn apply_schema(weir: &Path, store: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(weir);
    command.args(["schema", "apply", "--json", "--store", store]).envs(environment("weir"));
    process::last_json(&mut command, COMMAND_MAX).await.map(drop)
}

/// Runs `weir bot create` on a running server. Returns the token.
pub(crate) async fn create_bot(
    weir: &Path,
    data: &Path,
    admin: SocketAddr,
    name: &str,
    guild: Option<u64>,
) -> Result<String> {
    let mut command = tokio::process::Command::new(weir);
    command.args(["bot", "create", name, "--json", "--admin", &admin.to_string(), "--data"]).arg(data);
    if let Some(guild) = guild {
        command.args(["--guild", &guild.to_string()]);
    }
    let result = process::last_json(&mut command, COMMAND_MAX).await?;
    result.get("token").and_then(Value::as_str).map(str::to_owned).context("weir bot create gave no token")
}
