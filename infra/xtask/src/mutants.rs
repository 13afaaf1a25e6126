//! `cargo xtask mutants`: puts known mistakes back into a copy of the tree, one at a time, and runs the tests
//! that must fail by them.
//!
//! A mutant is a patch in `infra/mutants`. It is caught if each test that it names fails and prints the words
//! that it names; a mutant that does not compile shows nothing, and is missed like one by which no test
//! fails.

mod patch;
mod proven;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{
    patch::{Catcher, Mutant, Target},
    tree::Tree,
};
use crate::{
    cargo::{self, TEST_MAX},
    log,
    process::Children,
    workspace::Workspace,
};

/// Longest build and run of a test with a mutant. It is a guess: several times what a rebuild of the largest
/// crate with its tests should take. A test that a mutant keeps from ending must not hold up the others.
const RUN_MAX: Duration = Duration::from_secs(300);

/// Time in which mutants that changed are begun, as a part of CI, which must stay below 45 min.
const CHANGED_MAX: Duration = Duration::from_secs(300);

/// Which mutants, and what is done with them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Wanted {
    /// Mutants by their names, or by what these begin with (`protect/leader-deadline`, `discord/`); without
    /// any, all.
    names: Vec<String>,
    /// Build nothing: only check that each patch is well formed and applies.
    #[arg(long, conflicts_with_all = ["names", "changed", "record"])]
    check: bool,
    /// Only those that changed since the last record, or whose files did: as many as fit into five minutes.
    #[arg(long, conflicts_with_all = ["names", "record"])]
    changed: bool,
    /// Record that all were caught.
    #[arg(long, conflicts_with = "names")]
    record: bool,
}

/// Runs what is wanted.
///
/// # Errors
/// If a patch is not well formed, a named test fails without a mutant, or a mutant is missed.
pub(crate) fn run(workspace: &Workspace, children: &Children, wanted: &Wanted) -> Result<()> {
    if wanted.check {
        return check(workspace);
    }
    if wanted.changed {
        return run_changed(workspace, children);
    }
    let mutants = patch::read_all(workspace.root())?;
    // They are taken before the copy, so that what is edited meanwhile is not recorded.
    let hashes = proven::hashes(workspace.root(), &mutants)?;
    Runner::new(workspace, children)?.run(&chosen(&mutants, &wanted.names)?, None)?;
    if wanted.record {
        proven::write(workspace.root(), &hashes)?;
    }
    Ok(())
}

/// Checks that each patch is well formed and applies to the tree, and that the record can be read.
///
/// # Errors
/// With one line for each patch that is wrong.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let mutants = patch::read_all(root)?;
    proven::read(root)?;
    let check = |mutant: &Mutant| tree::check(root, &mutant.path).err();
    let wrong: Vec<String> = mutants.iter().filter_map(check).map(|error| format!("{error:#}")).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} patches do not apply:\n  {}", wrong.len(), wrong.join("\n  "))
}

/// Runs the mutants whose patch, or one of whose files, is not as it was recorded.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_changed(workspace: &Workspace, children: &Children) -> Result<()> {
    let root = workspace.root();
    let (mutants, proven) = (patch::read_all(root)?, proven::read(root)?);
    let hashes = proven::hashes(root, &mutants)?;
    let changed: Vec<&Mutant> =
        mutants.iter().filter(|mutant| proven.get(&mutant.name) != hashes.get(&mutant.name)).collect();
    if changed.is_empty() {
        println!("{} mutants, none of which has changed since it was recorded", mutants.len());
        return Ok(());
    }
    Runner::new(workspace, children)?.run(&changed, Some(CHANGED_MAX))
}

/// The mutants whose names begin with one of `names`; all if there are none.
fn chosen<'a>(mutants: &'a [Mutant], names: &[String]) -> Result<Vec<&'a Mutant>> {
    let begins = |mutant: &Mutant, name: &str| mutant.name.starts_with(name);
    if let Some(unknown) = names.iter().find(|name| !mutants.iter().any(|mutant| begins(mutant, name))) {
        bail!("no mutant's name begins with {unknown}");
    }
    let wanted = |mutant: &&Mutant| names.is_empty() || names.iter().any(|name| begins(mutant, name));
    Ok(mutants.iter().filter(wanted).collect())
}

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// All that ran passed; what was printed.
    Passed(String),
    /// Some failed; what was printed.
    Failed(String),
    /// There is no result: what was to run did not compile, or died.
    NoResult,
    /// The bound passed first.
    TooLate,
}

/// What the output of a test binary says of its tests.
fn ended(said: String) -> Ended {
    let result = said.lines().rev().find_map(|line| line.strip_prefix("test result: "));
    match result.map(|result| result.starts_with("ok")) {
        Some(true) => Ended::Passed(said),
        Some(false) => Ended::Failed(said),
        None => Ended::NoResult,
    }
}

