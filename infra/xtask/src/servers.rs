//! A developer's own servers: `cargo xtask cassandra|redis up|down|status`.
//!
//! They outlive xtask, in a session of their own, and keep their data in `target/xtask/dev-*` until `down
//! --wipe`. The pid file names the leader of the server's process group. It is trusted only while the server
//! also answers on its port.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cassandra::{self, Jars, Node},
    log,
    process::{self, Children, Lifetime},
    redis,
    steps::Setup,
    workspace::Workspace,
};

/// Cassandra's usual port, so drivers and cqlsh need no flag.
const CQL_PORT: u16 = 9042;

/// Cassandra's usual port between nodes.
const STORAGE_PORT: u16 = 7000;

/// Not 6379, because a Redis of the machine's own must not be written to.
const REDIS_PORT: u16 = 6390;

/// What to do with a server.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Action {
    /// Start it and wait until it answers; says so if it already runs.
    Up {
        /// The port on 127.0.0.1 [default: 9042 for Cassandra, 6390 for Redis].
        #[arg(long)]
        port: Option<u16>,
        /// Cassandra's heap, as java writes it; load tests need more than tests do [default: 512m].
        #[arg(long, value_name = "SIZE")]
        heap: Option<String>,
    },
    /// Stop it.
    Down {
        /// Remove its data too.
        #[arg(long)]
        wipe: bool,
    },
    /// Say whether it runs, and where.
    Status,
}

/// The pid file of one server: `PID PORT`.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
}

impl PidFile {
    fn read(&self) -> Option<(i32, u16)> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (pid, port) = text.trim().split_once(' ')?;
        Some((pid.parse().ok()?, port.parse().ok()?))
    }

    fn write(&self, pid: u32, port: u16) -> Result<()> {
        fs::write(&self.path, format!("{pid} {port}\n"))
            .with_context(|| format!("write {}", self.path.display()))
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }
}

/// `cargo xtask cassandra ACTION`.
pub(crate) fn cassandra(workspace: &Workspace, children: &Children, action: &Action) -> Result<()> {
    let folder = workspace.own("dev-cassandra")?;
    let pid_file = PidFile { path: folder.join("pid") };
    let node = |port| Node::new(folder.clone(), port, STORAGE_PORT);
    let running = pid_file.read().filter(|&(_, port)| cassandra::answers(node(port).cql()));
    match action {
        Action::Up { port, heap } => {
            if let Some((pid, port)) = running {
                println!("Cassandra already runs: WEIR_TEST_CQL={} (pid {pid})", node(port).cql());
                return Ok(());
            }
            let jars = match Jars::ensure(workspace, children)? {
                Setup::Ready(jars) => jars,
                Setup::Skipped(reason) => bail!("cannot start Cassandra: {reason}"),
            };
            let node = node(port.unwrap_or(CQL_PORT)).with_heap(heap.as_deref());
            if cassandra::answers(node.cql()) {
                bail!("another CQL server answers at {}: choose a port with --port", node.cql());
            }
            let pid = detach(&node.prepare(&jars)?, &node.log())?;
            pid_file.write(pid, node.cql().port())?;
            let leader = i32::try_from(pid).context("a process id fits an i32")?;
            node.await_cql(|| Ok((!process::is_alive(leader)).then(|| "an error".to_owned())))?;
            println!(
                "Cassandra is up: WEIR_TEST_CQL={} (pid {pid}, log {})",
                node.cql(),
                node.log().display()
            );
        }
        Action::Down { wipe } => down("Cassandra", &pid_file, running, wipe.then_some(folder))?,
        Action::Status => match running {
            Some((pid, port)) => println!("Cassandra runs: WEIR_TEST_CQL={} (pid {pid})", node(port).cql()),
            None => println!("Cassandra is down"),
        },
    }
    Ok(())
}

/// `cargo xtask redis ACTION`.
pub(crate) fn redis(workspace: &Workspace, children: &Children, action: &Action) -> Result<()> {
    let folder = workspace.own("dev-redis")?;
    let pid_file = PidFile { path: folder.join("pid") };
    let server = |port| redis::Server::new(folder.clone(), port);
    let running = pid_file.read().filter(|&(_, port)| server(port).answers());
    match action {
        Action::Up { port, heap } => {
            if heap.is_some() {
                bail!("--heap is Cassandra's: Redis has none");
            }
            if let Some((pid, port)) = running {
                println!("Redis already runs: WEIR_TEST_REDIS={} (pid {pid})", server(port).url());
                return Ok(());
            }
            if let Setup::Skipped(reason) = redis::ensure_installed(children)? {
                bail!("cannot start Redis: {reason}");
            }
            let port = port.unwrap_or(REDIS_PORT);
            let server = server(port);
            if server.answers() {
                bail!("another Redis answers at {}: choose a port with --port", server.url());
            }
            let pid = detach(&server.command(), &server.log())?;
            pid_file.write(pid, port)?;
            let leader = i32::try_from(pid).context("a process id fits an i32")?;
            server.await_ping(|| Ok(!process::is_alive(leader)))?;
            println!(
                "Redis is up: WEIR_TEST_REDIS={} (pid {pid}, log {})",
                server.url(),
                server.log().display()
            );
        }
        Action::Down { wipe } => down("Redis", &pid_file, running, wipe.then_some(folder))?,
        Action::Status => match running {
            Some((pid, port)) => println!("Redis runs: WEIR_TEST_REDIS={} (pid {pid})", server(port).url()),
            None => println!("Redis is down"),
        },
    }
    Ok(())
}

fn down(name: &str, pid_file: &PidFile, running: Option<(i32, u16)>, wipe: Option<PathBuf>) -> Result<()> {
    match running {
        Some((pid, _)) => {
            process::stop_group(pid)?;
            pid_file.remove()?;
            println!("{name} is down");
        }
        None => println!("{name} was not running"),
    }
    if let Some(folder) = wipe {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// Starts `command` in a session of its own with its output in `log`. Returns its process id.
fn detach(command: &Command, log: &std::path::Path) -> Result<u32> {
    let output = log::create(log)?;
    let errors = output.try_clone().context("share the log")?;
    let child = process::exec_child(command, Lifetime::Detached)
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .spawn()
        .with_context(|| format!("start {}", process::shown(command)))?;
    Ok(child.id())
}
