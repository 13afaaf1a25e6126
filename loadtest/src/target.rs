//! The process under test: a `data-service` that ends with the test.

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use http::{HeaderValue, header::AUTHORIZATION};
use weir_connect::{ClientConfig, HttpClient};
use weir_data_client::{DataClient, Transport, TransportError, transport::Http};
use weir_testkit::{Process, Program, Ready, any_free_addresses};

use crate::{
    process::{self, binary},
    scenario::kills::target::apply_schema,
};

/// Connections of a client. Each carries 200 requests at once.
const CONNECTIONS: usize = 8;

/// A data service under test.
pub(crate) struct Target {
    process: Process,
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
    /// Starts `data-service` on `store` with free ports. If `cpus` is given, it runs on those processors (as
    /// for `taskset`).
    pub(crate) async fn start(store: &str, cpus: Option<&str>) -> Result<Self> {
        if store.starts_with("cql://") {
            apply_schema(&binary("weir", None)?, store).await?;
        }
        let service = binary("data-service", None)?;
        let directory = tempfile::tempdir()?;
        let mut command = match cpus {
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(service);
                command
            }
            None => Command::new(service),
        };
        let [data, admin] = any_free_addresses()?;
        let (data_address, admin_address) = (data.to_string(), admin.to_string());
        command
            .args(["--data-service", &data_address, "--admin", &admin_address])
            .args(["--store", store, "--bus", "memory", "--data"])
            .arg(directory.path())
            // One node has room for one copy. An existing keyspace keeps its replication.
            .env("WEIR_CQL__REPLICATION", "1")
            // A line for each limit that is set would hide the report.
            .env("WEIR_LOG__FILTER", "warn");
        let program = Program { name: "data-service", command, ready: Ready::Admin(admin), log: None };
        let mut process = Process::start(program)?;
        process.ready()?;
        let data = DataClient::new(Arc::new(Http::new(client(&data_address)?)));
        let token =
            std::fs::read_to_string(directory.path().join("admin.token")).context("the admin token")?;
        let token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
        let admin = DataClient::new(Arc::new(WithToken { inner: Http::new(client(&admin_address)?), token }));
        Ok(Self { process, data, admin, admin_address, data_address, _directory: directory })
    }

    /// Makes another client, with connections of its own.
    pub(crate) fn another_client(&self) -> impl FnOnce() -> Result<DataClient> + Send + 'static {
        let address = self.data_address.clone();
        move || Ok(DataClient::new(Arc::new(Http::new(client(&address)?))))
    }

    /// Resident memory of the process, in KiB.
    pub(crate) fn rss_kib(&self) -> Option<u64> {
        process::rss_kib(self.process.id())
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

/// Returns the body of a page of the admin listener.
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
