//! `cargo xtask test`: sets up everything that the tests need and runs all tests.

use std::{process::Command, time::Duration};

use anyhow::Result;

use crate::{
    cargo::{self, TEST_MAX},
    clients,
    process::Children,
    redis,
    run_servers::{CQL_VARIABLE, REDIS_VARIABLE, Server, Servers},
    steps::{Setup, Steps},
    weir::Weir,
    workspace::Workspace,
};

/// Longest run of one acceptance bot. It takes seconds without rate limits, and about four minutes with
/// Discord's usual five messages in five seconds.
const BOT_MAX: Duration = Duration::from_secs(600);

/// Longest run of one kill scenario. It takes about a minute; on a busy machine every start of a process may
/// take as long as it is allowed.
const KILLS_MAX: Duration = Duration::from_secs(1_200);

/// The attacks of a test run. Each takes about a quarter of a minute.
const ATTACKS: [&str; 11] = [
    "ping-flood",
    "never-identify",
    "half-handshake",
    "unknown-tokens",
    "descriptors",
    "idle-http2",
    "deaf-streams",
    "unfinished-bodies",
    "deaf-streams-token",
    "sessions-come-and-go",
    "deaf-sessions",
];

/// What a run consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// A Redis server for the other parts.
    Redis,
    /// A Cassandra node for the other parts.
    Cassandra,
    /// `cargo test` of the whole workspace: unit, property, integration and documentation tests.
    Workspace,
    /// The protection layer's atomics under every interleaving.
    Loom,
    /// Processes killed while people write and bots listen.
    Kills,
    /// The event bus emptied while people write and bots listen, and while nothing happens.
    BusLosses,
    /// Imports killed and continued.
    ImportKills,
    /// Hostile clients, a few seconds each.
    Attack,
    /// discord.py against a running server.
    Discordpy,
    /// discord.js against a running server.
    Discordjs,
    /// twilight against a running server.
    Twilight,
}

impl Part {
    const BOTS: [Self; 3] = [Self::Discordpy, Self::Discordjs, Self::Twilight];

    fn is_server(self) -> bool {
        matches!(self, Self::Redis | Self::Cassandra)
    }

    fn needs_servers(self) -> bool {
        matches!(self, Self::Workspace | Self::Kills)
    }
}

/// Which parts to run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Selection {
    /// Run this part only (repeatable); servers that it needs are still started.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Leave this part out (repeatable).
    #[arg(long, value_name = "PART")]
    skip: Vec<Part>,
}

impl Selection {
    fn wants(&self, part: Part) -> bool {
        if self.skip.contains(&part) {
            return false;
        }
        let needed = part.is_server() && self.only.iter().any(|part| part.needs_servers());
        self.only.is_empty() || self.only.contains(&part) || needed
    }
}

/// Runs the selected parts.
pub(crate) fn run(
    workspace: &Workspace,
    children: &Children,
    selection: &Selection,
    steps: &mut Steps,
) -> Result<()> {
    let folder = workspace.run_folder()?;
    children.remove_on_interrupt(folder.clone());
    let servers = Servers::new(workspace, children, &folder);
    let runner = Runner { workspace, children, selection, servers };
    runner.cargo_tests(steps);
    runner.acceptance(steps);
    workspace.remove_run_folder(&folder)
}

struct Runner<'a> {
    workspace: &'a Workspace,
    children: &'a Children,
    selection: &'a Selection,
    servers: Servers<'a>,
}

