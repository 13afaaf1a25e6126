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
    process::{Child, Command},
    time::timeout,
};
use weir_connect::{ClientConfig, HttpClient};
use weir_data_client::{DataClient, Transport, TransportError, transport::Http};

use crate::{process, scenario::kills::target::apply_schema};

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
    data_address: String,
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
        if store.starts_with("cql://") {
            apply_schema(&beside_me("weir")?, store).await?;
        }
        let directory = tempfile::tempdir()?;
        let mut command = match cpus {
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let (data_address, admin_address) = (free_address()?, free_address()?);
        command
            .args([
                "--data-service",
                &data_address,
                "--admin",
                &admin_address,
                "--store",
                store,
                "--bus",
                "memory",
            ])
            .arg("--data")
            .arg(directory.path())
            // One node has room for one copy; a keyspace that exists keeps what it has.
            .env("WEIR_CQL__REPLICATION", "1")
            // A line for each limit that is set would drown the report.
            .env("WEIR_LOG__FILTER", "warn")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{} does not start", binary.display()))?;
        timeout(START_MAX, ready(&admin_address, &mut child)).await.context("not ready in time")??;
        let data = DataClient::new(Arc::new(Http::new(client(&data_address)?)));
        let token =
            std::fs::read_to_string(directory.path().join("admin.token")).context("the admin token")?;
        let token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
        let admin = DataClient::new(Arc::new(WithToken { inner: Http::new(client(&admin_address)?), token }));
        Ok(Self { child, data, admin, admin_address, data_address, _directory: directory })
    }

    /// Makes another client, with connections of its own.
    pub(crate) fn another_client(&self) -> impl FnOnce() -> Result<DataClient> + Send + 'static {
        let address = self.data_address.clone();
        move || Ok(DataClient::new(Arc::new(Http::new(client(&address)?))))
    }

    /// Resident memory of the process, in KiB.
    pub(crate) fn rss_kib(&self) -> Option<u64> {
        process::rss_kib(self.child.id()?)
    }

    /// The sum of a counter over its labels.
    pub(crate) async fn counter(&self, name: &str) -> Result<f64> {
        let text = get(&self.admin_address, "/metrics").await?;
        Ok(sum_of(&text, name))
    }
}

/// The sum of a counter over its labels, in the text of `/metrics`.
pub(crate) fn sum_of(text: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// An address of this machine that nobody listened on a moment ago.
fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Waits until the admin listener says that the process can serve.
async fn ready(admin: &str, child: &mut Child) -> Result<()> {
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the process ended with {status}");
        }
        if get(admin, "/readyz").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The body of a page of the admin listener.
pub(crate) async fn get(admin: &str, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: loadtest\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    ensure!(text.starts_with("HTTP/1.1 200"), "{path}: {}", text.lines().next().unwrap_or(""));
    Ok(text)
}

/// Where cargo put the binaries: beside this one.
pub(crate) fn beside_me(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let path = me.parent().context("a binary has a directory")?.join(name);
    ensure!(path.exists(), "{} is not built: cargo build --release --workspace --bins", path.display());
    Ok(path)
}
