//! The four listeners, bound but not served yet, and the threads that serve them.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_connect::Server;
use weir_data_service::memory::ListenerBounds;
use weir_runtime::{Admin, Readiness, Registry, Threads, launch::LAST_THREADS};

use super::error::ServeError;
use crate::config::Listen;

/// Threads of the listeners that strangers may flood, so that a flood of one does not slow the others. The
/// api and everything behind the listeners share the process's own threads; the admin listener brings its
/// own. These threads must outlive the tiers and end before the store is closed, because tasks that were cut
/// off still hold it.
pub(super) struct ListenerThreads {
    pub(super) gateway: Threads,
    /// Their priority is low. The tiers of this process do not use this listener, and a stranger on it could
    /// keep every processor busy.
    pub(super) data_service: Threads,
}

impl ListenerThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system gives no more descriptors.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            gateway: Threads::as_processors("weir-gateway")?,
            data_service: Threads::low_priority("weir-data")?,
        })
    }

    /// Ends the threads, and with them the tasks that were cut off.
    pub(super) async fn end(self) {
        self.gateway.end(LAST_THREADS).await;
        self.data_service.end(LAST_THREADS).await;
    }
}

/// Bound listeners. A client that connects before they are served waits.
pub(super) struct Listeners {
    pub(super) api: TcpListener,
    pub(super) gateway: TcpListener,
    pub(super) data_service: Server,
    pub(super) admin: Admin,
    /// The addresses, with the ports that were chosen for port 0.
    pub(super) bound: Listen,
}

impl Listeners {
    /// Binds all listeners. `stopping` ends the readiness that the admin listener shows.
    ///
    /// # Errors
    /// [`ServeError::Bind`] for the first that cannot be bound.
    pub(super) async fn bind(
        threads: &ListenerThreads,
        listen: &Listen,
        registry: &Registry,
        readiness: &Readiness,
        stopping: CancellationToken,
        listener: ListenerBounds,
    ) -> Result<Self, ServeError> {
        let failed = |tier, address: SocketAddr| move |source| ServeError::Bind { tier, address, source };
        let data_config = listener.server(registry.budget());
        let api = weir_connect::listen(listen.api).map_err(failed("api", listen.api))?;
        // Each listener is bound on the threads that serve it, because those receive its events.
        let address = listen.gateway;
        let gateway = threads.gateway.run(async move { weir_connect::listen(address) }).await;
        let gateway = gateway.map_err(failed("gateway", listen.gateway))?;
        let data_service = threads.data_service.run(Server::bind(listen.data_service, data_config)).await;
        let data_service = data_service.map_err(failed("data service", listen.data_service))?;
        let admin = Admin::bind(listen.admin, registry.clone(), readiness.clone(), stopping)
            .await
            .map_err(failed("admin listener", listen.admin))?;
        let bound = Listen {
            api: api.local_addr().map_err(failed("api", listen.api))?,
            gateway: gateway.local_addr().map_err(failed("gateway", listen.gateway))?,
            data_service: data_service.local_addr().map_err(failed("data service", listen.data_service))?,
            admin: admin.local_addr().map_err(failed("admin listener", listen.admin))?,
        };
        Ok(Self { api, gateway, data_service, admin, bound })
    }
}