impl Runner<'_> {
    /// Runs the parts that cargo runs, with the servers that they need. The servers stop at the end, which
    /// leaves the memory to the bots.
    fn cargo_tests(&self, steps: &mut Steps) {
        let redis = self.part(steps, Part::Redis, "redis", || self.servers.redis());
        let cassandra = self.part(steps, Part::Cassandra, "cassandra", || self.servers.cassandra());
        self.part(steps, Part::Workspace, "workspace tests", || {
            let mut test = cargo::cargo(self.workspace, ["test", "--workspace", "--no-fail-fast"]);
            tell(&mut test, REDIS_VARIABLE, redis.as_ref());
            tell(&mut test, CQL_VARIABLE, cassandra.as_ref());
            self.children.run(&test, TEST_MAX).map(Setup::Ready)
        });
        if self.workspace.root().join("data-service/protect/tests/loom.rs").is_file() {
            self.part(steps, Part::Loom, "loom", || self.loom().map(Setup::Ready));
        }
        self.kills(steps, cassandra.as_ref(), redis.as_ref());
    }

    /// Runs small forms of the scenarios that kill or attack processes; `cargo xtask bench kills` and `cargo
    /// xtask attack` run them at any size.
    fn kills(&self, steps: &mut Steps, cassandra: Option<&Server>, redis: Option<&Server>) {
        if ![Part::Kills, Part::BusLosses, Part::ImportKills, Part::Attack]
            .into_iter()
            .any(|part| self.selection.wants(part))
        {
            steps.not_wanted("kills");
            return;
        }
        let built = steps.set_up("binaries to kill", || {
            let build = cargo::cargo(self.workspace, ["build", "--workspace", "--bins"]);
            self.children.run(&build, TEST_MAX).map(Setup::Ready)
        });
        if built.is_none() {
            return;
        }
        let scenario = |arguments: &[&str]| {
            let mut scenario = Command::new(self.workspace.built("debug", "weir-loadtest"));
            scenario.args(arguments);
            self.children.run(&scenario, KILLS_MAX).map(Setup::Ready)
        };
        self.part(steps, Part::Kills, "kills, one process", || {
            scenario(&["kills", "--kills", "20", "--writers", "20"])
        });
        self.part(steps, Part::Kills, "kills, three tiers", || {
            let (Some(cassandra), Some(redis)) = (cassandra, redis) else {
                return Ok(Setup::Skipped("it needs Cassandra and Redis".to_owned()));
            };
            // Each run has a keyspace of its own, because the server may be a developer's.
            let store = format!("cql://{}/weir_kills_{}", cassandra.name(), std::process::id());
            let tiers = ["--target", "tiers", "--store", &store, "--redis", redis.name()];
            // The number counts for each of three processes.
            scenario(&[&["kills", "--kills", "7", "--writers", "20"][..], &tiers].concat())
        });
        self.part(steps, Part::BusLosses, "bus losses", || {
            // The scenario has a Redis of its own, because it kills it.
            if let Setup::Skipped(reason) = redis::ensure_installed(self.children)? {
                return Ok(Setup::Skipped(reason));
            }
            scenario(&["bus-losses", "--busy", "10", "--silent", "10"])
        });
        self.part(steps, Part::ImportKills, "import kills", || {
            scenario(&["import-kills", "--kills", "3", "--messages", "5000"])
        });
        self.part(steps, Part::Attack, "attacks", || {
            // One attack for each part of the memory and each listener; `cargo xtask attack` runs all.
            let mut arguments =
                vec!["attack", "--seconds", "2", "--settle-seconds", "30", "--fill-seconds", "2"];
            for attack in ATTACKS {
                arguments.extend(["--only", attack]);
            }
            scenario(&arguments)
        });
    }

    fn part<T>(
        &self,
        steps: &mut Steps,
        part: Part,
        name: &str,
        act: impl FnOnce() -> Result<Setup<T>>,
    ) -> Option<T> {
        if self.selection.wants(part) {
            steps.set_up(name, act)
        } else {
            steps.not_wanted(name);
            None
        }
    }

    fn loom(&self) -> Result<()> {
        // Loom has a folder of its own, because other flags would make cargo rebuild everything in `target/`
        // twice.
        let arguments =
            ["test", "--release", "-p", "weir-protect", "--test", "loom", "--target-dir", "target/loom"];
        let mut loom = cargo::cargo(self.workspace, arguments);
        loom.env("RUSTFLAGS", "--cfg weir_loom");
        self.children.run(&loom, TEST_MAX)
    }

    fn acceptance(&self, steps: &mut Steps) {
        if !Part::BOTS.into_iter().any(|bot| self.selection.wants(bot)) {
            steps.not_wanted("acceptance bots");
            return;
        }
        let Some(weir) = steps.set_up("acceptance server", || self.server().map(Setup::Ready)) else {
            return;
        };
        let (workspace, children) = (self.workspace, self.children);
        let twilight = Command::new(self.workspace.built("debug", "acceptance-twilight"));
        self.bot(steps, Part::Discordpy, "discord.py", &weir, || clients::discord_py(workspace, children));
        self.bot(steps, Part::Discordjs, "discord.js", &weir, || clients::discord_js(workspace, children));
        self.bot(steps, Part::Twilight, "twilight", &weir, || Ok(Setup::Ready(twilight)));
    }

    fn server(&self) -> Result<Weir> {
        // The whole workspace is built although only two binaries are needed. The features are then the same
        // as in the tests, so nothing is built twice.
        let build = cargo::cargo(
            self.workspace,
            ["build", "--workspace", "--bin", "weir", "--bin", "acceptance-twilight"],
        );
        self.children.run(&build, TEST_MAX)?;
        let folder = self.workspace.own(&self.servers.below("weir"))?;
        Weir::start(&self.workspace.built("debug", "weir"), &folder, self.children)
    }

    fn bot(
        &self,
        steps: &mut Steps,
        part: Part,
        name: &str,
        weir: &Weir,
        library: impl FnOnce() -> Result<Setup<Command>>,
    ) {
        self.part(steps, part, name, || {
            let mut bot = match library()? {
                Setup::Ready(bot) => bot,
                Setup::Skipped(reason) => return Ok(Setup::Skipped(reason)),
            };
            let token = weir.create_bot(name, self.children)?;
            bot.env("WEIR_API", format!("http://{}", weir.bound().api))
                .env("WEIR_GATEWAY", format!("ws://{}", weir.bound().gateway))
                .env("WEIR_TOKEN", token);
            let result = self.children.run(&bot, BOT_MAX).inspect_err(|_| eprintln!("{}", weir.log_tail()));
            result.map(Setup::Ready)
        });
    }
}