/// The tests of `names` of which the output does not say that they passed.
fn without_pass<'a>(names: &BTreeSet<&'a str>, said: &str) -> Vec<&'a str> {
    let without = names.iter().copied().filter(|name| {
        let begin = format!("test {name} ");
        !said.lines().any(|line| line.starts_with(&begin) && line.ends_with("... ok"))
    });
    without.collect()
}

/// Why a test does not catch its mutant; `None` if it does.
fn missed(catcher: &Catcher, ended: &Ended) -> Option<String> {
    let Catcher { test, says, .. } = catcher;
    match ended {
        Ended::Failed(said) if said.contains(says.as_str()) => None,
        Ended::Failed(_) => Some(format!("{test} failed for another reason: it does not say `{says}`")),
        Ended::Passed(_) => Some(format!("{test} passed")),
        Ended::NoResult => {
            Some(format!("{test} has no result: the mutant does not compile, or the test died"))
        }
        Ended::TooLate => Some(format!("{test} did not end within {} s", RUN_MAX.as_secs())),
    }
}

/// The copy of the tree, and what is built from it.
struct Runner<'a> {
    workspace: &'a Workspace,
    children: &'a Children,
    tree: Tree,
    /// Target folder of the copy. It stays between runs.
    target: PathBuf,
    /// What the last tests printed.
    stdout: PathBuf,
    /// What cargo printed for them.
    stderr: PathBuf,
}

impl<'a> Runner<'a> {
    fn new(workspace: &'a Workspace, children: &'a Children) -> Result<Self> {
        let folder = workspace.own("mutants")?;
        Ok(Self {
            workspace,
            children,
            tree: Tree::copied(workspace.root(), workspace.own("mutants/tree")?)?,
            target: folder.join("target"),
            stdout: folder.join("stdout.log"),
            stderr: folder.join("stderr.log"),
        })
    }

    /// Runs mutants one after the other; with `within`, as many as fit into that time.
    fn run(&self, mutants: &[&Mutant], within: Option<Duration>) -> Result<()> {
        self.pass_without(mutants)?;
        let (started, mut longest) = (Instant::now(), Duration::ZERO);
        let (mut caught, mut missed, mut skipped) = (0_usize, Vec::new(), Vec::new());
        for mutant in mutants {
            let name = mutant.name.as_str();
            if within.is_some_and(|within| started.elapsed() + longest > within) {
                skipped.push(name);
                continue;
            }
            let began = Instant::now();
            let reason = self.missed(mutant)?;
            let took = began.elapsed();
            longest = longest.max(took);
            if let Some(reason) = reason {
                eprintln!("xtask: {name} MISSED after {:.1} s: {reason}", took.as_secs_f64());
                eprintln!("{}\n{}", log::tail(&self.stderr), log::tail(&self.stdout));
                missed.push(name);
            } else {
                eprintln!("xtask: {name} caught after {:.1} s", took.as_secs_f64());
                caught += 1;
            }
        }
        for name in skipped {
            eprintln!("xtask: {name} skipped for time: cargo xtask mutants {name}");
        }
        println!("{} mutants, {caught} caught, {} missed", caught + missed.len(), missed.len());
        if missed.is_empty() { Ok(()) } else { bail!("missed: {}", missed.join(", ")) }
    }

    /// Builds the tests that the mutants name, and makes sure that they pass while none is in the copy.
    fn pass_without(&self, mutants: &[&Mutant]) -> Result<()> {
        let mut targets: BTreeMap<(&str, &Target), BTreeSet<&str>> = BTreeMap::new();
        for content in mutants.iter().map(|mutant| &mutant.content) {
            for catcher in &content.catchers {
                let names = targets.entry((content.package.as_str(), &catcher.target)).or_default();
                names.insert(catcher.test.as_str());
            }
        }
        for ((package, target), names) in targets {
            let began = Instant::now();
            let mut build = self.cargo(package, target);
            build.arg("--no-run");
            self.children.run(&build, TEST_MAX)?;
            let ended = self.test(package, target, &names)?;
            let failed = match &ended {
                Ended::Passed(said) | Ended::Failed(said) => without_pass(&names, said),
                Ended::NoResult | Ended::TooLate => names.iter().copied().collect(),
            };
            if !failed.is_empty() {
                let logs = format!("{}\n{}", log::tail(&self.stderr), log::tail(&self.stdout));
                bail!("without a mutant, tests of {package} do not pass: {}\n{logs}", failed.join(", "));
            }
            let (count, seconds) = (names.len(), began.elapsed().as_secs_f64());
            eprintln!("xtask: {count} tests of {package} pass without a mutant, after {seconds:.1} s");
        }
        Ok(())
    }

