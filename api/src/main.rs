//! The api tier alone: REST over a data service.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_api::{Api, ApiConfig, Metrics};
use weir_connect::{ClientConfig, HttpClient, listen as listen_on};
use weir_data_client::{DataClient, transport::Http};
use weir_runtime::launch::Asked;
use weir_runtime::memory;
use weir_runtime::telemetry::TelemetryConfig;
use weir_runtime::{
    Admin, ProcessEnvironment, Readiness, Registry, Shutdown, descriptors, launch, process::Exit,
};

/// Time for requests under way when told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Time for the admin listener at the very end, when only a scraper is left.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// Weir's api tier. What has no flag is set in weir.toml or by WEIR_SECTION__KEY.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Configuration file
    #[arg(long)]
    config: Option<PathBuf>,
    /// REST listener (default: 127.0.0.1:8080)
    #[arg(long, value_name = "ADDR:PORT")]
    api: Option<String>,
    /// Admin listener (default: 127.0.0.1:8083)
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// The data service to ask (default: 127.0.0.1:8082)
    #[arg(long, value_name = "HOST:PORT")]
    data_service: Option<String>,
    /// Gateway address that clients are told (default: ws://127.0.0.1:8081)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print the configuration in force and exit
    #[arg(long)]
    check_config: bool,
    /// Print the listeners' addresses, or an error, as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return launch::wrong_usage(&error.render().to_string()),
        Err(help) => help.exit(),
    };
    let given = [
        ("listen.api", "--api", flags.api),
        ("listen.admin", "--admin", flags.admin),
        ("connect.data_service", "--data-service", flags.data_service),
        ("gateway.public_url", "--public-url", flags.public_url),
    ];
    let mut reader = launch::layers(flags.config.as_deref(), &ProcessEnvironment, given).into_reader();
    let listen = reader.addr("listen.api", ([127, 0, 0, 1], 8_080).into());
    let admin = reader.addr("listen.admin", ([127, 0, 0, 1], 8_083).into());
    let data_service = reader.string("connect.data_service", "127.0.0.1:8082");
    let gateway_url = reader.string("gateway.public_url", "ws://127.0.0.1:8081");
    reader.require(
        "gateway.public_url",
        gateway_url.starts_with("ws://") || gateway_url.starts_with("wss://"),
        "it must be ws:// or wss://, a host and perhaps a port",
        "write for example \"wss://gateway.example.org\"",
    );
    let config = ApiConfig::read(&mut reader, gateway_url, listen.ip().is_loopback());
    let memory_max = memory::read(&mut reader);
    let log = TelemetryConfig::read(&mut reader);
    let asked = Asked { check_config: flags.check_config, json: flags.json };
    launch::launch(
        env!("CARGO_BIN_NAME"),
        reader.finish(),
        asked,
        &log,
        run(listen, admin, data_service, (config, memory_max), flags.json),
        |_| Exit::Failed,
    )
}

async fn run(
    listen: SocketAddr,
    admin: SocketAddr,
    data_service: String,
    (mut config, memory_max): (ApiConfig, Option<u64>),
    json: bool,
) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    descriptors::settle([("api", &mut config.bounds.connections_max)]);
    memory::settle(memory_max, config.shares());
    let (registry, readiness, stop_admin) = (Registry::new(), Readiness::new(), CancellationToken::new());
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let admin = Admin::bind(admin, registry.clone(), readiness.clone(), shutdown.token())
        .await
        .with_context(|| format!("cannot listen on {admin}"))?;
    let client = HttpClient::new(ClientConfig::new(format!("http://{data_service}")))?;
    let data = DataClient::new(Arc::new(Http::new(client)));
    let bound = [("api", listener.local_addr()?), ("admin", admin.local_addr()?)];
    let admin = tokio::spawn(admin.serve(stop_admin.clone(), ADMIN_DRAIN));
    // It answers 503 by itself while the data service is away, and tells clients when to come back.
    readiness.register("api").ready();
    launch::tell_listeners("api", json, &bound)?;
    let api = Api::new(config, data, Metrics::register(&registry));
    let drained = api.serve(listener, registry.budget(), shutdown.token(), DRAIN).await;
    if drained.connections_cut > 0 {
        tracing::warn!(connections = drained.connections_cut, "connections were cut");
    }
    stop_admin.cancel();
    admin.await?;
    Ok(())
}