/// Tells the tests the address of a server, or that there is none.
fn tell(test: &mut Command, variable: &str, server: Option<&Server>) {
    match server {
        Some(server) => test.env(variable, server.name()),
        None => test.env_remove(variable),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[Part], skip: &[Part]) -> Selection {
        Selection { only: only.to_vec(), skip: skip.to_vec() }
    }

    #[test]
    fn without_a_selection_everything_runs() {
        let all = selection(&[], &[]);
        assert!(
            [Part::Redis, Part::Workspace, Part::Loom, Part::Twilight]
                .into_iter()
                .all(|part| all.wants(part))
        );
    }

    #[test]
    fn the_workspace_brings_its_servers_and_the_bots_do_not() {
        let workspace = selection(&[Part::Workspace], &[]);
        assert!(workspace.wants(Part::Cassandra) && workspace.wants(Part::Redis));
        assert!(!workspace.wants(Part::Loom));
        let bot = selection(&[Part::Twilight], &[]);
        assert!(bot.wants(Part::Twilight));
        assert!(!bot.wants(Part::Cassandra) && !bot.wants(Part::Discordjs));
    }

    #[test]
    fn kills_bring_the_servers_of_the_tiers() {
        let kills = selection(&[Part::Kills], &[]);
        assert!(kills.wants(Part::Cassandra) && kills.wants(Part::Redis) && !kills.wants(Part::ImportKills));
        assert!(!selection(&[Part::ImportKills], &[]).wants(Part::Cassandra));
    }

    #[test]
    fn skip_wins_over_need() {
        let without = selection(&[Part::Workspace], &[Part::Cassandra]);
        assert!(!without.wants(Part::Cassandra));
        assert!(without.wants(Part::Redis));
    }
}
