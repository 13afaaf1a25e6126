//! The data service alone: `weir.data.v1` over Connect, and the operators' methods on the admin listener.

use std::{
    fs::DirBuilder, net::SocketAddr, os::unix::fs::DirBuilderExt as _, process::ExitCode, sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_connect::Server;
use weir_data_service::{
    backend::{Backend, BackendConfig, BackendError},
    clock::SystemClock,
    memory::ListenerBounds,
    node::{DataService, DataServiceConfig, Parts},
    rpc::not_ready::Standby,
};
use weir_runtime::{
    Admin, AdminToken, Exit, Readiness, Registry, Shutdown, Tier, descriptors, launch, memory,
    running::Running,
    tier::{Start, TierFlags},
};

/// Time for requests under way after the signal to stop; changes under way then have their own ten seconds.
const DRAIN: Duration = Duration::from_secs(10);

/// Weir's data service. What has no flag is set in weir.toml or by WEIR_SECTION__KEY.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Connect listener (default: 127.0.0.1:8082)
    #[arg(long, value_name = "ADDR:PORT")]
    data_service: Option<String>,
    /// Data directory (default: ./weir-data)
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// embedded, or `cql://host[:port][,host…]/keyspace`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// memory, or redis://host:port, which gateways of other processes need
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
    #[command(flatten)]
    tier: TierFlags,
}

fn main() -> ExitCode {
    let flags: Flags = match launch::command_line() {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    let given = [
        ("listen.data_service", "--data-service", flags.data_service),
        ("store.directory", "--data", flags.data),
        ("store.url", "--store", flags.store),
        ("bus.url", "--bus", flags.bus),
    ];
    let mut tier = Tier::new(env!("CARGO_BIN_NAME"), flags.tier, given);
    let reader = &mut tier.reader;
    let listen = reader.addr("listen.data_service", ([127, 0, 0, 1], 8_082).into());
    let (backend, data) = (BackendConfig::read(reader), DataServiceConfig::read(reader));
    tier.run(|start| run(start, listen, backend, data), exit_of)
}

/// An unreachable database has an exit code of its own, apart from a wrong one: waiting helps.
fn exit_of(error: &anyhow::Error) -> Exit {
    let unreachable = error.downcast_ref::<BackendError>().is_some_and(BackendError::is_unreachable);
    if unreachable { Exit::Unreachable } else { Exit::Failed }
}

async fn run(
    start: Start,
    listen: SocketAddr,
    mut config: BackendConfig,
    mut data: DataServiceConfig,
) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut listener = ListenerBounds::default();
    descriptors::settle([("data service", &mut listener.connections_max)]);
    let mut shares = listener.shares();
    shares.extend(data.shares());
    shares.extend(config.shares());
    memory::settle(start.memory_max, shares);
    let (registry, readiness, clock) = (Registry::new(), Readiness::new(), Arc::new(SystemClock));
    let server = Server::bind(listen, listener.server(registry.budget()))
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let admin = Admin::bind(start.admin, registry.clone(), readiness.clone(), shutdown.token())
        .await
        .with_context(|| format!("cannot listen on {}", start.admin))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.directory)
        .context("cannot make the data directory")?;
    let directory = config.directory.clone();
    let token = AdminToken::load_or_create(&config.directory.join("admin.token"))?;
    // The listeners answer from here on: a probe learns that the process lives and what it waits for, a
    // caller that it should retry.
    let (operators, callers) = (Standby::new(), Standby::new());
    let (stop_admin, stop_data) = (CancellationToken::new(), CancellationToken::new());
    tracing::info!(data_service = %server.local_addr()?, admin = %admin.local_addr()?, "listening");
    let admin_address = admin.local_addr()?;
    let bound = [("data_service", server.local_addr()?), ("admin", admin_address)];
    let admin = tokio::spawn(admin.mount(operators.clone(), token).serve(stop_admin.clone(), DRAIN));
    let serving = tokio::spawn(server.serve(callers.clone(), shutdown.token(), DRAIN));
    let backend = match Backend::open(config, clock.clone(), &shutdown.token(), &readiness).await {
        Ok(backend) => backend,
        Err(error) if error.is_stopped() => {
            serving.await?;
            stop_admin.cancel();
            admin.await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    backend.watch_memory(registry.budget());
    let parts = Parts::over(&backend, clock, registry, readiness);
    let service = DataService::open(data, parts, stop_data.clone()).await?;
    operators.begin(service.admin_dispatch());
    callers.begin(service.dispatch());
    // A process that reads the addresses may rely on the services behind them.
    backend.look().await;
    // The operators' commands find it there, as they find `weir`.
    let running = Running { address: admin_address, api: None, pid: std::process::id() };
    running.write(&directory)?;
    start.tell(&bound)?;
    let lost = tokio::select! {
        () = shutdown.begun() => None,
        reason = backend.watch() => Some(reason),
    };
    shutdown.begin();
    running.remove(&directory);
    serving.await?;
    stop_data.cancel();
    service.closed().await;
    stop_admin.cancel();
    admin.await?;
    // This also covers a failure while the process was told to stop.
    let lost = match lost.or_else(|| backend.lost()) {
        Some(reason) => Some(reason),
        None => backend.close().await,
    };
    match lost {
        Some(reason) => bail!("the store is lost to this process: {reason}"),
        None => Ok(()),
    }
}
