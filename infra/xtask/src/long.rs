//! `cargo xtask long`: the runs that are too long for every change, by name. Each has a short form in `cargo
//! xtask test` or `cargo xtask ci`.

use std::{env, process::Command, time::Duration};

use anyhow::Result;
use clap::ValueEnum as _;

use crate::{
    cargo::{self, TEST_MAX},
    mutants::{self, Wanted},
    process::Children,
    run_servers::{Server, Servers},
    steps::{Setup, Steps},
    workspace::Workspace,
};

/// Longest of these runs. 200 kills take a quarter of an hour.
const LONG_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// Variable that tells the sweep how many damages to try for each kind of stop.
const DAMAGES: &str = "WEIR_DAMAGE";
/// Damages to try if the variable is unset: enough for all that the sweep knows. They take about a quarter of
/// an hour.
const DAMAGES_MAX: &str = "10000";

/// The runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Run {
    /// `weir` killed 200 times while 32 people write.
    Kills,
    /// The three tiers on Cassandra and Redis, killed 201 times while 32 people write.
    KillsTiers,
    /// The event bus emptied 100 times under traffic and 100 times in silence.
    BusLosses,
    /// The same with three tiers on Cassandra.
    BusLossesTiers,
    /// An import killed 50 times.
    ImportKills,
    /// The embedded store's files damaged in every way that the sweep knows, some 5,000 for each of two kinds
    /// of stop, or in `WEIR_DAMAGE`.
    Damage,
    /// Every decoder with 100,000 inputs for each target, or as many as `WEIR_FUZZ_CASES` says.
    Fuzz,
    /// Every known mistake put back, one at a time.
    Mutants,
}

/// Variable that tells every decoder's target how many inputs to try.
const INPUTS: &str = "WEIR_FUZZ_CASES";
/// Inputs for each target of a long run.
const INPUTS_MAX: &str = "100000";

impl Run {
    fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills, one process",
            Self::KillsTiers => "kills, three tiers",
            Self::BusLosses => "bus losses, one process",
            Self::BusLossesTiers => "bus losses, three tiers",
            Self::ImportKills => "import kills",
            Self::Damage => "damages",
            Self::Fuzz => "fuzz",
            Self::Mutants => "mutants",
        }
    }

    /// Arguments for `weir-loadtest`, or for cargo if the run consists of tests. Mutants have none: xtask
    /// runs them itself.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kills => &["kills", "--kills", "200", "--writers", "32"],
            // The number counts for each of three processes.
            Self::KillsTiers => &["kills", "--target", "tiers", "--kills", "67", "--writers", "32"],
            Self::BusLosses => &["bus-losses", "--busy", "100", "--silent", "100", "--writers", "32"],
            Self::BusLossesTiers => {
                &["bus-losses", "--target", "tiers", "--busy", "100", "--silent", "100", "--writers", "32"]
            }
            Self::ImportKills => &["import-kills", "--kills", "50", "--messages", "200000"],
            Self::Damage => &[
                "test",
                "--release",
                "--package",
                "weir-store",
                "--test",
                "it",
                "--",
                "--nocapture",
                "damage::sweep",
            ],
            // Runs all targets, which are the tests in modules named `fuzz`. Each prints how many inputs it
            // had.
            Self::Fuzz => {
                &["test", "--workspace", "--lib", "--bins", "--test", "it", "fuzz::", "--", "--nocapture"]
            }
            Self::Mutants => &[],
        }
    }

    /// For runs that consist of tests: the variable that tells them how much to try, and its value if it is
    /// unset.
    fn amount(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Damage => Some((DAMAGES, DAMAGES_MAX)),
            Self::Fuzz => Some((INPUTS, INPUTS_MAX)),
            Self::Kills
            | Self::KillsTiers
            | Self::BusLosses
            | Self::BusLossesTiers
            | Self::ImportKills
            | Self::Mutants => None,
        }
    }

    fn needs_binaries(self) -> bool {
        self.amount().is_none() && self != Self::Mutants
    }

    fn needs_cassandra(self) -> bool {
        matches!(self, Self::KillsTiers | Self::BusLossesTiers)
    }

    fn needs_redis(self) -> bool {
        self == Self::KillsTiers
    }
}

/// Which runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Chosen {
    /// Runs; without any, all of them one after the other.
    runs: Vec<Run>,
}

impl Chosen {
    fn runs(&self) -> Vec<Run> {
        if self.runs.is_empty() { Run::value_variants().to_vec() } else { self.runs.clone() }
    }
}

/// Builds release binaries and runs what was chosen.
///
/// # Errors
/// If the run's folder cannot be created or removed. A failure within a run is reported by its step.
pub(crate) fn run(
    workspace: &Workspace,
    children: &Children,
    chosen: &Chosen,
    steps: &mut Steps,
) -> Result<()> {
    let folder = workspace.run_folder()?;
    children.remove_on_interrupt(folder.clone());
    let servers = Servers::new(workspace, children, &folder);
    let runs = chosen.runs();
    let build = || {
        let build = cargo::cargo(workspace, ["build", "--release", "--workspace", "--bins"]);
        children.run(&build, TEST_MAX).map(Setup::Ready)
    };
    let needed = runs.iter().any(|run| run.needs_binaries());
    if !needed || steps.set_up("release binaries", build).is_some() {
        let wanted = |needs: fn(Run) -> bool| runs.iter().any(|run| needs(*run));
        let redis = wanted(Run::needs_redis).then(|| steps.set_up("redis", || servers.redis())).flatten();
        let cassandra =
            wanted(Run::needs_cassandra).then(|| steps.set_up("cassandra", || servers.cassandra())).flatten();
        for run in runs {
            if run == Run::Mutants {
                steps.run(run.name(), || mutants::run(workspace, children, &Wanted::default()));
                continue;
            }
            steps.set_up(run.name(), || {
                let Some(scenario) = scenario(workspace, run, cassandra.as_ref(), redis.as_ref()) else {
                    return Ok(Setup::Skipped("its servers are not to be had".to_owned()));
                };
                children.run(&scenario, LONG_MAX).map(Setup::Ready)
            });
        }
    }
    workspace.remove_run_folder(&folder)
}

/// The command of a run; `None` if a server that it needs is missing.
fn scenario(
    workspace: &Workspace,
    run: Run,
    cassandra: Option<&Server>,
    redis: Option<&Server>,
) -> Option<Command> {
    if let Some((variable, amount)) = run.amount() {
        let mut command = cargo::cargo(workspace, run.arguments().iter().copied());
        if env::var_os(variable).is_none() {
            command.env(variable, amount);
        }
        return Some(command);
    }
    let mut command = Command::new(workspace.built("release", "weir-loadtest"));
    command.args(run.arguments());
    if run.needs_cassandra() {
        // Each run has a keyspace of its own, because the server may be a developer's.
        let keyspace = format!("weir_long_{}_{}", run.arguments()[0].replace('-', "_"), std::process::id());
        command.args(["--store", &format!("cql://{}/{keyspace}", cassandra?.name())]);
    }
    if run.needs_redis() {
        command.args(["--redis", redis?.name()]);
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_names_every_run_is_chosen() {
        assert_eq!(Chosen::default().runs(), Run::value_variants());
        assert_eq!(Chosen { runs: vec![Run::Kills] }.runs(), [Run::Kills]);
    }

    #[test]
    fn tiers_name_their_target_and_need_cassandra() {
        for run in Run::value_variants() {
            assert_eq!(run.arguments().contains(&"tiers"), run.needs_cassandra(), "{run:?}");
        }
    }
}
