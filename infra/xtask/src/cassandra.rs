//! Runs a real Cassandra node from its Maven artifact: without Docker, a system package or root.
//!
//! Maven resolves `cassandra-all` with all dependencies into `target/xtask/cassandra/lib`. A node is then one
//! `java` process over these jars, with a configuration written here. Measured on two cores: jars 9 s (once),
//! boot to the first CQL answer 6-14 s, about 1 GB resident.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    log,
    process::{self, Children, Running},
    steps::Setup,
    workspace::Workspace,
};

/// The release under test. 5.0 is the newest release line whose protocol and lightweight transactions the
/// scylla driver is tested against.
const VERSION: &str = "5.0.4";

/// Java releases that Cassandra 5.0 supports.
const JAVA: [u32; 2] = [11, 17];

/// Heap of one node. The smallest size that ran the conformance suite without long collections.
const HEAP: &str = "512m";

/// Longest download of the 100 jars (66 MB). On a good connection it takes seconds.
const DOWNLOAD_MAX: Duration = Duration::from_secs(600);

/// Longest boot until CQL answers: ten times the slowest boot measured, for machines that also compile.
const BOOT_MAX: Duration = Duration::from_secs(140);

/// Longest wait for one CQL answer while probing.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// What the node prints when the native transport is open.
const LISTENING: &str = "Starting listening for CQL clients on";

/// The jars of one Cassandra release.
#[derive(Debug, Clone)]
pub(crate) struct Jars {
    lib: PathBuf,
}

impl Jars {
    /// Downloads the jars unless an earlier run did.
    ///
    /// # Errors
    /// If Maven fails. A missing Java or Maven is a skip, not an error.
    pub(crate) fn ensure(workspace: &Workspace, children: &Children) -> Result<Setup<Self>> {
        if let Some(missing) = ["java", "mvn"].into_iter().find(|program| !process::in_path(program)) {
            return Ok(Setup::Skipped(format!("{missing} is not in PATH")));
        }
        let java = java_release()?;
        if !JAVA.contains(&java) {
            return Ok(Setup::Skipped(format!("Cassandra {VERSION} runs on Java 11 or 17, found {java}")));
        }
        let home = workspace.own("cassandra")?;
        let lib = home.join("lib");
        // The stamp is written last, so an interrupted download is repeated.
        let stamp = home.join(format!("complete-{VERSION}"));
        if !stamp.is_file() {
            download(children, &home, &lib)?;
            fs::write(&stamp, "").with_context(|| format!("write {}", stamp.display()))?;
        }
        Ok(Setup::Ready(Self { lib }))
    }
}

fn download(children: &Children, home: &Path, lib: &Path) -> Result<()> {
    if lib.exists() {
        fs::remove_dir_all(lib).with_context(|| format!("remove {}", lib.display()))?;
    }
    fs::write(home.join("pom.xml"), POM.replace("@VERSION@", VERSION)).context("write pom.xml")?;
    eprintln!("xtask: resolving Cassandra {VERSION} with Maven");
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .current_dir(home);
    children.run(&maven, DOWNLOAD_MAX)
}

fn java_release() -> Result<u32> {
    let output = Command::new("java").arg("-version").output().context("run java -version")?;
    // java prints its version on stderr: `openjdk version "17.0.15" 2025-04-15`.
    let text = String::from_utf8_lossy(&output.stderr);
    parse_java_release(&text).with_context(|| format!("no version in the output of java -version: {text}"))
}

fn parse_java_release(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

/// One node on this machine: its folder and its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    folder: PathBuf,
    cql: SocketAddr,
    storage_port: u16,
    heap: String,
}

impl Node {
    /// A node on `127.0.0.1` whose files are below `folder`.
    pub(crate) fn new(folder: PathBuf, cql_port: u16, storage_port: u16) -> Self {
        let cql = SocketAddr::from((Ipv4Addr::LOCALHOST, cql_port));
        Self { folder, cql, storage_port, heap: HEAP.to_owned() }
    }

    /// Sets another heap size, if one is given.
    pub(crate) fn with_heap(self, heap: Option<&str>) -> Self {
        Self { heap: heap.map_or(self.heap, str::to_owned), ..self }
    }

    /// The address for CQL clients.
    pub(crate) fn cql(&self) -> SocketAddr {
        self.cql
    }

