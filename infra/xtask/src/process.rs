//! Child processes that cannot outlive xtask.
//!
//! Nothing may be left behind in three cases: a normal end or a panic (`Drop` of [`Running`]), Ctrl-C or
//! termination (the signal thread of [`Children`]), and SIGKILL of xtask (the kernel's parent-death signal).
//! The last needs code between fork and exec, which Rust only offers as `unsafe`. So xtask starts *itself* as
//! the child with the hidden subcommand `exec-child`, arms the signal there, and then replaces itself by the
//! real program. Every child leads a process group of its own, so that its descendants are stopped with it.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Time between two checks of a child or a port. A guess: a person does not notice it, and 50 checks a second
/// cost nothing.
const POLL: Duration = Duration::from_millis(20);

/// Time for a stopped process group to end by itself before it is killed. Cassandra's shutdown hook needs
/// about 2 s on two cores. Nobody needs the data of anything stopped here, so twice that is generous.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Exit code after a signal, as shells report SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// How a child relates to xtask's own life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lifetime {
    /// Killed when xtask dies, however it dies.
    Bound,
    /// A session of its own that stays after xtask ends: a developer's server.
    Detached,
}

/// All children of this run and the folders to remove when it ends early. Clones share one registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children {
    registry: Arc<Mutex<Registry>>,
}

/// Shared with the signal thread. A group is listed only while its leader is unreaped, so its number cannot
/// have been reused.
#[derive(Debug, Default)]
struct Registry {
    groups: Vec<Pid>,
    folders: Vec<PathBuf>,
}

impl Children {
    /// Starts the thread that stops all children on SIGINT, SIGTERM and SIGHUP and then ends the process.
    pub(crate) fn with_signal_thread() -> Result<Self> {
        let children = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install signal handlers")?;
        let shared = children.clone();
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                eprintln!("xtask: interrupted, stopping all children");
                shared.stop_all();
                std::process::exit(EXIT_INTERRUPTED);
            }
        });
        Ok(children)
    }

    /// Starts `command` in its own process group with an empty stdin; it dies with xtask.
    pub(crate) fn spawn(&self, command: &Command) -> Result<Running> {
        let mut wrapped = exec_child(command, Lifetime::Bound);
        self.spawn_wrapped(&mut wrapped).with_context(|| format!("start {}", shown(command)))
    }

    /// Does the same as [`Children::spawn`], with stdio set by `configure` on the command that is really
    /// spawned.
    pub(crate) fn spawn_with(
        &self,
        command: &Command,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Running> {
        let mut wrapped = exec_child(command, Lifetime::Bound);
        configure(&mut wrapped);
        self.spawn_wrapped(&mut wrapped).with_context(|| format!("start {}", shown(command)))
    }

    fn spawn_wrapped(&self, wrapped: &mut Command) -> Result<Running> {
        wrapped.stdin(Stdio::null()).process_group(0);
        // The lock is held over the spawn: the signal thread sees either no child or a registered one.
        let mut registry = self.lock();
        let child = wrapped.spawn()?;
        let group = Pid::from_child(&child);
        registry.groups.push(group);
        drop(registry);
        Ok(Running { child, group, children: self.clone() })
    }

    /// Runs `command` to its end with inherited output.
    ///
    /// # Errors
    /// If it cannot be started, ends with a failure, or takes longer than `limit`, after which it is killed.
    pub(crate) fn run(&self, command: &Command, limit: Duration) -> Result<()> {
        let mut running = self.spawn(command)?;
        match running.wait(limit)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} ended with {status}", shown(command)),
            None => bail!("{} did not end within {} s", shown(command), limit.as_secs()),
        }
    }

    /// Removes `folder` when the run is interrupted.
    pub(crate) fn remove_on_interrupt(&self, folder: PathBuf) {
        self.lock().folders.push(folder);
    }

    fn stop_all(&self) {
        // The lock is kept to the end, so no child can be started any more.
        let registry = self.lock();
        for &group in &registry.groups {
            signal(group, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_GRACE;
        while registry.groups.iter().any(|&group| has_members(group)) && Instant::now() < deadline {
            // A leader that has ended counts as a member until its status is taken, and the main thread may
            // be waiting for something else.
            for &group in &registry.groups {
                let _not_yet = rustix::process::waitpid(Some(group), WaitOptions::NOHANG);
            }
            pause();
        }
        for &group in &registry.groups {
            signal(group, Signal::KILL);
        }
        for folder in &registry.folders {
            if let Err(error) = fs::remove_dir_all(folder) {
                eprintln!("xtask: could not remove {}: {error}", folder.display());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic elsewhere must not keep children alive, and a Vec of ids is valid at every step.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child that is stopped, with its whole group, when this value is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Pid,
    children: Children,
}

impl Running {
    /// Takes the child's stdout, if it was piped and is still there.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The status if the child has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("look at a child")
    }

    /// Waits for the end, at most `limit`; `None` if that time passed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            pause();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group is deregistered before its leader is reaped; afterwards its number may belong to another
        // program.
        self.children.lock().groups.retain(|&group| group != self.group);
        signal(self.group, Signal::TERM);
        if matches!(self.wait(STOP_GRACE), Ok(None) | Err(_)) {
            signal(self.group, Signal::KILL);
        }
        // A grandchild may have outlived its leader. The group's number stays taken as long as the group has
        // a member.
        signal(self.group, Signal::KILL);
        let _reaped = self.child.wait();
    }
}

/// Sleeps for [`POLL`].
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is synchronous; processes and ports offer nothing to block on"
)]
pub(crate) fn pause() {
    thread::sleep(POLL);
}

/// True if a process with this id exists.
pub(crate) fn is_alive(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Sends SIGTERM to the group led by `pid`, and SIGKILL if it does not end in time.
pub(crate) fn stop_group(pid: i32) -> Result<()> {
    let group = Pid::from_raw(pid).context("a process id is never 0")?;
    signal(group, Signal::TERM);
    let deadline = Instant::now() + STOP_GRACE;
    while has_members(group) && Instant::now() < deadline {
        pause();
    }
    signal(group, Signal::KILL);
    Ok(())
}

/// The command that starts `command` through `exec-child`.
pub(crate) fn exec_child(command: &Command, lifetime: Lifetime) -> Command {
    // It goes through /proc, because `cargo test` may relink, and thereby unlink, the file that xtask was
    // started from.
    let mut wrapped = Command::new("/proc/self/exe");
    let lifetime = match lifetime {
        Lifetime::Bound => "bound",
        Lifetime::Detached => "detached",
    };
    wrapped.args(["exec-child", lifetime, "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// The body of `exec-child`: arms the parent-death signal or starts a new session, then becomes the program.
///
/// # Errors
/// It only returns if the program could not be started.
pub(crate) fn become_child(lifetime: Lifetime, argv: &[OsString]) -> Result<Infallible> {
    let (program, arguments) = argv.split_first().context("exec-child needs a program")?;
    match lifetime {
        Lifetime::Bound => rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("arm the parent-death signal")?,
        Lifetime::Detached => {
            rustix::process::setsid().context("leave the session")?;
        }
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}

/// The command line as messages show it.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// True if `program` is in PATH.
pub(crate) fn in_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn signal(group: Pid, signal: Signal) {
    // This only fails if the group is gone, which is what we want.
    let _gone = rustix::process::kill_process_group(group, signal);
}

fn has_members(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_ok()
}