    /// Why a mutant is missed; `None` if each of its tests catches it.
    fn missed(&self, mutant: &Mutant) -> Result<Option<String>> {
        let mutated = match self.tree.mutate(mutant) {
            Ok(mutated) => mutated,
            Err(error) => return Ok(Some(format!("{error:#}"))),
        };
        let mut reason = None;
        for catcher in &mutant.content.catchers {
            let names = BTreeSet::from([catcher.test.as_str()]);
            let ended = self.test(&mutant.content.package, &catcher.target, &names)?;
            reason = missed(catcher, &ended);
            if reason.is_some() {
                break;
            }
        }
        mutated.revert()?;
        Ok(reason)
    }

    /// Builds and runs tests of one target by their exact names.
    fn test(&self, package: &str, target: &Target, names: &BTreeSet<&str>) -> Result<Ended> {
        let mut command = self.cargo(package, target);
        command.args(["--", "--exact"]).args(names);
        let (stdout, stderr) = (log::create(&self.stdout)?, log::create(&self.stderr)?);
        let mut running = self.children.spawn_with(&command, |command| {
            command.stdout(stdout).stderr(stderr);
        })?;
        let in_time = running.wait(RUN_MAX)?.is_some();
        // Its whole group is stopped, so nothing writes into the logs any more.
        drop(running);
        if !in_time {
            return Ok(Ended::TooLate);
        }
        // The words are looked for only in what the tests print: cargo's warnings show lines of sources.
        let said = fs::read(&self.stdout).with_context(|| format!("read {}", self.stdout.display()))?;
        Ok(ended(String::from_utf8_lossy(&said).into_owned()))
    }

    /// `cargo test` of one target in the copy.
    fn cargo(&self, package: &str, target: &Target) -> Command {
        let mut command = cargo::cargo(self.workspace, ["test", "--package", package]);
        command.args(target.arguments()).arg("--target-dir").arg(&self.target);
        command.current_dir(self.tree.folder());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "running 2 tests\ntest a::b ... ok\ntest c - should panic ... ok\n\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s\n";
    const FAILED: &str = "running 1 test\ntest a::b ... FAILED\n\n---- a::b stdout ----\n\
        thread 'a::b' panicked at x.rs:1:1:\na stale page\n\n\
        test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 8 filtered out; finished in 0.01s\n";

    fn mutant(name: &str) -> Mutant {
        let content = patch::Content {
            package: "p".to_owned(),
            catchers: vec![catcher("a stale page")],
            files: BTreeSet::new(),
        };
        Mutant { name: name.to_owned(), path: PathBuf::new(), content }
    }

    fn catcher(says: &str) -> Catcher {
        Catcher { target: Target::Lib, test: "a::b".to_owned(), says: says.to_owned() }
    }

    #[test]
    fn a_name_chooses_all_mutants_that_begin_with_it() {
        let mutants = ["a/one", "a/other", "b/one"].map(mutant);
        let names = |wanted: &[&str]| -> Option<Vec<&str>> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let chosen = chosen(&mutants, &wanted).ok()?;
            Some(chosen.into_iter().map(|mutant| mutant.name.as_str()).collect())
        };
        assert_eq!(names(&[]), Some(vec!["a/one", "a/other", "b/one"]));
        assert_eq!(names(&["b/", "a/on"]), Some(vec!["a/one", "b/one"]));
        assert_eq!(names(&["a/", "c/"]), None);
    }

    #[test]
    fn only_a_failure_with_the_words_catches() {
        let failed = ended(FAILED.to_owned());
        assert_eq!(missed(&catcher("a stale page"), &failed), None);
        assert!(missed(&catcher("a fresh page"), &failed).is_some_and(|why| why.contains("another reason")));
        let passed = ended(PASSED.to_owned());
        assert!(missed(&catcher("a stale page"), &passed).is_some_and(|why| why.contains("passed")));
        let unbuilt = ended(String::new());
        assert_eq!(unbuilt, Ended::NoResult);
        assert!(missed(&catcher("a stale page"), &unbuilt).is_some_and(|why| why.contains("no result")));
        assert!(missed(&catcher("a"), &Ended::TooLate).is_some_and(|why| why.contains("300 s")));
    }

    #[test]
    fn a_test_that_fails_or_is_not_there_has_not_passed() {
        assert_eq!(without_pass(&BTreeSet::from(["a::b", "c"]), PASSED), Vec::<&str>::new());
        assert_eq!(without_pass(&BTreeSet::from(["a::b", "a", "d"]), PASSED), ["a", "d"]);
        assert_eq!(without_pass(&BTreeSet::from(["a::b"]), FAILED), ["a::b"]);
    }
}