    /// The node's output.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// Writes the configuration and returns the command that runs the node in the foreground.
    pub(crate) fn prepare(&self, jars: &Jars) -> Result<Command> {
        let conf = self.folder.join("conf");
        let data = self.folder.join("data");
        for folder in [&conf, &data] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let yaml = CASSANDRA_YAML
            .replace("@DATA@", &data.display().to_string())
            .replace("@ADDRESS@", &self.cql.ip().to_string())
            .replace("@CQL_PORT@", &self.cql.port().to_string())
            .replace("@STORAGE_PORT@", &self.storage_port.to_string());
        fs::write(conf.join("cassandra.yaml"), yaml).context("write cassandra.yaml")?;
        fs::write(conf.join("logback.xml"), LOGBACK_XML).context("write logback.xml")?;

        let mut java = Command::new("java");
        java.args([format!("-Xms{}", self.heap), format!("-Xmx{}", self.heap)])
            .arg(JAVA_ARGS)
            .arg(format!("-Dcassandra.config=file://{}", conf.join("cassandra.yaml").display()))
            .arg(format!("-Dlogback.configurationFile={}", conf.join("logback.xml").display()))
            .arg(format!("-Dcassandra.storagedir={}", data.display()))
            .arg("-cp")
            .arg(format!("{}:{}/*", conf.display(), jars.lib.display()))
            .arg("org.apache.cassandra.service.CassandraDaemon");
        Ok(java)
    }

    /// Starts the node and waits until it answers CQL. It is stopped when the returned value is dropped.
    ///
    /// # Errors
    /// If it ends or stays silent; the error contains the end of its log.
    pub(crate) fn start(&self, jars: &Jars, children: &Children) -> Result<Running> {
        let command = self.prepare(jars)?;
        let output = log::create(&self.log())?;
        let errors = output.try_clone().context("share the node's log")?;
        let mut node = children.spawn_with(&command, |command| {
            command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        })?;
        self.await_cql(|| node.ended().map(|status| status.map(|status| status.to_string())))?;
        Ok(node)
    }

    /// Waits until the node says that it listens, and answers CQL. `ended` says how the node ended, if it
    /// did.
    pub(crate) fn await_cql(&self, mut ended: impl FnMut() -> Result<Option<String>>) -> Result<()> {
        let deadline = Instant::now() + BOOT_MAX;
        loop {
            // The log line is checked first, so that another program's server on that port is not taken for
            // ours.
            if log::contains(&self.log(), LISTENING) && answers(self.cql) {
                return Ok(());
            }
            if let Some(end) = ended()? {
                bail!("Cassandra ended with {end}\n{}", log::tail(&self.log()));
            }
            if Instant::now() >= deadline {
                bail!(
                    "Cassandra gave no CQL answer within {} s\n{}",
                    BOOT_MAX.as_secs(),
                    log::tail(&self.log())
                );
            }
            process::pause();
        }
    }
}

/// True if a CQL server answers at `address`: sends OPTIONS (protocol 4) and expects SUPPORTED.
pub(crate) fn answers(address: SocketAddr) -> bool {
    const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
    const SUPPORTED: u8 = 0x06;
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(&OPTIONS)?;
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        Ok(header[4])
    };
    ask().is_ok_and(|opcode| opcode == SUPPORTED)
}

/// Makes Maven resolve the artifact and all its dependencies.
const POM: &str = include_str!("../cassandra/pom.xml");

/// Configuration of one small node. Memory bounds are far below the defaults, so that the node fits beside a
/// build. Snapshots on DROP are off, because tests drop keyspaces all the time.
const CASSANDRA_YAML: &str = include_str!("../cassandra/cassandra.yaml");

const LOGBACK_XML: &str = include_str!("../cassandra/logback.xml");

/// Options of java that do not depend on the node, in the form that java reads after an `@`.
const JAVA_ARGS: &str = concat!("@", env!("CARGO_MANIFEST_DIR"), "/cassandra/java.args");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_release_is_the_first_number_of_the_quoted_version() {
        assert_eq!(parse_java_release("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(parse_java_release("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(parse_java_release("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(parse_java_release("java version \"1.8.0_391\""), Some(1));
        assert_eq!(parse_java_release("no such thing"), None);
    }

    #[test]
    fn every_placeholder_of_the_configuration_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let jars = Jars { lib: folder.path().join("lib") };
        let node = Node::new(folder.path().join("node"), 19042, 17000);
        let command = node.prepare(&jars).unwrap();
        let yaml = fs::read_to_string(folder.path().join("node/conf/cassandra.yaml")).unwrap();
        assert!(!yaml.contains('@'), "{yaml}");
        assert!(yaml.contains("native_transport_port: 19042"));
        assert!(yaml.contains("127.0.0.1:17000"));
        assert!(process::shown(&command).ends_with("org.apache.cassandra.service.CassandraDaemon"));
    }

    #[test]
    fn a_silent_server_is_not_taken_for_cassandra() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Redis' answer to an unknown command.
            stream.write_all(b"-ERR unknown command\r\n").unwrap();
        });
        assert!(!answers(address));
        server.join().unwrap();
    }
}
