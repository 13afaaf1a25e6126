//! The gateway alone: WebSocket sessions over a data service and Redis.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_bus::{
    memory::MemoryBus,
    redis::{RedisConfig, RedisInbox},
};
use weir_connect::{ClientConfig, HttpClient, listen as listen_on};
use weir_data_client::{DataClient, transport::Http};
use weir_gateway::{Deps, Gateway, GatewayConfig, GatewayMetrics, Stopped, dependencies, settings};
use weir_runtime::{
    Admin, Exit, Readiness, Registry, Shutdown, Tier, descriptors, launch, memory,
    tier::{Start, TierFlags},
};

/// Time for the admin listener at the very end, when only a scraper is left.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// Weir's gateway. What has no flag is set in weir.toml or by WEIR_SECTION__KEY.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// WebSocket listener (default: 127.0.0.1:8081)
    #[arg(long, value_name = "ADDR:PORT")]
    gateway: Option<String>,
    /// The data service to ask (default: 127.0.0.1:8082)
    #[arg(long, value_name = "HOST:PORT")]
    data_service: Option<String>,
    /// The Redis that the data service publishes to (default: redis://127.0.0.1:6379)
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
    /// Address that clients are told, ws://… or wss://… (default: the bound one)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    #[command(flatten)]
    tier: TierFlags,
}

/// Addresses of the services that the gateway depends on.
struct Upstreams {
    data_service: String,
    redis: String,
}

fn main() -> ExitCode {
    let flags: Flags = match launch::command_line() {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    let given = [
        ("listen.gateway", "--gateway", flags.gateway),
        ("connect.data_service", "--data-service", flags.data_service),
        ("bus.url", "--bus", flags.bus),
        ("gateway.public_url", "--public-url", flags.public_url),
    ];
    let mut tier = Tier::new(env!("CARGO_BIN_NAME"), flags.tier, given);
    let reader = &mut tier.reader;
    let listen = reader.addr("listen.gateway", ([127, 0, 0, 1], 8_081).into());
    let data_service = reader.string("connect.data_service", "127.0.0.1:8082");
    let redis = reader.string("bus.url", "redis://127.0.0.1:6379");
    let config = GatewayConfig::read(reader);
    let public_url = settings::public_url(reader);
    let upstreams = Upstreams { data_service, redis };
    tier.run(|start| run(start, listen, upstreams, config, public_url), |_| Exit::Failed)
}

async fn run(
    start: Start,
    listen: SocketAddr,
    upstreams: Upstreams,
    mut config: GatewayConfig,
    public_url: Option<String>,
) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    descriptors::settle([("gateway", &mut config.connections_max)]);
    memory::settle(start.memory_max, config.shares());
    let (registry, readiness, stop_admin) = (Registry::new(), Readiness::new(), CancellationToken::new());
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let admin = Admin::bind(start.admin, registry.clone(), readiness.clone(), shutdown.token())
        .await
        .with_context(|| format!("cannot listen on {}", start.admin))?;
    // This waits for the bound listener: before that, port 0 would be advertised as 0.
    config.public_url = settings::advertised_url(public_url, listener.local_addr()?);
    let client = HttpClient::new(ClientConfig::new(format!("http://{}", upstreams.data_service)))?;
    let inbox = RedisInbox::start(RedisConfig::new(upstreams.redis))?;
    let deps = Deps {
        data: DataClient::new(Arc::new(Http::new(client))),
        inbox: inbox.clone(),
        // Positions of this inbox end with the process, so sessions do too.
        sessions: Arc::new(MemoryBus::new(1)),
        metrics: GatewayMetrics::new(&registry),
        budget: registry.budget().clone(),
    };
    let bound = [("gateway", listener.local_addr()?), ("admin", admin.local_addr()?)];
    let admin = tokio::spawn(admin.serve(stop_admin.clone(), ADMIN_DRAIN));
    let (bus, data_service) = (readiness.register("bus"), readiness.register("data_service"));
    let (data, seen) = (deps.data.clone(), inbox.clone());
    let watching = tokio::spawn(dependencies::watch(
        move || seen.connected(),
        data,
        bus,
        data_service,
        shutdown.token(),
    ));
    tokio::select! {
        () = inbox.wait_registered() => {}
        () = shutdown.begun() => {}
    }
    let gateway = Gateway::start(config, deps, listener, shutdown.token()).await?;
    start.tell(&bound)?;
    if let Stopped::Cut(connections) = gateway.stopped().await {
        tracing::warn!(connections, "connections were cut");
    }
    watching.await?;
    inbox.close().await;
    stop_admin.cancel();
    admin.await?;
    Ok(())
}
