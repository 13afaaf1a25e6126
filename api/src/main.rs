//! The api tier alone: REST over a data service.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_api::{Api, ApiConfig, ApiMetrics};
use weir_connect::{ClientConfig, HttpClient, listen as listen_on};
use weir_data_client::{DataClient, transport::Http};
use weir_runtime::{
    Admin, Exit, Readiness, Registry, Shutdown, Tier, descriptors, launch, memory,
    tier::{Start, TierFlags},
};

/// How long requests under way may go on after the process was told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the admin listener may go on at the very end, when only a scraper is left.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// Weir's api tier. What has no flag is set in weir.toml or by WEIR_SECTION__KEY.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// REST listener (default: 127.0.0.1:8080)
    #[arg(long, value_name = "ADDR:PORT")]
    api: Option<String>,
    /// The data service to ask (default: 127.0.0.1:8082)
    #[arg(long, value_name = "HOST:PORT")]
    data_service: Option<String>,
    /// Gateway address that clients are told (default: ws://127.0.0.1:8081)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    #[command(flatten)]
    tier: TierFlags,
}

fn main() -> ExitCode {
    let flags: Flags = match launch::command_line() {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    let given = [
        ("listen.api", "--api", flags.api),
        ("connect.data_service", "--data-service", flags.data_service),
        ("gateway.public_url", "--public-url", flags.public_url),
    ];
    let mut tier = Tier::new(env!("CARGO_BIN_NAME"), flags.tier, given);
    let reader = &mut tier.reader;
    let listen = reader.addr("listen.api", ([127, 0, 0, 1], 8_080).into());
    let data_service = reader.string("connect.data_service", "127.0.0.1:8082");
    let gateway_url = reader.web_socket_url("gateway.public_url", "ws://127.0.0.1:8081");
    let config = ApiConfig::read(reader, gateway_url, listen.ip().is_loopback());
    tier.run(|start| run(start, listen, data_service, config), |_| Exit::Failed)
}

async fn run(start: Start, listen: SocketAddr, data_service: String, mut config: ApiConfig) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    descriptors::settle([("api", &mut config.bounds.connections_max)]);
    memory::settle(start.memory_max, config.shares());
    let (registry, readiness, stop_admin) = (Registry::new(), Readiness::new(), CancellationToken::new());
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let admin = Admin::bind(start.admin, registry.clone(), readiness.clone(), shutdown.token())
        .await
        .with_context(|| format!("cannot listen on {}", start.admin))?;
    let client = HttpClient::new(ClientConfig::new(format!("http://{data_service}")))?;
    let data = DataClient::new(Arc::new(Http::new(client)));
    let bound = [("api", listener.local_addr()?), ("admin", admin.local_addr()?)];
    let admin = tokio::spawn(admin.serve(stop_admin.clone(), ADMIN_DRAIN));
    // The api is ready without the data service: while that is away, it answers 503 and tells clients when to
    // come back.
    readiness.register("api").ready();
    start.tell(&bound)?;
    let api = Api::new(config, data, ApiMetrics::register(&registry));
    let drained = api.serve(listener, registry.budget(), shutdown.token(), DRAIN).await;
    if drained.connections_cut > 0 {
        tracing::warn!(connections = drained.connections_cut, "connections were cut");
    }
    stop_admin.cancel();
    admin.await?;
    Ok(())
}
