//! The gateway alone: WebSocket sessions over a data service and Redis.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_bus::{
    memory::MemoryBus,
    redis::{RedisConfig, RedisInbox},
};
use weir_connect::{ClientConfig, HttpClient, listen as listen_on};
use weir_data_client::{DataClient, transport::Http};
use weir_gateway::{Deps, Drained, Gateway, GatewayConfig, Metrics, peers, settings};
use weir_runtime::launch::Asked;
use weir_runtime::memory;
use weir_runtime::telemetry::TelemetryConfig;
use weir_runtime::{
    Admin, ProcessEnvironment, Readiness, Registry, Shutdown, descriptors, launch, process::Exit,
};

/// Time for the admin listener at the very end, when only a scraper is left.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// Weir's gateway. What has no flag is set in weir.toml or by WEIR_SECTION__KEY.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Configuration file
    #[arg(long)]
    config: Option<PathBuf>,
    /// WebSocket listener (default: 127.0.0.1:8081)
    #[arg(long, value_name = "ADDR:PORT")]
    gateway: Option<String>,
    /// Admin listener (default: 127.0.0.1:8083)
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// The data service to ask (default: 127.0.0.1:8082)
    #[arg(long, value_name = "HOST:PORT")]
    data_service: Option<String>,
    /// The Redis that the data service publishes to (default: redis://127.0.0.1:6379)
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
    /// Address that clients are told, ws://… or wss://… (default: the bound one)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print the configuration in force and exit
    #[arg(long)]
    check_config: bool,
    /// Print the listeners' addresses, or an error, as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// What it needs of others.
struct Peers {
    data_service: String,
    redis: String,
}

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return launch::wrong_usage(&error.render().to_string()),
        Err(help) => help.exit(),
    };
    let given = [
        ("listen.gateway", "--gateway", flags.gateway),
        ("listen.admin", "--admin", flags.admin),
        ("connect.data_service", "--data-service", flags.data_service),
        ("bus.url", "--bus", flags.bus),
        ("gateway.public_url", "--public-url", flags.public_url),
    ];
    let mut reader = launch::layers(flags.config.as_deref(), &ProcessEnvironment, given).into_reader();
    let listen = reader.addr("listen.gateway", ([127, 0, 0, 1], 8_081).into());
    let admin = reader.addr("listen.admin", ([127, 0, 0, 1], 8_083).into());
    let data_service = reader.string("connect.data_service", "127.0.0.1:8082");
    let redis = reader.string("bus.url", "redis://127.0.0.1:6379");
    let config = GatewayConfig::read(&mut reader);
    let public_url = settings::public_url(&mut reader);
    let memory_max = memory::read(&mut reader);
    let log = TelemetryConfig::read(&mut reader);
    let peers = Peers { data_service, redis };
    let asked = Asked { check_config: flags.check_config, json: flags.json };
    launch::launch(
        env!("CARGO_BIN_NAME"),
        reader.finish(),
        asked,
        &log,
        run(listen, admin, peers, (config, public_url, memory_max), flags.json),
        |_| Exit::Failed,
    )
}

async fn run(
    listen: SocketAddr,
    admin: SocketAddr,
    peers: Peers,
    (mut config, public_url, memory_max): (GatewayConfig, Option<String>, Option<u64>),
    json: bool,
) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    descriptors::settle([("gateway", &mut config.connections_max)]);
    memory::settle(memory_max, config.shares());
    let (registry, readiness, stop_admin) = (Registry::new(), Readiness::new(), CancellationToken::new());
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let admin = Admin::bind(admin, registry.clone(), readiness.clone(), shutdown.token())
        .await
        .with_context(|| format!("cannot listen on {admin}"))?;
    // Only now: before, port 0 would be told as it is.
    config.public_url = settings::told_url(public_url, listener.local_addr()?);
    let client = HttpClient::new(ClientConfig::new(format!("http://{}", peers.data_service)))?;
    let inbox = RedisInbox::start(RedisConfig::new(peers.redis))?;
    let deps = Deps {
        data: DataClient::new(Arc::new(Http::new(client))),
        inbox: inbox.clone(),
        // Positions of this inbox end with the process, so sessions do too.
        sessions: Arc::new(MemoryBus::new(1)),
        metrics: Metrics::new(&registry),
        budget: registry.budget().clone(),
    };
    let bound = [("gateway", listener.local_addr()?), ("admin", admin.local_addr()?)];
    let admin = tokio::spawn(admin.serve(stop_admin.clone(), ADMIN_DRAIN));
    let (bus, data_service) = (readiness.register("bus"), readiness.register("data_service"));
    let (data, seen) = (deps.data.clone(), inbox.clone());
    let watching =
        tokio::spawn(peers::watch(move || seen.connected(), data, bus, data_service, shutdown.token()));
    tokio::select! {
        () = inbox.wait_registered() => {}
        () = shutdown.begun() => {}
    }
    let gateway = Gateway::start(config, deps, listener, shutdown.token()).await?;
    launch::tell_listeners("gateway", json, &bound)?;
    if let Drained::Cut(connections) = gateway.stopped().await {
        tracing::warn!(connections, "connections were cut");
    }
    watching.await?;
    inbox.close().await;
    stop_admin.cancel();
    admin.await?;
    Ok(())
}
