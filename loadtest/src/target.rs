//! The process under test: a `data-service` of its own, ended with the test.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderValue, header::AUTHORIZATION};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use weir_connect::{ClientConfig, HttpClient};
use weir_data_client::{DataClient, Transport, TransportError, transport::Http};

/// Longest wait for the process to print its addresses: a lease of an earlier one (5 s) may have to be waited out.
const START_MAX: Duration = Duration::from_secs(30);
/// Connections of a client; each carries 200 requests at once.
const CONNECTIONS: usize = 8;

/// A data service under test.
pub(crate) struct Target {
    // Killed with the value.
    child: Child,
    pub(crate) data: DataClient,
    pub(crate) admin: DataClient,
    pub(crate) admin_address: String,
    _directory: tempfile::TempDir,
}

/// Adds the operators' token to each call.
struct WithToken {
    inner: Http,
    token: HeaderValue,
}

#[async_trait::async_trait]
impl Transport for WithToken {
    async fn unary(
        &self,
        mut request: weir_connect::UnaryRequest,
    ) -> Result<weir_connect::UnaryResponse, TransportError> {
        request.headers.insert(AUTHORIZATION, self.token.clone());
        self.inner.unary(request).await
    }
}

fn client(address: &str) -> Result<HttpClient> {
    let mut config = ClientConfig::new(format!("http://{address}"));
    config.connections = CONNECTIONS;
    Ok(HttpClient::new(config)?)
}

impl Target {
    /// Starts `binary` on `store` with free ports, on the processors that `cpus` names (as for `taskset`), if it does.
    pub(crate) async fn start(binary: &Path, store: &str, cpus: Option<&str>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = match cpus {
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(["--json", "--data-service", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", store])
            .args(["--bus", "memory"])
            .arg("--data")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{} does not start", binary.display()))?;
        let stdout = child.stdout.take().context("the process has an output")?;
        let mut lines = BufReader::new(stdout).lines();
        let Some(line) = timeout(START_MAX, lines.next_line()).await.context("no addresses in time")?? else {
            bail!("the process ended before it printed its addresses");
        };
        let addresses: serde_json::Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let address =
            |name: &str| addresses[name].as_str().map(str::to_owned).context("an address is missing");
        let admin_address = address("admin")?;
        let data = DataClient::new(Arc::new(Http::new(client(&address("data_service")?)?)));
        let token =
            std::fs::read_to_string(directory.path().join("admin.token")).context("the admin token")?;
        let token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
        let admin = DataClient::new(Arc::new(WithToken { inner: Http::new(client(&admin_address)?), token }));
        Ok(Self { child, data, admin, admin_address, _directory: directory })
    }

    /// Resident memory of the process, in KiB.
    pub(crate) fn rss_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The sum of a counter over its labels.
    pub(crate) async fn counter(&self, name: &str) -> Result<f64> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(&self.admin_address).await?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: loadtest\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        ensure!(
            text.starts_with("HTTP/1.1 200"),
            "the metrics are not served: {}",
            text.lines().next().unwrap_or("")
        );
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// Where cargo put the binaries: beside this one.
pub(crate) fn beside_me(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let path = me.parent().context("a binary has a directory")?.join(name);
    ensure!(path.exists(), "{} is not built: cargo build --release --workspace --bins", path.display());
    Ok(path)
}
