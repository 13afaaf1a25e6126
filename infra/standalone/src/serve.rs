//! `weir serve`: every tier in one process.
//!
//! [`listeners`] are bound before anything is opened, so that a port in use is reported first and port 0
//! works. [`tiers`] starts the tiers, each after those that it depends on, and stops them in the opposite
//! order. This file runs them from start to end.

mod error;
mod listeners;
mod tiers;

use std::sync::Arc;

use serde_json::json;
use weir_data_service::{
    backend::{Backend, StoreChoice},
    clock::SystemClock,
    memory::ListenerBounds,
};
use weir_runtime::{
    Readiness, Registry, Shutdown, descriptors, memory,
    process::Build,
    running::{Running, reachable},
};

use crate::{config::Config, memory::shares, output};
pub(crate) use error::ServeError;
use listeners::{ListenerThreads, Listeners};
use tiers::{Doors, Tiers};

/// Runs the server until a signal, or until it cannot go on.
///
/// # Errors
/// [`ServeError`]
pub(crate) async fn serve(mut config: Config, json: bool) -> Result<(), ServeError> {
    let shutdown = Shutdown::on_signals().map_err(ServeError::Signals)?;
    let mut listener = ListenerBounds::default();
    descriptors::settle([
        ("gateway", &mut config.gateway.connections_max),
        ("api", &mut config.api.bounds.connections_max),
        ("data service", &mut listener.connections_max),
    ]);
    let memory_max = config.memory_max;
    memory::settle(memory_max, shares(&mut config, &mut listener));
    let (registry, readiness) = (Registry::new(), Readiness::new());
    // This comes before anything can be asked, because the store is open before the tiers exist.
    let checks = tiers::TIERS.map(|tier| readiness.register(tier));
    let threads = ListenerThreads::start().map_err(ServeError::Threads)?;
    let listeners =
        Listeners::bind(&threads, &config.listen, &registry, &readiness, shutdown.token(), listener).await?;
    let bound = listeners.bound;
    let public_url = config.public_url.take().unwrap_or_else(|| format!("ws://{}", reachable(bound.gateway)));
    config.gateway.public_url.clone_from(&public_url);
    config.api.gateway_url.clone_from(&public_url);
    for warning in reached_by_others(&bound) {
        tracing::warn!("{warning}");
    }
    let directory = config.backend.directory.clone();
    let chosen = config.backend.store.clone();
    make_private(&directory)?;
    if let Some(warning) = open_to_others(&directory) {
        tracing::warn!("{warning}");
    }
    // Probes and callers get an answer while the store is opened, or while another process's lease is waited
    // for.
    let (doors, listeners) = Doors::open(&config, &threads, listeners)?;
    let opened =
        Backend::open(config.backend.clone(), Arc::new(SystemClock), &shutdown.token(), &readiness).await;
    let backend = match opened {
        Ok(backend) => backend,
        Err(error) if error.is_stopped() => {
            doors.close().await;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    backend.watch_memory(registry.budget());
    let tiers =
        Tiers::start(&config, &backend, &threads, listeners, doors, registry, (&readiness, checks)).await?;
    // A program that reads the greeting may ask at once whether the server is ready.
    backend.look().await;
    let running = Running { address: bound.admin, api: Some(bound.api), pid: std::process::id() };
    running.write(&directory)?;
    let told = if json {
        json!({
            "api": bound.api.to_string(),
            "gateway": bound.gateway.to_string(),
            "data_service": bound.data_service.to_string(),
            "admin": bound.admin.to_string(),
            "public_url": public_url,
        })
        .to_string()
    } else {
        greeting(&bound, &chosen, &directory.display().to_string())
    };
    output::line(&told).map_err(ServeError::Print)?;
    let ended = run(&backend, tiers, &shutdown, config.drain).await;
    running.remove(&directory);
    // The store may also have failed while the process was being stopped.
    let ended = match backend.lost() {
        Some(reason) => Err(ServeError::StoreLost { reason }),
        None => ended,
    };
    if let Err(ServeError::StoreLost { .. }) = ended {
        // The store's threads may never end, but the process must.
        return ended;
    }
    threads.end().await;
    if let Some(reason) = backend.close().await {
        return Err(ServeError::StoreLost { reason });
    }
    tracing::info!("stopped");
    ended
}

/// Runs from ready to drained.
async fn run(
    backend: &Backend,
    mut tiers: Tiers,
    shutdown: &Shutdown,
    drain: std::time::Duration,
) -> Result<(), ServeError> {
    let ended = tokio::select! {
        () = shutdown.begun() => Ok(()),
        reason = backend.watch() => Err(ServeError::StoreLost { reason }),
        tier = tiers.ended() => Err(ServeError::Ended { tier }),
    };
    if let Err(error) = &ended {
        tracing::error!(%error, "stopping");
    }
    // Readiness ends first, so that load balancers choose other servers.
    shutdown.begin();
    tiers.stop(drain).await;
    ended
}

/// Creates the data directory, for our user alone. The embedded store creates it too; with a cluster nothing
/// else would.
fn make_private(path: &std::path::Path) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ServeError::Directory { path: path.to_owned(), source })
}

/// A warning for the operator about listeners that other machines can reach.
fn reached_by_others(bound: &crate::config::Listen) -> Vec<String> {
    let others = [
        (
            "data service",
            bound.data_service,
            "it has no authentication: whoever reaches it reads and writes everything",
        ),
        ("admin", bound.admin, "its metrics and health are for whoever reaches it"),
    ];
    let others = others.into_iter().filter(|(_, address, _)| !address.ip().is_loopback());
    others.map(|(name, address, what)| format!("the {name} listener is at {address}: {what}")).collect()
}

/// A warning for the operator about a data directory that other users can read.
fn open_to_others(directory: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(directory).ok()?.permissions().mode() & 0o777;
    let shown = directory.display();
    (mode & 0o077 != 0).then(|| {
        format!("{shown} has permissions {mode:03o}, so others on this machine may read what is stored: chmod 700 {shown}")
    })
}

fn greeting(bound: &crate::config::Listen, store: &StoreChoice, directory: &str) -> String {
    let [api, gateway, data, admin] = [bound.api, bound.gateway, bound.data_service, bound.admin];
    format!(
        "weir {build}, store {store}, data in {directory}
  api           http://{api}
  gateway       ws://{gateway}
  data service  http://{data}
  admin         http://{admin}  (/metrics, /healthz, /readyz)
next: weir bot create NAME    or, with something to look at: weir demo",
        build = Build::current(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;
    use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _};

    #[test]
    fn what_others_can_reach_is_told_and_shown_as_it_is_bound() {
        let own = SocketAddr::from(([127, 0, 0, 1], 1));
        let all = SocketAddr::from(([0, 0, 0, 0], 2));
        let bound = Listen { api: all, gateway: own, data_service: own, admin: own };
        assert!(reached_by_others(&bound).is_empty());
        assert!(greeting(&bound, &StoreChoice::Embedded, "d").contains("http://0.0.0.0:2\n"));
        let told = reached_by_others(&Listen { data_service: all, ..bound });
        assert!(
            told.len() == 1 && told[0].contains("0.0.0.0:2") && told[0].contains("no authentication"),
            "{told:?}"
        );
    }

    #[test]
    fn a_directory_that_others_can_read_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let mode = |mode| {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).expect("ours")
        };
        mode(0o755);
        assert!(open_to_others(directory.path()).is_some_and(|told| told.contains("chmod 700")));
        mode(0o700);
        assert_eq!(open_to_others(directory.path()), None);
    }
}
